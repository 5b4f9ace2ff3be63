"""A real Ray cluster on this machine: a small object store, no dashboard, loopback only."""

import os

import pytest
from needs import needs

# Nothing is reported to anyone, and workers log into their own files.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    RAY_TQDM_PATCH_PRINT="0",
    RAY_worker_niceness="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

CLUSTER = {
    "address": "local",
    "num_cpus": 6,  # as Ray counts them: workers of several executors are there at a time
    "num_gpus": 0,
    "object_store_memory": 128 * 2**20,
    "include_dashboard": False,
    "log_to_driver": False,
    "configure_logging": False,
    "_node_ip_address": "127.0.0.1",
}


@pytest.fixture(scope="session")
def cluster():
    """Start Ray once; give the module."""
    ray = needs("ray")
    ray.init(**CLUSTER)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def two_workers(cluster):
    """An executor with two workers, which all tests that lose none share."""
    from skdal.parallel import RayExecutor

    with RayExecutor(num_workers=2, shard_size=8) as executor:
        yield executor


@pytest.fixture
def one_thread():
    """Compute on one thread, as workers do."""
    import torch

    found = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(found)
