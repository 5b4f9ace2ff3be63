"""Data: for experiments the paper's, digits and your own; pools on disk, of any size."""

from skdal.datasets._batches import Batches
from skdal.datasets._files import load_folder, load_npz
from skdal.datasets._images import ImageData, Images
from skdal.datasets._imbalance import imbalanced
from skdal.datasets._pools import ImageFolderPool, MemmapPool, Pool
from skdal.datasets._readable import (
    NothingReadableError,
    SetAside,
    Unreadable,
    has_keys,
    keys_of,
    max_unreadable,
    may_be_unreadable,
    unit_of,
)
from skdal.datasets._registry import DATASETS, load_dataset, split_by_class
from skdal.datasets._tables import ParquetPool, RayDataPool

__all__ = [
    "DATASETS",
    "Batches",
    "ImageData",
    "ImageFolderPool",
    "Images",
    "MemmapPool",
    "NothingReadableError",
    "ParquetPool",
    "Pool",
    "RayDataPool",
    "SetAside",
    "Unreadable",
    "has_keys",
    "imbalanced",
    "keys_of",
    "load_dataset",
    "load_folder",
    "load_npz",
    "max_unreadable",
    "may_be_unreadable",
    "unit_of",
    "split_by_class",
]
