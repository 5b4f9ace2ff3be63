"""
What decided a query
====================

dynamicAL scores a sample by two terms, the squared length of its gradient and twice its inner
product with the summed gradient of the labeled set. The second fades as the net learns its labels.
So how long you train decides which criterion you use. ``diagnose`` shows it on one page; here for
one net after a short and a long training.
"""

# %%
# A short training
# ----------------

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from skdal import DynamicALSampler
from skdal.dynamics import diagnose

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
X, y = (images / 16).astype("float32"), digits.astype("int64")


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def query_and_show(max_epochs):
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.01,
        max_epochs=max_epochs,
        batch_size=32,
        train_split=None,
        verbose=0,
    )
    sampler = DynamicALSampler(net, random_state=0).fit(X[:100], y[:100])
    picks = sampler.query(X[100:], n_instances=50)
    with tempfile.TemporaryDirectory() as folder:
        found = diagnose(sampler, X[100:], picks, figure=Path(folder) / "page.png")
        page = plt.imread(Path(folder) / "page.png")
    _, axes = plt.subplots(figsize=(11, 7.6), layout="constrained")
    axes.imshow(page)
    axes.axis("off")
    return found


short = query_and_show(max_epochs=3)
print(f"share of the norm term: {short['norm_share']:.0%}")
print("\n".join(short["findings"]))


# %%
# A long training
# ---------------
#
# Now the net knows its labels by heart, their gradients vanish, and dynamicAL is gradient length
# alone.

long = query_and_show(max_epochs=200)
print(f"share of the norm term: {long['norm_share']:.0%}")
print("\n".join(long["findings"]))

# %%
# The pages also tell whether a batch repeats itself: dynamicAL scores each sample by itself, so
# near twins are asked for together. ``effective_rank`` counts the directions that the gradients
# of the picks span, and a negative ``interaction`` raises it.

print(
    f"effective rank: {short['effective_rank']:.1f} and {long['effective_rank']:.1f} of 50"
)
