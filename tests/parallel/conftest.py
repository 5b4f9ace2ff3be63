"""A real Ray cluster on this machine, and executors on it."""

import pytest
from cluster import CLUSTER
from needs import needs


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
