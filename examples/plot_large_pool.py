"""
A pool on disk
==============

A pool need not fit into memory: here it is a folder of images, two of which are damaged. The query
reads each image when its mini-batch comes, sets aside what cannot be read, and keeps its scores on
disk, so that it could go on after a power cut. With ``RayExecutor`` in place of ``SerialExecutor``
the same lines run on all cores, or on a cluster.
"""

# %%
# A folder of images
# ------------------
# Handwritten digits as PNG files; somebody has cut off two of them.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from skdal import DynamicALSampler
from skdal.parallel import SerialExecutor
from skdal.pools import ImageFolderPool

torch.set_num_threads(1)  # more do not help so small a net

images, digits = load_digits(return_X_y=True)
folder = Path(tempfile.mkdtemp())
for i, image in enumerate(images[100:]):
    Image.fromarray((image.reshape(8, 8) * 15.9).astype(np.uint8)).save(
        folder / f"{i:04d}.png"
    )
for name in ("0007.png", "0500.png"):
    (folder / name).write_bytes((folder / name).read_bytes()[:40])


def as_tensor(image):
    """Return what the net takes of an image: one channel, from 0 to 1."""
    return torch.from_numpy(
        np.asarray(image.convert("L"), dtype=np.float32)[None] / 255
    )


pool = ImageFolderPool(folder, transform=as_tensor)
print(len(pool), "images, the first of them", pool.keys([0]))

# %%
# A query that keeps its scores
# -----------------------------
# Shards of 256 images; the scores of each are kept as Parquet, with the keys.

net = NeuralNetClassifier(
    nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=30,
    train_split=None,
    verbose=0,
)
X = (images[:100] / 16).astype("float32").reshape(-1, 1, 8, 8)
executor = SerialExecutor(shard_size=256, scores_dir=folder / "scores")
sampler = DynamicALSampler(net, executor=executor, random_state=0).fit(X, digits[:100])
best = sampler.best(pool, n_instances=10)

for key, score, label in zip(
    pool.keys(best.positions), best.columns["score"], best.columns["label"]
):
    print(key, f"{score:8.1f}", label)

# %%
# What could not be read is listed, and did not end the query.

for sample in sampler.unreadable_:
    print(sample.key, "-", sample.reason)

# %%
# The scores of all
# -----------------
# The files can be read by whatever reads Parquet. Asked again, the query takes them from there.

import pyarrow.parquet as parquet

files = sorted((folder / "scores").glob("*/part-*.parquet"))
table = parquet.read_table(files).to_pandas()
print(len(files), "files,", len(table), "scores")
table.head()

# %%

figure, axes = plt.subplots(2, 6, figsize=(9, 3.4), width_ratios=[3, 1, 1, 1, 1, 1])
for ax in axes[:, 0]:
    ax.remove()
histogram = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
histogram.hist(table["score"], bins=60, log=True, color="#4c72b0")
histogram.axvline(best.columns["score"].min(), color="#c44e52", label="ten best")
histogram.set(xlabel="score (Eq. 15)", ylabel="images", title="the pool")
histogram.legend(frameon=False)
for ax, i in zip(axes[:, 1:].ravel(), best.positions):
    ax.imshow(pool.picture(i), cmap="gray")
    ax.set_title(pool.keys([i])[0], fontsize=8)
    ax.axis("off")
figure.tight_layout()
plt.show()
