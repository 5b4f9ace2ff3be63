"""
Two loops on handwritten digits
===============================

The loop of active learning, written twice: with a learner that keeps the books, as in modAL, and
with a scikit-learn estimator. Both start from 50 labels and ask for 30 more, five times. At the
end: how well they do, and which digits were asked for last.
"""

# %%
# The data and the net
# --------------------
#
# scikit-learn's digits: 1,797 handwritten digits of eight by eight pixels. The last 500 are for
# testing. Nets want ``float32`` inputs and ``int64`` labels.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
X, y = (images / 16).astype("float32"), digits.astype("int64")
X, X_test, y, y_test = X[:-500], X[-500:], y[:-500], y[-500:]


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


# %%
# ``train_split=None`` trains on every label; skorch's default would hold a fifth of them out.

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
# As in modAL
# -----------
#
# ``query`` returns positions in the pool, best first, and the samples at these positions.
# ``teach`` appends them, with the labels that somebody has found out (here: ``y_pool``), and
# trains on from the current weights.

from sklearn.base import clone

from skdal import ActiveLearner, dynamical_sampling

torch.manual_seed(0)
learner = ActiveLearner(
    clone(net), query_strategy=dynamical_sampling, X_training=X[:50], y_training=y[:50]
)
X_pool, y_pool = X[50:], y[50:]
modal_accuracy = [learner.score(X_test, y_test)]

for _ in range(5):
    indices, samples = learner.query(X_pool, n_instances=30)
    learner.teach(samples, y_pool[indices])
    X_pool, y_pool = np.delete(X_pool, indices, axis=0), np.delete(y_pool, indices)
    modal_accuracy.append(learner.score(X_test, y_test))

# %%
# As in scikit-learn
# ------------------
#
# A sampler wraps the net. ``fit`` takes *all* labels of the moment and trains on from the current
# weights, ``query`` ranks a pool. With ``random_state`` the whole loop is reproducible. Every
# sampler has this interface, so random sampling, the baseline to beat, is one more call of the
# same function.

from skdal import DynamicALSampler
from skdal.samplers import RandomSampler


def run(sampler):
    labeled, accuracy = np.arange(50), []
    for _ in range(5):
        sampler.fit(X[labeled], y[labeled])
        accuracy.append(sampler.score(X_test, y_test))
        pool = np.setdiff1d(np.arange(len(X)), labeled)
        picked = pool[sampler.query(X[pool], n_instances=30)]
        labeled = np.r_[labeled, picked]
    sampler.fit(X[labeled], y[labeled])
    return [*accuracy, sampler.score(X_test, y_test)], labeled


accuracy, labeled = run(DynamicALSampler(net, random_state=0))
random_accuracy, _ = run(RandomSampler(net, random_state=0))

# %%
# One run each says little, as another seed may turn the order around: ``skdal demo`` repeats such
# a comparison with several seeds and shows the standard errors.

n_labels = 50 + 30 * np.arange(6)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(n_labels, modal_accuracy, marker="o", label="dynamicAL, as in modAL")
axes.plot(n_labels, accuracy, marker="o", label="dynamicAL, as in scikit-learn")
axes.plot(n_labels, random_accuracy, marker="o", color="gray", label="random")
axes.set(
    xlabel="number of labels", ylabel="accuracy on 500 test digits", xticks=n_labels
)
axes.legend(frameon=False)

# %%
# What the last query asked for
# -----------------------------
#
# The 30 digits of the last query, most wanted first, with the label that was bought.

figure, grid = plt.subplots(3, 10, figsize=(8, 3), layout="constrained")
for axes, i in zip(grid.flat, labeled[-30:]):
    axes.imshow(X[i].reshape(8, 8), cmap="gray_r")
    axes.set_title(y[i], fontsize=9)
    axes.axis("off")
plt.show()
