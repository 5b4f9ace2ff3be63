"""Memory while a pool is scored: below the limit, and the same for every size of the pool.

A short form of benchmarks/bench_memory.py: each measurement is a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bench_memory.py"
LIMIT_MB = 600


@pytest.fixture
def growth(monkeypatch):
    """Return a function (net, n_pool) -> MB by which scoring grows a fresh process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[1]))

    def measured(net, n_pool):
        command = [sys.executable, str(SCRIPT), "--measure", net, str(n_pool)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["growth MB"]

    return measured


@pytest.mark.slow
def test_growth_does_not_depend_on_the_size_of_the_pool(growth):
    # 5,000 images of 32x32x3 more are 61 MB in float32
    small, large = growth("cnn", 1_000), growth("cnn", 6_000)
    assert 0 < large < LIMIT_MB
    assert large - small < 30


@pytest.mark.slow
def test_growth_of_a_large_net_stays_below_the_limit(growth):
    # one mini-batch of 64 per-sample gradients of resnet18 would be 2,860 MB
    assert growth("resnet18", 128) < LIMIT_MB


@pytest.mark.slow
@pytest.mark.parametrize("what", ["margin net", "entropy logistic"])
def test_probabilities_of_many_classes_are_not_held_together(growth, what):
    # 20,000 samples with 1,000 classes are 160 MB in float64
    assert growth(what, 20_000) < 60
