"""Pack a folder of repacked image data into .npz files that `skdal run --dataset` takes.

`python benchmarks/pack_images.py OUT` reads the folder that SKDAL_DATA names, by default
../shared/data (JPEG-compressed CIFAR-10, and Caltech101 cropped to 64x64, with a `load.py`), and
writes

- OUT/cifar10-jpeg.npz: CIFAR-10's own split. Its pixels were compressed as JPEG and differ a little
  from the originals.
- OUT/cifar10-jpeg-16.npz: the same, averaged down to 16x16, as the infinite kernels of `skdal
  theory` see them.
- OUT/caltech101-64.npz: both splits of the folder joined, and a fifth of each class drawn anew as
  the test set.
- OUT/caltech101-32.npz: the same, averaged down to 32x32, for nets that take no other size.
"""

import argparse
import os
import runpy
from pathlib import Path

import numpy as np

from skdal.datasets import split_by_class

ROOT = Path(__file__).resolve().parents[1]


def main():
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(os.environ.get("SKDAL_DATA", ROOT.parent / "shared" / "data"))
    load = runpy.run_path(str(folder / "load.py"))["load"]
    parts = {
        name: [load(name, split) for split in ("train", "test")]
        for name in ("cifar10", "caltech101")
    }
    save(
        out / "cifar10-jpeg.npz",
        *(part[:2] for part in parts["cifar10"]),
        parts["cifar10"][0][2],
    )
    save(
        out / "cifar10-jpeg-16.npz",
        *((halved(x), y) for x, y, _ in parts["cifar10"]),
        parts["cifar10"][0][2],
    )
    images, labels = (
        np.concatenate([part[i] for part in parts["caltech101"]]) for i in (0, 1)
    )
    split = split_by_class(images, labels, 0.2)
    save(out / "caltech101-64.npz", *split, parts["caltech101"][0][2])
    save(
        out / "caltech101-32.npz",
        *((halved(x), y) for x, y in split),
        parts["caltech101"][0][2],
    )


def halved(images):
    """Return images (n, h, w, c) of half the sides, averaged."""
    n, height, width, n_channels = images.shape
    parts = images.reshape(n, height // 2, 2, width // 2, 2, n_channels)
    return parts.mean((2, 4), dtype=np.float32).round().astype(np.uint8)


def save(path, train, test, class_names):
    """Write an .npz file as `load_npz` reads it."""
    arrays = {
        "X_train": train[0],
        "y_train": train[1],
        "X_test": test[0],
        "y_test": test[1],
    }
    np.savez(path, **arrays, class_names=np.array(class_names))
    print(f"{path}: {len(train[1])} images to train on, {len(test[1])} to test on")


if __name__ == "__main__":
    main()
