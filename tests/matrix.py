"""Run the contract tests in one virtual environment for each supported version: `make matrix`.

An environment holds only what differs. Everything else it finds in the environment of the
interpreter that runs this file, which stands behind its own packages on the path; pip takes what is
there into account, so a version that needs another numpy gets one of its own.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

# name -> (requirement, options of pip install)
ENVIRONMENTS = {
    "sklearn-1.6": ("scikit-learn==1.6.*", []),
    "sklearn-1.7": ("scikit-learn==1.7.*", []),
    "sklearn-1.8": ("scikit-learn==1.8.*", []),
    "sklearn-newest": ("scikit-learn", ["--upgrade"]),
    "modal-0.4.1": ("modAL-python==0.4.1", []),
    "modal-0.4.2.1": ("modAL-python==0.4.2.1", ["--no-deps"]),  # it pins skorch==0.9.0
}
SHOWN = ["scikit-learn", "modAL-python", "skorch", "numpy"]

# prints the version of each package, and fails where what is imported is not what pip has recorded
PROBE = f"""
from importlib.metadata import version
import modAL.models, numpy, sklearn, skorch
assert (sklearn.__version__, numpy.__version__) == (version("scikit-learn"), version("numpy"))
print(*map(version, {SHOWN}))
"""


def create(folder, requirement, options):
    """Create the environment anew and return its interpreter."""
    venv.create(folder, clear=True, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    behind = dict.fromkeys(
        [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ROOT)]
    )
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (site_packages / "behind.pth").write_text("\n".join(behind) + "\n")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *options, requirement], check=True
    )
    return python


def run(name):
    """Return (passed, versions, pytest's closing line) of one environment."""
    requirement, options = ENVIRONMENTS[name]
    where = {
        "cwd": ROOT,
        "env": {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")
        },
    }
    try:
        python = create(ROOT / ".matrix" / name, requirement, options)
        probe = [python, "-W", "ignore", "-c", PROBE]
        versions = subprocess.run(
            probe, **where, check=True, text=True, stdout=subprocess.PIPE
        ).stdout.split()
    except subprocess.CalledProcessError as error:
        return (
            False,
            ["?"] * len(SHOWN),
            f"no usable environment: {error.cmd[1:3]} gave {error.returncode}",
        )
    wanted = Requirement(requirement)
    if not wanted.specifier.contains(versions[SHOWN.index(wanted.name)]):
        return False, versions, f"{wanted} is not what gets imported"
    tests = [
        python,
        "-m",
        "pytest",
        "tests",
        "-m",
        "contract",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    line = "no output"
    with subprocess.Popen(tests, **where, text=True, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
    return process.returncode == 0, versions, line.strip(" =\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"of {', '.join(ENVIRONMENTS)}; none: all",
    )
    names = parser.parse_args().names or list(ENVIRONMENTS)
    if unknown := [name for name in names if name not in ENVIRONMENTS]:
        parser.error(
            f"unknown: {', '.join(unknown)}; allowed are {', '.join(ENVIRONMENTS)}"
        )
    rows = [["environment", *SHOWN, "seconds", "result", "pytest"]]
    for name in names:
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        passed, versions, line = run(name)
        seconds = f"{time.perf_counter() - start:.0f}"
        rows.append([name, *versions, seconds, "ok" if passed else "FAILED", line])
    widths = [max(map(len, column)) for column in zip(*rows)]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return int(any(row[-2] == "FAILED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
