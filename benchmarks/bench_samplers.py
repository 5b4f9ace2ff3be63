"""Seconds and peak memory of a query, for every sampler and for scikit-activeml's same strategies.

`python benchmarks/bench_samplers.py [--quick]` times queries of 500 samples from pools of 1,000,
10,000 and 50,000 with 10, 100 and 1,000 classes. The net has one hidden layer of 512, which is the
representation, so that choosing counts and not the net. EGL is over the last layer, in closed form.
Every query runs in a process of its own, whose memory is watched; times are medians of three
queries (one where a query takes over 20 seconds). scikit-activeml gets the same representations and
probabilities at no cost, with 10 classes and pools of up to 10,000, and its BADGE head to head with
ours at 10,000 samples and 100 classes, of which 10 are asked for. For these the ratio of times is
taken in one process, in turns. `--ratios` measures only them anew.

Written to results/samplers.json: a row a sampler, pool and number of classes.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np
import torch
from _common import MB, Peak, print_table, read_rows, write_results
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from skdal.samplers import SAMPLERS, PoolSubset

POOLS, CLASSES, N_INSTANCES, N_LABELED, WIDTH = (
    (1_000, 10_000, 50_000),
    (10, 100, 1_000),
    500,
    500,
    512,
)
REPEATS = 3
PARAMS = {"egl": {"layers": "last"}, "mc_dropout": {"n_passes": 20}}
PEERS = (
    "random",
    "confidence",
    "margin",
    "entropy",
    "coreset",
    "badge",
)  # scikit-activeml's strategies by our keys


def make_data(n_pool, n_classes, width=WIDTH):
    """Return a net, its pool, and a labeled set, the same for everyone."""
    torch.manual_seed(0)
    body = [
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(width, n_classes),
    ]
    settings = {"criterion": nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    net = NeuralNetClassifier(nn.Sequential(*body), **settings).initialize()
    with torch.no_grad():
        net.module_[3].weight.mul_(20)  # as sure of itself as a trained net
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_pool + N_LABELED, 64)).astype("float32")
    return net, X[:n_pool], X[n_pool:], rng.integers(0, n_classes, N_LABELED)


def ours(key, n_pool, n_classes, n_instances):
    """Return a function that runs one query of ours."""
    net, pool, X, y = make_data(n_pool, n_classes)
    make = PoolSubset if key == "pool_subset" else SAMPLERS[key]
    sampler = make(FrozenEstimator(net), random_state=0, **PARAMS.get(key, {}))
    sampler.estimator_, sampler.X_labeled_, sampler.y_labeled_ = (
        FrozenEstimator(net),
        X,
        y,
    )
    return lambda: sampler.query(pool, n_instances)


class Given:
    """Probabilities that are computed already, for the rows of a given array."""

    def __init__(self, X, proba):
        self.rows, self.proba = {row.tobytes(): i for i, row in enumerate(X)}, proba

    def __call__(self, X):
        return self.proba[[self.rows[row.tobytes()] for row in np.ascontiguousarray(X)]]


def theirs(key, n_pool, n_classes, n_instances):
    """Return a function that runs one query of scikit-activeml's."""
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge, CoreSet, RandomSampling, UncertaintySampling

    net, pool, labeled, y = make_data(n_pool, n_classes)
    with torch.no_grad():
        module = net.module_.eval()
        hidden = [module[:2](torch.as_tensor(rows)) for rows in (pool, labeled)]
        proba = np.concatenate(
            [module[3](rows).softmax(1).numpy() for rows in hidden]
        ).astype(np.float64)
    X = np.concatenate([rows.numpy() for rows in hidden])
    given = Given(X, proba)

    class Fixed(SkactivemlClassifier):
        def __init__(
            self,
            classes=None,
            missing_label=np.nan,
            cost_matrix=None,
            random_state=None,
        ):
            super().__init__(classes, missing_label, cost_matrix, random_state)

        def fit(self, X, y, sample_weight=None):
            self.classes_ = np.arange(n_classes)
            return self

        def predict_proba(self, X):
            return given(np.asarray(X, dtype=np.float32))

        def predict(self, X):
            return self.predict_proba(X).argmax(1)

    clf = Fixed(classes=np.arange(n_classes)).fit(X, None)
    labels = np.r_[np.full(n_pool, np.nan), y]
    names = {
        "confidence": "least_confident",
        "margin": "margin_sampling",
        "entropy": "entropy",
    }
    strategies = {"random": RandomSampling, "coreset": CoreSet, "badge": Badge}
    if key in names:
        strategy = UncertaintySampling(method=names[key], random_state=0)
    else:
        strategy = strategies[key](random_state=0)
    more = {} if key in ("random", "coreset") else {"clf": clf, "fit_clf": False}
    return lambda: strategy.query(X=X, y=labels, batch_size=n_instances, **more)


WHO = {"skdal": ours, "scikit-activeml": theirs}


def measure(who, key, n_pool, n_classes, n_instances):
    """Return the seconds of queries and the largest memory beyond what data and net take, in this
    process.
    """
    query, seconds = WHO[who](key, n_pool, n_classes, n_instances), []
    with Peak() as found:
        while len(seconds) < REPEATS and sum(seconds) < 20:
            start = time.perf_counter()
            query()
            seconds.append(time.perf_counter() - start)
    return {
        "s": statistics.median(seconds),
        "queries": len(seconds),
        "peak MB": found.growth / MB,
    }


def compare(key, n_pool, n_classes, n_instances):
    """Return how many times as long scikit-activeml takes as we do, both in this process and in
    turns.
    """
    queries = {
        who: make(key, n_pool, n_classes, n_instances) for who, make in WHO.items()
    }
    seconds = {who: [] for who in queries}
    while len(seconds["skdal"]) < REPEATS and sum(map(sum, seconds.values())) < 60:
        for who, query in queries.items():
            start = time.perf_counter()
            query()
            seconds[who].append(time.perf_counter() - start)
    return {
        "times ours": statistics.median(seconds["scikit-activeml"])
        / statistics.median(seconds["skdal"])
    }


def problems(quick):
    pools, classes = ((1_000,), (10,)) if quick else (POOLS, CLASSES)
    for n_pool, n_classes, key in itertools.product(
        pools, classes, [*SAMPLERS, "pool_subset"]
    ):
        yield "skdal", key, n_pool, n_classes, min(N_INSTANCES, n_pool)
        if key in PEERS and n_classes == 10 and n_pool <= 10_000:
            yield "scikit-activeml", key, n_pool, n_classes, min(N_INSTANCES, n_pool)
    if not quick:  # head to head, at few picks, since its BADGE takes minutes
        yield from ((who, "badge", 10_000, 100, 10) for who in WHO)
        yield "skdal", "coreset", 50_000, 10, 1_000


def main():
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the smallest pool only; nothing is written",
    )
    parser.add_argument(
        "--ratios",
        action="store_true",
        help="only compare with scikit-activeml, and add to the record",
    )
    parser.add_argument(
        "--one",
        nargs=5,
        metavar=("WHO", "KEY", "POOL", "CLASSES", "N"),
        help=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds that one process may take"
    )
    args = parser.parse_args()
    if args.one:
        who, key, *sizes = args.one
        print(
            json.dumps(
                (compare if who == "both" else partial(measure, who))(
                    key, *map(int, sizes)
                )
            )
        )
        return
    rows = read_rows("samplers") if args.ratios else []
    if not args.ratios:
        for who, *problem in problems(args.quick):
            rows.append(
                _row(who, *problem)
                | {
                    "s": None,
                    "queries": 0,
                    "peak MB": None,
                    "note": None,
                    "times ours": None,
                }
            )
            rows[-1] |= in_a_process(who, *problem, timeout=args.timeout)
            print_table(rows[-1:])
    for row in rows:
        if row["library"] != "skdal" and row["s"] is not None:
            problem = [
                row[name] for name in ("sampler", "pool", "classes", "n_instances")
            ]
            row |= in_a_process("both", *problem, timeout=args.timeout)
            print_table([row])
    if not args.quick:
        print(f"written: {write_results('samplers', rows)}")


def in_a_process(*problem, timeout):
    """Return what a fresh process measures, or a note of why it did not."""
    command = [sys.executable, __file__, "--one", *map(str, problem)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"note": f"more than {timeout:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {"note": error.stderr.strip().splitlines()[-1][:200]}


def _row(who, key, n_pool, n_classes, n_instances):
    return {
        "sampler": key,
        "library": who,
        "pool": n_pool,
        "classes": n_classes,
        "n_instances": n_instances,
    }


if __name__ == "__main__":
    main()
