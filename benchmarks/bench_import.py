"""CPU seconds that skdal's imports take beyond `import skorch`.

    python benchmarks/bench_import.py [--turns 7]

Each statement runs in a Python of its own, all statements in turn: alone, and after skorch was
imported, where only the statement is timed. The second number is the steadier one on a busy
machine. A first turn, which is not counted, compiles every module into a folder for the time of the
benchmark, so that Python's own settings about bytecode do not matter.
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
    "from skdal.samplers import MarginSampler",
    "from skdal import DynamicALSampler",
    "from skdal.pools import ImageFolderPool",
    "from skdal import ActiveLearner",
)
TIMED = """
import skorch, time
start = time.process_time()
{statement}
print(time.process_time() - start)
"""


def seconds_alone(statement, environment):
    """Return the CPU seconds, user's and system's, of a Python that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def seconds_after_skorch(statement, environment):
    """Return the CPU seconds of a statement in a Python that has imported skorch."""
    program = TIMED.format(statement=statement)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(run.stdout)


def measure(statements, n_turns):
    """Return the CPU seconds of each statement, alone and after skorch, two dicts of lists
    (n_turns,).
    """
    alone = {statement: [] for statement in (REFERENCE, *statements)}
    after_skorch = {statement: [] for statement in statements}
    with tempfile.TemporaryDirectory() as compiled:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPYCACHEPREFIX": compiled,
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for statement in alone:
            seconds_alone(statement, environment)
        for _ in range(n_turns):
            for statement, found in alone.items():
                found.append(seconds_alone(statement, environment))
            for statement, found in after_skorch.items():
                found.append(seconds_after_skorch(statement, environment))
    return alone, after_skorch


def main():
    """Measure, print and write results/import.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7, help="of all statements")
    parser.add_argument("--statements", nargs="+", default=STATEMENTS)
    args = parser.parse_args()
    alone, after_skorch = measure(args.statements, args.turns)
    reference = statistics.median(alone[REFERENCE])
    rows = [
        {
            "statement": statement,
            "alone": statistics.median(seconds),
            "alone, beyond skorch": statistics.median(seconds) - reference,
            "lowest": min(seconds),
            "highest": max(seconds),
            "after skorch": statistics.median(after_skorch.get(statement, [0.0])),
            "turns": len(seconds),
        }
        for statement, seconds in alone.items()
    ]
    rows = [
        {name: round(x, 3) if isinstance(x, float) else x for name, x in row.items()}
        for row in rows
    ]
    print_table(rows)
    print(write_results("import", rows))


if __name__ == "__main__":
    main()
