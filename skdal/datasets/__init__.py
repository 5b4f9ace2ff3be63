"""Data for experiments: the paper's, digits and your own."""

import importlib
import warnings

from skdal.datasets._batches import Batches
from skdal.datasets._files import load_folder, load_npz
from skdal.datasets._images import ImageData, Images
from skdal.datasets._imbalance import imbalanced
from skdal.datasets._imbalance import profile as profile
from skdal.datasets._registry import DATASETS, load_dataset, split_by_class

__all__ = [
    "DATASETS",
    "Batches",
    "ImageData",
    "Images",
    "imbalanced",
    "load_dataset",
    "load_folder",
    "load_npz",
    "split_by_class",
]

# Names that were here up to 0.1; they go in 0.3.
_MOVED = {
    "ImageFolderPool",
    "MemmapPool",
    "NothingReadableError",
    "ParquetPool",
    "Pool",
    "RayDataPool",
    "SetAside",
    "Unreadable",
    "has_keys",
    "keys_of",
    "max_unreadable",
    "may_be_unreadable",
    "unit_of",
}


def __getattr__(name):
    if name not in _MOVED:
        raise AttributeError(f"module 'skdal.datasets' has no attribute {name!r}")
    warnings.warn(
        f"skdal.datasets.{name} is now skdal.pools.{name}; the old name goes in release 0.3.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(importlib.import_module("skdal.pools"), name)
