"""
The loop of modAL
=================

modAL's loop has two calls: ``query`` asks for labels, ``teach`` takes them and trains on.
:class:`~skdal.ActiveLearner` is modAL's learner, which also keeps a net in training from round to
round and works with today's scikit-learn. Here it runs with dynamicAL and with random sampling, six
times each, so that the picture shows the spread along with the mean.
"""

# %%
# The data and the net
# --------------------
#
# scikit-learn's digits: 1,797 handwritten digits of eight by eight pixels. 500 of them are for
# testing and never asked for. Nets want ``float32`` inputs and ``int64`` labels.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from skdal import ActiveLearner, dynamical_sampling
from skdal.samplers import random_sampling

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
X, y = (images / 16).astype("float32"), digits.astype("int64")
X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=0)


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def make_net():
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.01,
        max_epochs=15,
        batch_size=64,
        train_split=None,  # train on every label; skorch's default would hold a fifth of them out
        verbose=0,
    )


# %%
# The loop
# --------
#
# The learner trains the net that it is given. ``query`` returns positions in the pool, best
# first, and the samples at these positions. ``teach`` appends them with their labels, here looked
# up in ``y_pool``, and trains on from the current weights. The pool is yours: take out what was
# labeled.

N_INITIAL, N_INSTANCES, N_ROUNDS, N_SEEDS = 20, 20, 6, 6


def accuracy_by_round(query_strategy, seed):
    """Run one loop; return the test accuracy before the first round and after each."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    order = np.random.permutation(len(X))
    labeled, pool = order[:N_INITIAL], order[N_INITIAL:]
    X_pool, y_pool = X[pool], y[pool]
    learner = ActiveLearner(
        make_net(),
        query_strategy=query_strategy,
        X_training=X[labeled],
        y_training=y[labeled],
    )
    accuracy = [learner.score(X_test, y_test)]
    for _ in range(N_ROUNDS):
        indices, samples = learner.query(X_pool, n_instances=N_INSTANCES)
        learner.teach(samples, y_pool[indices])
        X_pool, y_pool = np.delete(X_pool, indices, axis=0), np.delete(y_pool, indices)
        accuracy.append(learner.score(X_test, y_test))
    return accuracy


# %%
# A seed decides the initial labels, the initial weights and the order of the mini-batches. Both
# strategies get the same seeds. :func:`~skdal.samplers.random_sampling` draws from a fresh state
# unless it is given a ``random_state``, so the seed is passed to it.

from functools import partial

runs = {
    "dynamicAL": np.array(
        [accuracy_by_round(dynamical_sampling, seed) for seed in range(N_SEEDS)]
    ),
    "random": np.array(
        [
            accuracy_by_round(partial(random_sampling, random_state=seed), seed)
            for seed in range(N_SEEDS)
        ]
    ),
}

# %%
# The learning curves
# -------------------
#
# Left: the mean over the seeds, and one standard deviation to either side. Right: the difference
# seed by seed. It is the fairer look, since both runs of a seed begin with the same labels and
# weights.

COLORS = {"dynamicAL": "#0072B2", "random": "#767676"}
n_labels = N_INITIAL + N_INSTANCES * np.arange(N_ROUNDS + 1)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name, marker in zip(runs, "os"):
    mean, spread = runs[name].mean(axis=0), runs[name].std(axis=0, ddof=1)
    left.fill_between(
        n_labels,
        mean - spread,
        mean + spread,
        color=COLORS[name],
        alpha=0.2,
        linewidth=0,
    )
    left.plot(
        n_labels,
        mean,
        marker=marker,
        color=COLORS[name],
        label=f"{name}, mean of {N_SEEDS} seeds",
    )
left.set(
    xlabel="number of labels",
    ylabel=f"accuracy on {len(y_test)} test digits",
    xticks=n_labels,
)
left.legend(loc="lower right", frameon=False)

difference = 100 * (runs["dynamicAL"] - runs["random"])
right.axhline(0, color=COLORS["random"], linewidth=1)
right.plot(n_labels, difference.T, color=COLORS["dynamicAL"], alpha=0.35, linewidth=1)
right.plot(
    n_labels,
    difference.mean(axis=0),
    color=COLORS["dynamicAL"],
    linewidth=2.5,
    label="mean",
)
right.plot([], [], color=COLORS["dynamicAL"], alpha=0.35, linewidth=1, label="one seed")
right.set(
    xlabel="number of labels",
    ylabel="dynamicAL minus random\n(percentage points)",
    xticks=n_labels,
)
right.legend(loc="lower right", frameon=False)
plt.show()

# %%
# With 20 labels the net's own predictions, under which dynamicAL scores the pool, are often
# wrong, and its first query is on average no better than a random one. With 120 labels and more
# it is ahead. These are six seeds, one net and an easy data set: enough to see the loop at work,
# too little to rank samplers.
