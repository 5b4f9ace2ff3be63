"""What the benchmarks share: nets, a pool of images, and where results go."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchvision
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import Dataset

RESULTS = Path(__file__).resolve().parent / "results"


class CNN(nn.Sequential):
    """The small CNN of the paper, for images of 32x32 pixels."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )


MODULES = {
    "cnn": CNN,
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "vgg11": lambda: torchvision.models.vgg11(num_classes=10),
}


class Images(Dataset):
    """Random images held as uint8; a sample becomes float32 (3, 32, 32) when it is read."""

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        self.labels = rng.integers(0, 10, n)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]).permute(2, 0, 1).float().div_(255), int(self.labels[i])


def make_net(name):
    """Return an initialized, untrained net."""
    torch.manual_seed(0)
    return NeuralNetClassifier(MODULES[name](), criterion=nn.CrossEntropyLoss, train_split=None, verbose=0).initialize()


def write_results(name, rows):
    """Write rows (list of dict), with versions and machine, to results/<name>.json; return its path."""
    packages = ("skdal", "torch", "torchvision", "skorch", "scikit-learn", "numpy")
    record = {
        "rows": rows,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
    }
    RESULTS.mkdir(exist_ok=True)
    path, unfinished = RESULTS / f"{name}.json", RESULTS / f".{name}.json"
    unfinished.write_text(json.dumps(record, indent=2) + "\n")
    unfinished.replace(path)
    return path


def print_table(rows):
    """Print rows (list of dict) as a table."""
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))


def _cell(value):
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value}"


def _version(package):
    if package == "skdal":  # may run from a clone that is not installed
        import skdal

        return skdal.__version__
    return version(package)
