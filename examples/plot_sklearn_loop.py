"""
The loop of scikit-learn
========================

A sampler is a scikit-learn estimator around the classifier: ``fit`` trains on the labeled set,
``query`` ranks a pool. The classifier may be a ``Pipeline`` with a net at its end. Here there are
two features, of very different size, so that what is asked for can be drawn.
"""

# %%
# The data
# --------
#
# Three spiral arms, one a class. The first feature is a thousand times as large as the second:
# without scaling a net learns little from them.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skdal import DynamicALSampler
from skdal.samplers import RandomSampler

torch.set_num_threads(1)  # more do not help so small a net


def spirals(n_samples, seed):
    """Return points (n, 2) float32 on three noisy spiral arms, and the arms (n,) int64."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 3, n_samples)
    radius = np.sqrt(rng.uniform(0.02, 1, n_samples))
    angle = 2 * np.pi * arm / 3 + 4 * radius + rng.normal(scale=0.17, size=n_samples)
    X = np.c_[1000 * radius * np.cos(angle), radius * np.sin(angle)]
    return X.astype("float32"), arm


X, y = spirals(1_500, seed=0)
X_test, y_test = spirals(1_000, seed=1)

# %%
# The estimator
# -------------
#
# The last step of the Pipeline is the net, the earlier ones transform pool and labeled set alike.
# They stay as they were first fitted while the net trains on from round to round.


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
        )


net = NeuralNetClassifier(
    MLP,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=30,
    batch_size=64,
    train_split=None,
    verbose=0,
)
estimator = make_pipeline(StandardScaler(), net)

# %%
# The loop
# --------
#
# ``fit`` always takes *all* labels of the moment. Positions come back relative to the pool that
# was passed. With ``random_state`` the whole loop is reproducible. What is kept of each round is
# for the picture: the labeled set, the accuracy, and what the net says on a grid.

N_INITIAL, N_INSTANCES, N_ROUNDS = 12, 3, 20
SHOWN = range(0, N_ROUNDS + 1, 4)
grid = np.stack(
    np.meshgrid(np.linspace(-1150, 1150, 120), np.linspace(-1.15, 1.15, 120)), axis=-1
).astype("float32")


def run(sampler):
    """Return (labeled set, accuracy, predicted classes of the grid) before the first query and
    after every fourth."""
    labeled, rounds = (
        np.random.default_rng(0).choice(len(X), N_INITIAL, replace=False),
        [],
    )
    for k in range(N_ROUNDS + 1):
        sampler.fit(X[labeled], y[labeled])
        if k in SHOWN:
            predicted = sampler.predict(grid.reshape(-1, 2)).reshape(grid.shape[:2])
            rounds.append((labeled, sampler.score(X_test, y_test), predicted))
        pool = np.setdiff1d(np.arange(len(X)), labeled)
        labeled = np.r_[labeled, pool[sampler.query(X[pool], n_instances=N_INSTANCES)]]
    return rounds


rounds = run(DynamicALSampler(estimator, random_state=0))
random_rounds = run(RandomSampler(estimator, random_state=0))

# %%
# What was asked for
# ------------------
#
# Every fourth round. Background: the class that the net predicts. Small points: the pool in its
# true classes, which no query looks at. Filled marks: labeled so far. Crosses: asked for in the
# four queries that follow.

COLORS = ["#0072B2", "#E69F00", "#009E73"]
MARKERS = "o^s"

figure, panels = plt.subplots(
    2, 3, figsize=(9, 6.8), sharex=True, sharey=True, layout="constrained"
)
everything = rounds[-1][0]  # each labeled set is the beginning of the next
for axes, (labeled, accuracy, predicted), (_, of_random, _) in zip(
    panels.flat, rounds, random_rounds
):
    asked = everything[len(labeled) : len(labeled) + 4 * N_INSTANCES]
    axes.contourf(
        grid[..., 0],
        grid[..., 1],
        predicted,
        levels=[-0.5, 0.5, 1.5, 2.5],
        colors=COLORS,
        alpha=0.25,
    )
    for arm, (color, marker) in enumerate(zip(COLORS, MARKERS)):
        of_arm = labeled[y[labeled] == arm]
        axes.scatter(*X[y == arm].T, s=1.5, color=color, alpha=0.5, linewidth=0)
        axes.scatter(
            *X[of_arm].T,
            s=30,
            color=color,
            marker=marker,
            edgecolor="white",
            linewidth=0.8,
        )
    axes.scatter(*X[asked].T, s=45, color="black", marker="x", linewidth=1.6)
    axes.set_title(
        f"{len(labeled)} labels\naccuracy {accuracy:.2f}, with random {of_random:.2f}",
        fontsize=10,
    )
for axes in panels[:, 0]:
    axes.set_ylabel("second feature")
for axes in panels[-1]:
    axes.set_xlabel("first feature")
handles = [
    plt.Line2D(
        [], [], color=color, marker=marker, linestyle="", label=f"labeled, arm {arm}"
    )
    for arm, (color, marker) in enumerate(zip(COLORS, MARKERS))
]
handles.append(
    plt.Line2D([], [], color="black", marker="x", linestyle="", label="asked for next")
)
figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
plt.show()

# %%
# The queries follow the border of what the net believes, as far as the pool reaches. While that
# border is still wrong, random sampling, which covers the arms evenly, is ahead; in the end the
# queries have pushed it between the arms. This is one run, and the plane is kind to samplers that
# cover: :class:`~skdal.samplers.CoresetSampler` gets there sooner.
