"""
Your own sampler
================

A sampler is one class with one method. This one combines two plain ideas: take the samples with the
smallest margins, and out of these no two that look alike to the net. It needs twenty lines, no
registration, and then works in every loop of the library.
"""

# %%
# Twenty lines
# ------------
#
# A sampler that scores class probabilities derives from :class:`~skdal.base.ProbabilitySampler`
# and writes ``_score``; one that scores samples in another way derives from
# :class:`~skdal.base.ScoreSampler` and writes ``_work``, which returns what scores a shard of the
# pool. One that chooses a batch as a whole derives from
# :class:`~skdal.base.EmbeddingSampler` and writes ``_select``: it gets the trained classifier, the
# pool, the number of samples and the only source of chance, and returns positions and scores,
# best first. The base class trains, checks, answers as a modAL strategy and restores the random
# state.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from skdal.base import EmbeddingSampler
from skdal.samplers import MarginSampler


class MarginClusters(EmbeddingSampler):
    """Cluster the samples of smallest margin by the input of the net's head; ask for the smallest
    margin of each."""

    def _select(self, trained, X, n_instances, rng):
        proba = np.sort(trained.classifier.predict_proba(X), axis=1)
        margins = proba[:, -1] - proba[:, -2]
        unsure = np.argsort(margins, kind="stable")[: 5 * n_instances]
        hidden = self._embeddings(trained.classifier, X)[unsure].cpu().numpy()
        clusters = KMeans(
            n_instances, n_init=1, random_state=int(rng.integers(2**32))
        ).fit_predict(hidden)
        first = np.unique(clusters, return_index=True)[
            1
        ]  # `unsure` ascends, so the first one is the least sure
        rest = np.setdiff1d(
            np.arange(len(unsure)), first
        )  # fills up where duplicates leave clusters empty
        indices = unsure[np.r_[np.sort(first), rest][:n_instances]]
        return indices, -margins[indices]


# %%
# A pool with near-duplicates
# ---------------------------
#
# Each of 500 digits is there six times, each time with other noise, as pictures from a film would
# be. The smallest margins then tend to be copies of the same few digits.

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
X, y = (images / 16).astype("float32"), digits.astype("int64")
X_labeled, y_labeled = X[:30], y[:30]
original = np.repeat(np.arange(30, 530), 6)  # the digit that a sample of the pool shows
X_pool = X[original] + np.random.default_rng(0).normal(
    scale=0.02, size=(len(original), 64)
).astype("float32")
y_pool = y[original]


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


net = NeuralNetClassifier(
    MLP,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=20,
    batch_size=32,
    train_split=None,
    verbose=0,
)

# %%
# In a scikit-learn loop
# ----------------------
#
# The constructor is inherited: estimator, warm start, ``random_state`` and the choice of the
# embedding. Both samplers begin with the same labels and weights.

asked = {}
for sampler in (
    MarginSampler(net, random_state=0),
    MarginClusters(net, random_state=0),
):
    sampler.fit(X_labeled, y_labeled)
    indices = sampler.query(X_pool, n_instances=24)
    asked[type(sampler).__name__] = indices
    print(
        f"{type(sampler).__name__}: {len(set(original[indices]))} different digits among "
        f"{len(indices)}"
    )
    sampler.fit(
        np.r_[X_labeled, X_pool[indices]], np.r_[y_labeled, y_pool[indices]]
    )  # and so on

# %%
# In a modAL loop, as an arm of a bandit, on a part of the pool
# -------------------------------------------------------------
#
# An instance is a query strategy. It may also stand wherever a sampler of the library stands.

from sklearn.base import clone

from skdal import ActiveLearner
from skdal.samplers import ALBLSampler, PoolSubset

torch.manual_seed(0)
for strategy in (
    MarginClusters(random_state=0),
    ALBLSampler(samplers=[MarginClusters(), MarginSampler()], random_state=0),
    PoolSubset(sampler=MarginClusters(), subset_size=500, random_state=0),
):
    learner = ActiveLearner(clone(net), strategy, X_labeled, y_labeled)
    indices, samples = learner.query(X_pool, n_instances=24)
    learner.teach(samples, y_pool[indices])
    print(f"{type(strategy).__name__}: {len(learner.X_training)} labels")

# %%
# What was asked for
# ------------------
#
# The first batch of both, most wanted first. An orange frame marks a copy of a digit that was
# picked before: its label is money spent twice.

figure = plt.figure(figsize=(9, 4.6), layout="constrained")
for part, (name, picked) in zip(figure.subfigures(2, 1), asked.items()):
    n_new = len(set(original[picked]))
    part.suptitle(
        f"{name}: {n_new} different digits, {len(picked) - n_new} repeated", fontsize=11
    )
    for rank, (axes, i) in enumerate(zip(part.subplots(2, 12).flat, picked)):
        repeated = original[i] in original[picked[:rank]]
        axes.imshow(X_pool[i].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(
            color="#D55E00" if repeated else "#CCCCCC",
            linewidth=3.5 if repeated else 0.8,
        )
handle = plt.Line2D(
    [], [], color="#D55E00", linewidth=3.5, label="copy of a digit picked before"
)
figure.legend(handles=[handle], loc="outside lower center", frameon=False)
plt.show()
