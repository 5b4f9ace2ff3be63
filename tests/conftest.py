"""What holds for every test: one thread, CUDA only where there is a device, and the problem of a
case."""

import os
from functools import lru_cache

os.environ.setdefault("OMP_NUM_THREADS", "1")  # in processes that tests start

import pytest
import torch
from problems import Problem

torch.set_num_threads(1)  # two workers of pytest-xdist share the machine

_latest = lru_cache(maxsize=1)(
    Problem
)  # pytest itself sets up once for every pair of a case and a backend


@pytest.fixture(scope="module")
def problem(request):
    return _latest(request.param)


@pytest.fixture
def mini_batches_of_8(monkeypatch):
    """Read 8 samples at a time where nobody says how many; else it is 256 for four features."""
    monkeypatch.setattr("skdal.adapters._net.default_batch_size", lambda X, net: 8)


@pytest.fixture
def hold_values(monkeypatch):
    """Return a function of how many values of per-sample gradients are held at a time."""
    return lambda n: monkeypatch.setattr("skdal.gradients._ladder.CHUNK_VALUES", n)


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    needs_device = [item for item in items if item.get_closest_marker("cuda")]
    config.hook.pytest_deselected(items=needs_device)
    items[:] = [item for item in items if not item.get_closest_marker("cuda")]
