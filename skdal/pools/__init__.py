"""Pools as they lie on disk, of any size: image folders, Parquet files, memory maps, Ray
datasets.
"""

from skdal.pools._folder import ImageFolderPool
from skdal.pools._images import as_rgb as as_rgb
from skdal.pools._images import check_reading, square
from skdal.pools._memmap import MemmapPool
from skdal.pools._parquet import ParquetPool
from skdal.pools._pool import Pool
from skdal.pools._ray_data import RayDataPool
from skdal.pools._set_aside import NothingReadableError, SetAside, Unreadable
from skdal.pools._view import (
    PoolView,
    has_keys,
    keys_of,
    max_unreadable,
    may_be_unreadable,
    unit_of,
    view,
)

__all__ = [
    "ImageFolderPool",
    "MemmapPool",
    "NothingReadableError",
    "ParquetPool",
    "Pool",
    "PoolView",
    "RayDataPool",
    "SetAside",
    "Unreadable",
    "check_reading",
    "has_keys",
    "keys_of",
    "max_unreadable",
    "may_be_unreadable",
    "square",
    "unit_of",
    "view",
]
