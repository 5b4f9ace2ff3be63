"""People's own data: an .npz file, or folders of images."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import ImageFolder

from skdal.datasets._images import image_data
from skdal.exceptions import InvalidDataError
from skdal.pools import check_reading, square

_PARTS = ("X_train", "y_train", "X_test", "y_test")


def load_npz(path: Any, *, normalize: bool = True) -> Any:
    """Load an .npz file of `X_train`, `y_train`, `X_test`, `y_test`, and optionally `class_names`.

    Images are (n, height, width) or (n, height, width, channels), uint8 or floating-point numbers;
    labels are integers from 0.

    Returns
    -------
    ImageData

    Raises
    ------
    InvalidDataError
        The file does not exist, lacks one of these, or holds channels before height and width.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidDataError(
            f"there is no file {path}; an .npz with {', '.join(_PARTS)} is expected."
        )
    with _opened(path) as archive:
        missing = [name for name in _PARTS if name not in archive]
        if missing:
            raise InvalidDataError(
                f"{path} lacks {', '.join(missing)}; it holds {', '.join(archive.files)}."
            )
        parts = {name: archive[name] for name in _PARTS}
        for name in ("y_train", "y_test"):
            if parts[name].dtype.kind not in "iu" or not parts[name].size:
                raise InvalidDataError(
                    f"{name} of {path} must be integers from 0, at least one; got "
                    f"{parts[name].size} of type {parts[name].dtype}. A LabelEncoder makes "
                    "some of names."
                )
        n_classes = max(int(parts[name].max()) for name in ("y_train", "y_test")) + 1
        names = archive["class_names"] if "class_names" in archive else range(n_classes)
        train, test = (
            (_with_channels(parts, f"X_{part}"), parts[f"y_{part}"].ravel())
            for part in ("train", "test")
        )
        return image_data(train, test, names, normalize=normalize)


def load_folder(
    path: Any,
    *,
    size: Any = 64,
    normalize: bool = True,
    exif: bool = False,
    depth: int | None = None,
) -> Any:
    """Load folders `train/CLASS/*` and `test/CLASS/*` of images (the layout of torchvision's
    ImageFolder).

    Parameters
    ----------
    path : str or Path
        With the folders train and test.
    size : int, default=64
        Images become square, of this many pixels a side: the shorter side is scaled, the middle is
        kept.
    normalize : bool, default=True
    exif, depth
        How images are read, see `ImageFolderPool`.

    Returns
    -------
    ImageData

    Raises
    ------
    InvalidDataError
        There are no such folders, classes or images, or an image is not understood.
    """
    check_reading(size, exif, depth)
    folders = {part: Path(path) / part for part in ("train", "test")}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    if missing:
        raise InvalidDataError(
            f"there is no folder {' and no folder '.join(missing)}; CLASS/*.png in both are "
            "expected."
        )
    read = partial(_square, size=size, exif=exif, depth=depth)
    try:
        found = {
            part: ImageFolder(folder, loader=read) for part, folder in folders.items()
        }
    except FileNotFoundError as error:  # a class without images
        raise InvalidDataError(f"{path}: {error}") from error
    if found["train"].classes != found["test"].classes:
        raise InvalidDataError(
            f"the classes of train and test differ: {found['train'].classes} and "
            f"{found['test'].classes}."
        )
    train, test = (stacked(found[part], size) for part in ("train", "test"))
    return image_data(train, test, found["train"].classes, normalize=normalize)


def _square(file, **how):
    """Return an image as `square` does; what is not understood is named."""
    try:
        return square(file, **how)
    except InvalidDataError as error:
        raise InvalidDataError(f"{file}: {error}") from error


def stacked(dataset, size):
    """Return (images (n, size, size, 3) uint8, labels) of a Dataset of such pairs."""
    images = np.empty((len(dataset), size, size, 3), dtype=np.uint8)
    labels = np.empty(len(dataset), dtype=np.int64)
    for i in range(len(dataset)):
        images[i], labels[i] = dataset[i]
    return images, labels


@contextmanager
def _opened(path):
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except (ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidDataError):
            raise
        raise InvalidDataError(
            f"{path} cannot be read as an .npz file of plain arrays: {error}"
        ) from error


def _with_channels(parts, name):
    images = parts[name]
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise InvalidDataError(
            f"{name} has shape {images.shape}, which looks like channels first; images are (n, "
            f"height, width, channels) here. Store {name}.transpose(0, 2, 3, 1)."
        )
    return images[..., None] if images.ndim == 3 else images
