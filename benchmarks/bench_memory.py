"""How much a process grows while it scores a pool of 50,000 images that is held as uint8, and a tenth of it.

`python benchmarks/bench_memory.py` measures each net in a process of its own and writes
results/memory.json. `--measure NET N_POOL` is that process: it prints one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from _common import Images, make_net, print_table, write_results

_STATUS = Path("/proc/self/status")
LIMIT_MB = 600
N_LABELED = 500


def measure(name, n_pool):
    """Score a pool and return the growth of this process, in MB, over net and pool.

    Growth is the peak during scoring minus what is in use before it (Linux); on other systems minus
    the peak before it.
    """
    from sklearn.frozen import FrozenEstimator

    from skdal import DynamicALSampler

    labeled, pool = Images(N_LABELED, seed=0), Images(n_pool, seed=1)
    sampler = DynamicALSampler(FrozenEstimator(make_net(name))).fit(labeled)
    before = _memory_in_use()
    start = time.perf_counter()
    sampler.score_samples(pool)
    seconds = time.perf_counter() - start
    return {
        "net": name,
        "pool": n_pool,
        "before MB": before,
        "growth MB": _peak() - before,
        "seconds": seconds,
    }


def measure_apart(name, n_pool):
    """Return `measure(name, n_pool)` of a fresh process."""
    command = [sys.executable, __file__, "--measure", name, str(n_pool)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def _peak():
    """Return the peak memory of this process, in MB."""
    # getrusage would count the parent's: a child begins with the peak of the process that it was forked from.
    if _STATUS.exists():
        return _kilobytes("VmHWM") / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _memory_in_use():
    return _kilobytes("VmRSS") / 1024 if _STATUS.exists() else _peak()


def _kilobytes(field):
    return next(
        int(line.split()[1])
        for line in _STATUS.read_text().splitlines()
        if line.startswith(field)
    )


def main():
    """Measure, print a table, write the record; return 1 above the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs=2, metavar=("NET", "N_POOL"))
    parser.add_argument("--pool", type=int, default=50_000, metavar="N")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], int(args.measure[1]))))
        return 0
    sizes = [("cnn", args.pool // 10), ("cnn", args.pool), ("resnet18", args.pool)]
    rows = [measure_apart(name, n_pool) for name, n_pool in sizes]
    print_table(rows)
    print(f"written: {write_results('memory', rows)}")
    too_much = [
        f"{row['net']} with {row['pool']}"
        for row in rows
        if row["growth MB"] > LIMIT_MB
    ]
    if too_much:
        print(
            f"above the limit of {LIMIT_MB} MB: {', '.join(too_much)}", file=sys.stderr
        )
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
