"""The pool of a path, and its parts with labels and without."""

import re
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset, Subset

from skdal.cli.score._named_object import named_function
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.pools import ImageFolderPool, MemmapPool, ParquetPool


def open_pool(
    path,
    *,
    column=None,
    key=None,
    size=None,
    max_unreadable=0.01,
    transform=None,
    exif=False,
    depth=None,
):
    """Return the pool of a folder of images, a folder or file of Parquet, or a .npy file.

    Raises
    ------
    InvalidDataError
        There is none.
    InvalidParameterError
        An argument does not apply to such a pool.
    """
    path = Path(path)
    how = {
        "max_unreadable": max_unreadable,
        "transform": named_function(transform, "--transform") if transform else None,
    }
    if not path.exists():
        raise InvalidDataError(
            f"there is nothing at {path}; a folder of images, Parquet or a .npy file is expected."
        )
    if path.suffix == ".npy":
        _refuse_given(
            "a .npy file",
            column=column,
            key=key,
            size=size,
            exif=exif or None,
            depth=depth,
        )
        return MemmapPool(path, **how)
    how |= {"size": size, "exif": exif, "depth": depth}
    if path.suffix == ".parquet" or path.is_dir() and any(path.rglob("*.parquet")):
        return ParquetPool(path, column or "image", key, **how)
    _refuse_given("a folder of images", column=column, key=key)
    return ImageFolderPool(path, **how)


def _refuse_given(kind, **arguments):
    if given := [f"--{name}" for name, value in arguments.items() if value is not None]:
        raise InvalidParameterError(
            f"{kind} takes no {', no '.join(given)}; run it without."
        )


def labeled_positions(pool, keys, file):
    """Return the positions (m,) of keys in a pool, where errors name the file that they are
    from.
    """
    try:
        return pool.positions(keys)
    except InvalidDataError as error:
        remedy = ""
        if any(re.search("[\ud800-\udfff]", key) for key in keys):
            remedy = (
                " Some keys are not UTF-8, as names of files may be; if theirs are, save the "
                "file as UTF-8."
            )
        raise InvalidDataError(f"{file}: {error}{remedy}") from error


def unlabeled(pool, positions):
    """Return the pool without some positions, as a Subset whose indices are an array: a list is
    large on its way.
    """
    return Subset(pool, np.setdiff1d(np.arange(len(pool)), positions))


class Labeled(Dataset):
    """Samples of a pool with their labels."""

    def __init__(self, pool, positions, labels):
        self.pool = pool
        self.positions = positions
        self.labels = labels

    def __len__(self):
        return len(self.positions)

    def __getitem__(self, i):
        return self.pool[int(self.positions[i])], int(self.labels[i])
