"""What the harness of experiments costs: a run against the same training and queries by hand.

`python benchmarks/bench_harness.py [--quick]`. The hand-written loop trains the same skorch net for
the same epochs on the same labels with the same loader, and asks the same sampler. The run adds all
else: seeds, accuracy in passing, peak memory, records, checkpoints on disk. Looks at the test set
are asked for, so their seconds, which the run records, are taken off. Both run in turns in one
process; images are noise, and epochs are a fixed number. One thread. Seconds are of the processor,
since those of a clock scatter by 5% on a shared machine.

Predicted: below 1% for the CNN, since a round of seconds gets a checkpoint of a megabyte and a
fraction of a millisecond a step for the accuracy.

Written to results/harness.json: a row a sampler.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import print_table, write_results
from sklearn.frozen import FrozenEstimator

from skdal.datasets import Batches
from skdal.experiments import RunSpec, Training, run
from skdal.experiments._run import load, make_sampler
from skdal.models import MODELS

EPOCHS, REPEATS = 10, 5


def write_noise(folder, n_train, n_test):
    """Write images of noise as an .npz file."""
    rng = np.random.default_rng(0)
    parts = {}
    for part, n in (("train", n_train), ("test", n_test)):
        parts[f"X_{part}"] = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        parts[f"y_{part}"] = np.arange(n) % 10
    np.savez(Path(folder) / "noise.npz", **parts)


def by_hand(spec, data, records):
    """Do the training and the queries of a run, whose records say which labels; return seconds."""
    start = time.process_time()
    net = MODELS[spec.model](
        10, seed=0, batch_size=spec.training.batch_size, iterator_train=Batches
    ).initialize()
    sampler, labeled = make_sampler(spec), np.array(records[0]["initial"])
    for record in records:
        net.initialize_optimizer()
        net.fit_loop(data.train.take(labeled), epochs=record["epochs"])
        if record["queried"]:
            pool = np.setdiff1d(np.arange(len(data.train)), labeled)
            sampler.set_params(estimator=FrozenEstimator(net)).fit(
                data.train.take(labeled)
            )
            sampler.query(data.train.take(pool).unlabeled(), len(record["queried"]))
            labeled = np.concatenate([labeled, record["queried"]])
    return time.process_time() - start


def measured(spec, root):
    """Return seconds of a run without its looks at the test set, and its records."""
    with tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        records = run(spec, out, data_root=root)
        seconds = time.process_time() - start
    return seconds - sum(record["test_seconds"] for record in records), records


def row(sampler, root, repeats):
    """Return one row of the table."""
    training = Training(accuracy=1.0, max_epochs=EPOCHS, n_epochs_above=EPOCHS)
    spec = RunSpec("noise.npz", "cnn", sampler, n_rounds=3, training=training)
    data, _ = load(spec, root)
    _, records = measured(spec, root)
    by_hand(spec, data, records)  # both have been run once
    pairs = []
    for i in range(repeats):
        both = {}
        for kind in ("run", "hand") if i % 2 else ("hand", "run"):
            both[kind] = (
                measured(spec, root)[0]
                if kind == "run"
                else by_hand(spec, data, records)
            )
        pairs.append((both["run"], both["hand"]))
    ratios = sorted(100 * (ours / hand - 1) for ours, hand in pairs)
    return {
        "sampler": sampler,
        "by hand CPU s": statistics.median(hand for _, hand in pairs),
        "overhead %": statistics.median(ratios),
        "least %": ratios[0],
        "most %": ratios[-1],
    }


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one repetition, nothing is written"
    )
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        write_noise(root, 2_000 if quick else 10_000, 200)
        rows = [
            row(sampler, root, 1 if quick else REPEATS)
            for sampler in ("random", "dynamical")
        ]
    print_table(rows)
    if not quick:
        write_results("harness", rows)


if __name__ == "__main__":
    main()
