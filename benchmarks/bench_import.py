"""CPU seconds that skdal's imports take beyond `import skorch`.

    python benchmarks/bench_import.py [--turns 7]

Each statement runs in a Python of its own, all statements in turn. A first turn, which is not counted, compiles every
module into a folder for the time of the benchmark, so that Python's own settings about bytecode do not matter.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

from _common import print_table, write_results

REFERENCE = "import skorch"
STATEMENTS = (
    REFERENCE,
    "from skdal.samplers import MarginSampler",
    "from skdal import DynamicALSampler",
    "from skdal.pools import ImageFolderPool",
    "from skdal import ActiveLearner",
    "import skdal",
)


def cpu_seconds(statement, environment):
    """Return the CPU seconds, user's and system's, of a Python that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(n_turns):
    """Return the CPU seconds of each statement, a dict of lists (n_turns,)."""
    seconds = {statement: [] for statement in STATEMENTS}
    with tempfile.TemporaryDirectory() as compiled:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPYCACHEPREFIX": compiled,
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for statement in STATEMENTS:
            cpu_seconds(statement, environment)
        for _ in range(n_turns):
            for statement in STATEMENTS:
                seconds[statement].append(cpu_seconds(statement, environment))
    return seconds


def main():
    """Measure, print and write results/import.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7, help="of all statements")
    seconds = measure(parser.parse_args().turns)
    reference = statistics.median(seconds[REFERENCE])
    rows = [
        {
            "statement": statement,
            "CPU seconds": round(statistics.median(times), 3),
            "beyond skorch": round(statistics.median(times) - reference, 3),
            "lowest": round(min(times), 3),
            "highest": round(max(times), 3),
            "turns": len(times),
        }
        for statement, times in seconds.items()
    ]
    print_table(rows)
    print(write_results("import", rows))


if __name__ == "__main__":
    main()
