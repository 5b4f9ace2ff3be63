"""Image data for experiments: the paper's, digits, and your own; eight-bit until a mini-batch needs it."""

from skdal.datasets._batches import Batches
from skdal.datasets._files import load_folder, load_npz
from skdal.datasets._images import ImageData, Images
from skdal.datasets._imbalance import imbalanced
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
