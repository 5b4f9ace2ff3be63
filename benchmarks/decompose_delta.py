"""Which term of Eq. 15 decides what dynamicAL asks for, and how that depends on the end of
training.

`python benchmarks/decompose_delta.py [--data-root DIR]` needs cifar10-jpeg.npz (see
pack_images.py). Table 3's setting with random queries is trained round by round, by the suites'
stop rule (97 % in ten epochs) and for longer (97 % in 50 and 200 epochs). After each training Delta
is taken apart on 5,000 images of the pool: ||g_u||^2 and 2 g_u . g_S.

Predicted: with g_S = 0 at a minimum of the loss, longer training leaves the squared length to
decide.

Written to results/delta.json: a row a training, seed and number of labels.
"""

import argparse
import dataclasses

import numpy as np
import torch
from _common import print_table, write_results
from scipy.stats import spearmanr

from skdal.experiments import SUITES, Training
from skdal.experiments._run import _Run, load
from skdal.gradients import gradient_statistics, labeled_gradient

EPOCHS_ABOVE, N_ROUNDS, N_SEEDS, N_POOL, N_INSTANCES = (10, 50, 200), 3, 3, 5_000, 500


def row(work, record):
    """Return one row of the table, for the net that a round has trained."""
    train, n_labeled = work.data.train, record["n_labeled"]
    labeled = work.labeled[:n_labeled]
    pool = np.setdiff1d(np.arange(len(train)), work.labeled)
    pool = np.random.default_rng(0).choice(pool, N_POOL, replace=False)
    direction = labeled_gradient(work.net, train.take(labeled))
    found = gradient_statistics(
        work.net, train.take(pool).unlabeled(), direction=direction
    )
    delta, share = found.sq_norm + 2 * found.dot, N_POOL * N_INSTANCES // len(train)
    tops = [set(np.argsort(-v)[:share]) for v in (delta, found.sq_norm, found.dot)]
    return {
        "epochs above": work.spec.training.n_epochs_above,
        "seed": work.spec.seed,
        "labels": n_labeled,
        "length of g_S": sum(float((v.double() ** 2).sum()) for v in direction.values())
        ** 0.5,
        "median length of g_u": float(np.median(np.sqrt(found.sq_norm))),
        "rank correlation with length": float(
            spearmanr(delta, found.sq_norm).statistic
        ),
        "rank correlation with dot": float(spearmanr(delta, found.dot).statistic),
        "top shared with length": len(tops[0] & tops[1]) / share,
        "top shared with dot": len(tops[0] & tops[2]) / share,
        "accuracy": record["accuracy"],
    }


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default="data")
    root = parser.parse_args().data_root
    torch.set_num_threads(1)
    rows = []
    for n_epochs in EPOCHS_ABOVE:
        training = Training(n_epochs_above=n_epochs, max_epochs=1000)
        for seed in range(N_SEEDS):
            spec = SUITES["table3"].spec(
                "random",
                seed,
                dataset="cifar10-jpeg.npz",
                n_rounds=N_ROUNDS,
                eval_every=0,
            )
            spec = dataclasses.replace(spec, training=training)
            work = _Run(spec, load(spec, root)[0], "cpu")
            work.restore([], None)
            for record in work.rounds():
                rows.append(row(work, record))
                print_table(rows[-1:])
    write_results("delta", rows)


if __name__ == "__main__":
    main()
