r"""
What gamma and kappa do to a batch
==================================

dynamicAL scores a sample of the pool by

.. math:: \Delta(x) = \lVert g_x \rVert^2 + \gamma\, g_x \cdot g_S ,

the squared length of its gradient, and how far that gradient points where the labeled set still
pulls. ``gamma`` weighs the two. ``interaction``, kappa in the formulas, lets the picks of a batch
know of each other. Both are shown here on one net and one pool of digits.
"""

# %%
# A net halfway through its training
# ----------------------------------
#
# As a net learns its labels by heart :math:`g_S` goes to zero, and ``gamma`` has no effect. So this
# net stops early.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from skdal import DynamicALSampler
from skdal.gradients import gradient_statistics, labeled_gradient

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
X, y = (images / 16).astype("float32"), digits.astype("int64")
X_labeled, y_labeled, X_pool, y_pool = X[:100], y[:100], X[100:], y[100:]


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


torch.manual_seed(0)
net = NeuralNetClassifier(
    MLP,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=8,
    batch_size=32,
    train_split=None,
    verbose=0,
).fit(X_labeled, y_labeled)
print(
    f"accuracy: labeled set {net.score(X_labeled, y_labeled):.2f}, pool "
    f"{net.score(X_pool, y_pool):.2f}"
)


# %%
# ``FrozenEstimator`` says that the net is trained. ``fit`` then only binds the labeled set, and
# every query below looks at the very same net.


def batch(**params):
    """Return the positions of 12 samples of the pool, in the order of the picks."""
    sampler = DynamicALSampler(FrozenEstimator(net), **params).fit(X_labeled, y_labeled)
    return sampler.query(X_pool, n_instances=12)


# %%
# Gamma: which of the two terms decides
# -------------------------------------
#
# The two terms of every sample of the pool come from
# :func:`~skdal.gradients.gradient_statistics`. Samples of equal score lie on a straight line,
# whose slope is set by ``gamma``: upright for 0, level for infinity. A batch is what lies on the
# dashed line of its last pick and beyond.

statistics = gradient_statistics(
    net, X_pool, direction=labeled_gradient(net, X_labeled, y_labeled)
)
GAMMAS = {0.0: ("#0072B2", "o"), 2.0: ("#E69F00", "s"), np.inf: ("#009E73", "^")}

figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
axes.scatter(
    statistics.sq_norm,
    statistics.dot,
    s=6,
    color="#999999",
    alpha=0.6,
    linewidth=0,
    label="pool",
)
for size, (gamma, (color, marker)) in zip([30, 80, 150], GAMMAS.items()):
    picked = batch(gamma=gamma)
    style = {
        "s": size,
        "facecolor": "none",
        "edgecolor": color,
        "marker": marker,
        "linewidth": 1.6,
    }
    label = f"asked for with gamma = {gamma:g}"
    axes.scatter(
        statistics.sq_norm[picked], statistics.dot[picked], **style, label=label
    )
    last, ends = picked[-1], np.array([-100, 100])
    if gamma == np.inf:
        axes.plot(
            ends, statistics.dot[[last, last]], color=color, linestyle="--", linewidth=1
        )
    else:
        score = statistics.sq_norm[last] + gamma * statistics.dot[last]
        axes.plot(score - gamma * ends, ends, color=color, linestyle="--", linewidth=1)
axes.axhline(0, color="#CCCCCC", linewidth=0.8, zorder=0)
axes.set(
    xlabel=r"$\Vert g_x \Vert^2$",
    ylabel=r"$g_x \cdot g_S$",
    xlim=(-4, 96),
    ylim=(-31, 31),
)
axes.legend(loc="lower left", frameon=False)

# %%
# Kappa: how much the picks have in common
# ----------------------------------------
#
# With ``interaction`` :math:`= \kappa` each pick is made by :math:`\Delta(x) + \kappa\, g_x \cdot
# \sum g_{picked}`. At ``update_size=1`` the sum is brought up to date after each pick.
#
# How alike the gradients of a batch are is told by the mean cosine between pairs of them: 1 if
# all are the same direction. :func:`~skdal.gradients.labeled_gradient` gives the gradient of one
# sample as well as of many.


def redundancy(picked):
    """Return the mean cosine of the angle between the gradients of two picks."""
    gradients = [
        labeled_gradient(net, X_pool[[i]], net.predict(X_pool[[i]])) for i in picked
    ]
    rows = torch.stack(
        [torch.cat([part.flatten() for part in g.values()]) for g in gradients]
    ).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    cosines = rows @ rows.T
    return float(cosines[~torch.eye(len(rows), dtype=torch.bool)].mean())


BATCHES = {
    "gamma = 0": {"gamma": 0.0},
    "gamma = 2": {"gamma": 2.0},
    "gamma = inf": {"gamma": np.inf},
    "gamma = 2, kappa = -2": {"interaction": -2.0, "update_size": 1},
    "gamma = 2, kappa = 0": {"interaction": 0.0},
    "gamma = 2, kappa = 2": {"interaction": 2.0, "update_size": 1},
}
batches = {name: batch(**params) for name, params in BATCHES.items()}

figure = plt.figure(figsize=(9, 5.2), layout="constrained")
upper, lower = figure.subfigures(2, 1)
for part, names in [(upper, list(BATCHES)[:3]), (lower, list(BATCHES)[3:])]:
    grid = part.subplots(3, 12)
    for name, row in zip(names, grid):
        picked = batches[name]
        found = f"{len(set(y_pool[picked]))} classes, cosine {redundancy(picked):.2f}"
        row[0].set_ylabel(
            f"{name}\n{found}", rotation=0, ha="right", va="center", fontsize=9
        )
        for axes, i in zip(row, picked):
            axes.imshow(X_pool[i].reshape(8, 8), cmap="gray_r")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{y_pool[i]}", fontsize=9, pad=2)
upper.suptitle("gamma alone (kappa = 0): 12 picks, first pick at the left", fontsize=10)
lower.suptitle("kappa, one pick at a time", fontsize=10)
plt.show()

# %%
# A negative kappa spreads the batch: more classes, gradients that are at right angles on average.
# A positive one does the opposite. That is the objective taken at its word: gradients that add up
# raise :math:`\lVert \sum g \rVert^2` most, and many of one kind add up. Kappa = 0, the paper's
# choice, lies between, and needs one pass over the pool where the others need one for each
# update. Which is worth more labels is a question to your data.
