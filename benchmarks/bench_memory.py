"""How much a process grows while it scores a pool of 50,000 samples, and a tenth of it.

The pool is images that are held as uint8, scored by dynamicAL, or rows of 32 numbers, scored by the
samplers of class probabilities where there are 1,000 classes. `python benchmarks/bench_memory.py`
measures each in a process of its own and writes results/memory.json. `--measure WHAT N_POOL` is
that process: it prints one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _common import Images, make_net, print_table, write_results
from sklearn.linear_model import LogisticRegression
from torch import nn

_STATUS = Path("/proc/self/status")
LIMIT_MB = 600
LIMIT_OF_PROBABILITIES_MB = 60
N_LABELED = 500
N_CLASSES = 1000
OF_PROBABILITIES = [
    f"{key} {classifier}"
    for key in ("margin", "confidence", "entropy")
    for classifier in ("net", "logistic")
]


def measure(name, n_pool):
    """Score a pool and return the growth of this process, in MB, over classifier and pool.

    Growth is the peak during scoring minus what is in use before it (Linux); on other systems minus
    the peak before it.
    """
    sampler, pool = _problem(name, n_pool)
    before = _memory_in_use()
    start = time.perf_counter()
    sampler.score_samples(pool)
    seconds = time.perf_counter() - start
    return {
        "what": name,
        "pool": n_pool,
        "before MB": before,
        "growth MB": _peak() - before,
        "seconds": seconds,
    }


def _problem(name, n_pool):
    """Return a fitted sampler and a pool."""
    from sklearn.frozen import FrozenEstimator

    from skdal import DynamicALSampler
    from skdal.samplers import SAMPLERS

    key, _, classifier = name.partition(" ")
    if not classifier:
        net = make_net(name)
        sampler = DynamicALSampler(FrozenEstimator(net))
        return sampler.fit(Images(N_LABELED, seed=0)), Images(n_pool, seed=1)
    pool = np.random.default_rng(0).random((n_pool, 32), dtype=np.float32)
    classifier = _of_many_classes(classifier)
    sampler = SAMPLERS[key](FrozenEstimator(classifier))
    labels = np.arange(N_LABELED) % N_CLASSES
    sampler.fit(pool[:N_LABELED], labels).score_samples(pool[:10])
    return sampler, pool


def _of_many_classes(kind):
    """Return a classifier of 1,000 classes, a net or a LogisticRegression."""
    if kind == "net":
        return make_net(nn.Linear(32, N_CLASSES))
    rng = np.random.default_rng(1)
    classifier = LogisticRegression()
    classifier.classes_ = np.arange(N_CLASSES)
    classifier.coef_ = rng.standard_normal((N_CLASSES, 32))
    classifier.intercept_ = np.zeros(N_CLASSES)
    return classifier


def measure_apart(name, n_pool):
    """Return `measure(name, n_pool)` of a fresh process."""
    command = [sys.executable, __file__, "--measure", name, str(n_pool)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def _peak():
    """Return the peak memory of this process, in MB."""
    # getrusage would count the parent's: a child begins with the peak of the process that it was
    # forked from.
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
    sizes += [(name, args.pool) for name in OF_PROBABILITIES]
    rows = [measure_apart(name, n_pool) for name, n_pool in sizes]
    print_table(rows)
    print(f"written: {write_results('memory', rows)}")
    too_much = [
        f"{row['what']} with {row['pool']}"
        for row in rows
        if row["growth MB"] > _limit(row["what"])
    ]
    if too_much:
        print(f"above the limit: {', '.join(too_much)}", file=sys.stderr)
    return 1 if too_much else 0


def _limit(name):
    return LIMIT_OF_PROBABILITIES_MB if name in OF_PROBABILITIES else LIMIT_MB


if __name__ == "__main__":
    sys.exit(main())
