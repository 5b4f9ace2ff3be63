"""Pools as they lie on disk, of any size: image folders, Parquet files, memory maps, Ray datasets."""

from skdal.pools._pixels import check_reading, square
from skdal.pools._pools import ImageFolderPool, MemmapPool, Pool
from skdal.pools._readable import (
    NothingReadableError,
    SetAside,
    Unreadable,
    has_keys,
    keys_of,
    max_unreadable,
    may_be_unreadable,
    unit_of,
)
from skdal.pools._tables import ParquetPool, RayDataPool

__all__ = [
    "ImageFolderPool",
    "MemmapPool",
    "NothingReadableError",
    "ParquetPool",
    "Pool",
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
]
