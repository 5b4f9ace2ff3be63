"""What the benchmarks share: nets, a pool of images, and where results go."""

import json
import os
import platform
import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchvision
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import Dataset

MB = 2**20
RESULTS = Path(__file__).resolve().parent / "results"


class CNN(nn.Sequential):
    """The small CNN of the paper, for images of 32x32 pixels."""

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
        return torch.from_numpy(self.images[i]).permute(2, 0, 1).float().div_(255), int(
            self.labels[i]
        )


def make_net(module, device="cpu"):
    """Return an initialized, untrained net around a module, or around the one of that name."""
    torch.manual_seed(0)
    module = MODULES[module]() if isinstance(module, str) else module
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "train_split": None,
        "verbose": 0,
        "device": device,
    }
    return NeuralNetClassifier(module, **settings).initialize()


class Peak:
    """Watches how much memory a block needs beyond what is in use before it.

    Attributes
    ----------
    growth : int
        Bytes: of the process, looked at every few milliseconds, or of what is allocated on a CUDA
        device.
    """

    def __init__(self, device="cpu"):
        self._on_cuda = device == "cuda"

    def __enter__(self):
        if self._on_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        self._before = self._highest = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.003):
            self._highest = max(self._highest, resident())

    def __exit__(self, *error):
        if self._on_cuda:
            torch.cuda.synchronize()
            self.growth = torch.cuda.max_memory_allocated() - self._before
            return
        self._done.set()
        self._thread.join()
        self.growth = max(self._highest, resident()) - self._before


def resident():
    """Return the memory of this process, in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def write_results(name, rows):
    """Write rows (list of dict), with versions and machine, to results/<name>.json; return its
    path.
    """
    packages = ("skdal", "torch", "torchvision", "skorch", "scikit-learn", "numpy")
    record = {
        "rows": rows,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
        "machine": _machine(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
    }
    RESULTS.mkdir(exist_ok=True)
    path, unfinished = RESULTS / f"{name}.json", RESULTS / f".{name}.json"
    unfinished.write_text(json.dumps(record, indent=2) + "\n")
    unfinished.replace(path)
    return path


def read_rows(name):
    """Return the rows of results/<name>.json, none if there is no such record."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def print_table(rows):
    """Print rows (list of dict) as a table."""
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))


def _machine():
    """Return the processor's name, and that of the CUDA device if there is one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [
        line.partition(": ")[2] for line in lines if line.startswith("model name")
    ][:1] or [platform.machine()]
    return ", ".join(
        names + ([torch.cuda.get_device_name()] if torch.cuda.is_available() else [])
    )


def _cell(value):
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value}"


def _version(package):
    if package == "skdal":  # may run from a clone that is not installed
        import skdal

        return skdal.__version__
    return version(package)
