"""A machine is lost, or the process that asks: the picks are the same, and nothing is scored
twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import X, trained_net, y
from helpers_parallel import fitted
from needs import needs

from skdal import DynamicALSampler

needs("ray")
needs("pyarrow")

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("losses.py")


def ended(*arguments):
    """Run the program; return its exit code and what it says of errors."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stderr[-2000:]


@pytest.fixture
def wanted():
    """Picks and scores of the serial path."""
    from losses import MANY, N_PICKS

    sampler = fitted(DynamicALSampler(batch_size=8), trained_net(), X, y)
    indices, scores = sampler.query(MANY, N_PICKS, return_scores=True)
    return {"picks": indices.tolist(), "scores": scores.tolist()}


def test_a_machine_is_lost(tmp_path, wanted):
    code, errors = ended("node", tmp_path)
    assert code == 0, errors
    found = json.loads((tmp_path / "found.json").read_text())
    assert {key: found[key] for key in wanted} == wanted
    assert found["again"] == wanted["picks"]
    assert found["alive"] == 1
    assert any("is lost" in message for message in found["messages"])


def test_the_driver_is_killed(tmp_path, wanted):
    code, errors = ended("driver", tmp_path, 300)
    assert code == -9, errors
    assert not (tmp_path / "found.json").exists()
    kept = {
        file: os.stat(file).st_mtime_ns for file in tmp_path.glob("scores/*/*.parquet")
    }
    assert 10 < len(kept) < 40
    code, errors = ended("driver", tmp_path, -1)
    assert code == 0, errors
    assert json.loads((tmp_path / "found.json").read_text()) == wanted
    assert len(list(tmp_path.glob("scores/*/*.parquet"))) == 52
    assert all(os.stat(file).st_mtime_ns == time for file, time in kept.items())
