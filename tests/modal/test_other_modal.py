"""The contract under modAL 0.4.2.1, which pip does not install beside today's skorch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.4.2.1"

# run in a subprocess: the version first, then pytest over the contract
PROGRAM = """
import sys
from importlib.metadata import version
from pathlib import Path
import modAL, pytest
assert version("modAL-python") == sys.argv[1]
assert Path(modAL.__file__).is_relative_to(sys.argv[2])
sys.exit(pytest.main(sys.argv[3:]))
"""


@pytest.mark.slow
def test_contract(tmp_path):
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        tmp_path,
    ]
    subprocess.run([*install, f"modAL-python=={VERSION}"], check=True)
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    arguments = [
        "tests/modal/test_contract_modal.py",
        "tests/test_learner.py",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, VERSION, tmp_path, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert run.returncode == 0, run.stdout
    assert "skipped" not in run.stdout
