"""
All samplers on digits
======================

Every sampler of the registry in the same loop, with the same seeds, on the same small net. Each
panel shows one of them over random sampling. The page :doc:`/baselines` says what each computes.
"""

# %%
# The data and the net
# --------------------
#
# MC dropout needs a net with a dropout layer, so all get it. It drops something only in training
# and, for that sampler, in its scoring passes.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from skdal.samplers import SAMPLERS

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
X, y = (images / 16).astype("float32"), digits.astype("int64")
X, X_test, y, y_test = train_test_split(
    X, y, train_size=600, test_size=500, stratify=y, random_state=0
)


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
        )


net = NeuralNetClassifier(
    MLP,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.02,
    max_epochs=15,
    batch_size=32,
    train_split=None,
    verbose=0,
)

# %%
# The loop
# --------
#
# A seed decides the initial labels, the initial weights and all draws of training and queries.
# The weights of a seed are the same for every sampler.

N_INITIAL, N_INSTANCES, N_ROUNDS, N_SEEDS = 30, 30, 3, 4


def accuracy_by_round(make_sampler, seed):
    """Run one loop; return the test accuracy before the first round and after each."""
    sampler = make_sampler(net, random_state=seed)
    labeled, accuracy = (
        np.random.default_rng(seed).choice(len(X), N_INITIAL, replace=False),
        [],
    )
    for _ in range(N_ROUNDS):
        sampler.fit(X[labeled], y[labeled])
        accuracy.append(sampler.score(X_test, y_test))
        pool = np.setdiff1d(np.arange(len(X)), labeled)
        labeled = np.r_[labeled, pool[sampler.query(X[pool], n_instances=N_INSTANCES)]]
    sampler.fit(X[labeled], y[labeled])
    return [*accuracy, sampler.score(X_test, y_test)]


runs = {
    key: np.array([accuracy_by_round(make, seed) for seed in range(N_SEEDS)])
    for key, make in SAMPLERS.items()
}

# %%
# The learning curves
# -------------------
#
# Line and band: mean over the seeds and one standard deviation to either side; grey and the same
# in every panel: random sampling. The number is the mean difference from random sampling with the
# last labels, in percentage points, and the standard error of that mean over the seeds.

n_labels = N_INITIAL + N_INSTANCES * np.arange(N_ROUNDS + 1)
others = [key for key in runs if key != "random"]
BLUE, GREY = "#0072B2", "#767676"


def draw(axes, accuracy, color, label, marker):
    mean, spread = accuracy.mean(axis=0), accuracy.std(axis=0, ddof=1)
    axes.fill_between(
        n_labels, mean - spread, mean + spread, color=color, alpha=0.22, linewidth=0
    )
    axes.plot(n_labels, mean, color=color, marker=marker, markersize=4, label=label)


figure, panels = plt.subplots(
    3, 4, figsize=(10, 7.2), sharex=True, sharey=True, layout="constrained"
)
for axes, key in zip(panels.flat, others):
    draw(axes, runs["random"], GREY, f"random, mean of {N_SEEDS} seeds", "s")
    draw(axes, runs[key], BLUE, f"sampler of the panel, mean of {N_SEEDS} seeds", "o")
    difference = 100 * (runs[key] - runs["random"])[:, -1]
    error = difference.std(ddof=1) / N_SEEDS**0.5
    axes.set_title(key, fontsize=11)
    axes.text(
        0.96,
        0.06,
        f"{difference.mean():+.1f} \u00b1 {error:.1f}",
        transform=axes.transAxes,
        ha="right",
    )
panels[0, 0].set(xticks=n_labels, ylim=(0.5, 1.0))
figure.supxlabel("number of labels", fontsize=10)
figure.supylabel(f"accuracy on {len(y_test)} test digits", fontsize=10)
figure.legend(
    *panels[0, 0].get_legend_handles_labels(),
    loc="outside upper center",
    ncols=2,
    frameon=False,
)
plt.show()

# %%
# What the picture says: with these labels most samplers end one to three points above random
# sampling; influence is level with it, and MC dropout below. What it does not say is which is
# best. With four seeds most differences among those above are within their errors, and the order
# changes with the net, the data, the number of labels and how long each round trains. ALBL has
# three queries here, from which a bandit can learn next to nothing; it is its two arms, Coreset
# and Confidence, drawn about evenly.
