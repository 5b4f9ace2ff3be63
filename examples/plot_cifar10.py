"""
One query on photographs
========================

The situation that skdal is made for: 500 labeled photographs, 49,500 without labels, and money for
500 more labels. The data are CIFAR-10 and the net is the small CNN of the PyTorch tutorial, as in
the paper's experiments. The pool stays in memory as eight-bit integers; a photograph becomes
``float32`` when its mini-batch is scored.

The images do not come with skdal. The example looks for them in the folder that the environment
variable ``SKDAL_DATA`` names: ``cifar10.npz`` with a ``load.py`` beside it, whose
``load("cifar10")`` returns images (n, 32, 32, 3) as ``uint8``, labels and class names.
"""

# %%
# The images
# ----------

import importlib.util
import os
import resource
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import Dataset, Subset

from skdal import DynamicALSampler


def data_folder():
    """Return the folder of the images: SKDAL_DATA, or shared/data beside the repository."""
    if "SKDAL_DATA" in os.environ:
        return Path(os.environ["SKDAL_DATA"])
    # sphinx-gallery defines no __file__, and runs the script in its own folder
    here = Path(globals().get("__file__", "plot_cifar10.py")).resolve()
    return here.parents[2] / "shared" / "data"


def load_images():
    """Return images (n, 32, 32, 3) uint8, labels (n,) int64 and class names; None where there are
    none."""
    folder = data_folder()
    if not ((folder / "load.py").is_file() and (folder / "cifar10.npz").is_file()):
        return None
    spec = importlib.util.spec_from_file_location("skdal_data_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load("cifar10")


# %%
# A ``Dataset`` holds them as they are, and makes ``float32`` of one image at a time. Its items
# carry labels. A query never looks at those of the pool: a photograph is scored under the label
# that the net predicts for it.


class Photographs(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = torch.from_numpy(self.images[i]).permute(2, 0, 1)
        return image.float().div_(127.5).sub_(1), int(self.labels[i])


# %%
# The net
# -------


class CNN(nn.Sequential):
    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(
                nn.Flatten(),
                nn.Linear(400, 120),
                nn.ReLU(),
                nn.Linear(120, 84),
                nn.ReLU(),
                nn.Linear(84, 10),
            ),
        )


def make_net():
    return NeuralNetClassifier(
        CNN,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=32,
        max_epochs=50,
        train_split=None,
        verbose=0,
    )


# %%
# The query
# ---------
#
# ``fit`` trains on the 500 labels, ``query`` scores the whole pool and returns the positions of
# the 500 photographs that are worth a label most. Peak memory is the process's own, as the
# operating system counts it.


def peak_memory():
    """Return the peak memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def query_once(images, labels, n_labeled, n_pool, n_instances):
    """Train on the first images, query the next ones; return positions in `images` and scores, best
    first."""
    everything = Photographs(images, labels)
    labeled, pool = np.arange(n_labeled), np.arange(n_labeled, n_labeled + n_pool)
    sampler = DynamicALSampler(make_net(), random_state=0)
    start = time.perf_counter()
    sampler.fit(Subset(everything, labeled))
    accuracy = sampler.score(Subset(everything, labeled), labels[labeled])
    trained, before = time.perf_counter(), peak_memory()
    positions, scores = sampler.query(
        Subset(everything, pool), n_instances=n_instances, return_scores=True
    )
    seconds, after = time.perf_counter() - trained, peak_memory()
    print(
        f"training on {n_labeled} labels: {trained - start:.1f} s, accuracy on them {accuracy:.3f}"
    )
    print(
        f"query of {n_instances} from {n_pool}: {seconds:.1f} s, {n_pool / seconds:,.0f} images a "
        "second"
    )
    print(f"peak memory: {before:.0f} MB before the query, {after:.0f} MB after it")
    return pool[positions], scores


def show(images, names, labels, picked, scores, n_shown=24):
    """Draw the most wanted photographs with their scores and with what the label will say."""
    figure, grid = plt.subplots(3, 8, figsize=(9, 4.4), layout="constrained")
    figure.suptitle(
        "The most wanted photographs: score, and the label once it is bought"
    )
    for axes in grid.flat:
        axes.axis("off")
    for axes, i, score in zip(grid.flat, picked[:n_shown], scores):
        axes.imshow(images[i])
        axes.set_title(f"{score:,.0f}\n{names[labels[i]]}", fontsize=8)
    return figure


def main(n_labeled=500, n_pool=49_500, n_instances=500):
    loaded = load_images()
    if loaded is None:
        print(
            f"No CIFAR-10 in {data_folder()}: set SKDAL_DATA to the folder with cifar10.npz and "
            "load.py."
        )
        return None
    images, labels, names = loaded
    picked, scores = query_once(images, labels, n_labeled, n_pool, n_instances)
    show(images, names, labels, picked, scores)
    return picked, scores


if __name__ == "__main__":
    main()
    plt.show()
