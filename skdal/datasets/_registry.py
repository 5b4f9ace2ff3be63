"""Data sets by name: torchvision's, digits, and files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from torchvision import datasets

from skdal.datasets._files import load_folder, load_npz, stacked
from skdal.datasets._images import image_data
from skdal.datasets._imbalance import imbalanced
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.pools import square
from skdal.utils import did_you_mean

_CALTECH_SIZE = 64


def _torchvision(cls, splits, root, *, download):
    """Load both splits of a torchvision data set, which are checked by its own digests."""
    parts = []
    for split in splits:
        try:
            parts.append(cls(root, download=download, **split))
        except RuntimeError as error:
            raise InvalidDataError(
                f"{cls.__name__} is not in {Path(root).resolve()}, or is damaged. Pass "
                "download=True (--download) to fetch it there (torchvision does, and checks "
                f"it), or the folder that holds it as root. torchvision said: {error}"
            ) from error
    train, test = ((_channels_last(part), _labels(part)) for part in parts)
    names = getattr(parts[0], "classes", None) or range(int(train[1].max()) + 1)
    return image_data(train, test, names)


def _channels_last(dataset):
    images = np.asarray(dataset.data)
    if images.ndim == 3:
        return images[..., None]
    return (
        images.transpose(0, 2, 3, 1) if images.shape[1] == 3 else images
    )  # SVHN holds channels first


def _labels(dataset):
    return np.asarray(
        dataset.targets if hasattr(dataset, "targets") else dataset.labels,
        dtype=np.int64,
    )


def _caltech101(root, *, download):
    """Load Caltech101 at 64x64 pixels without its background class; a fixed fifth of each class is
    the test set.
    """
    try:
        found = datasets.Caltech101(root, download=download)
    except RuntimeError as error:
        raise InvalidDataError(
            f"Caltech101 is not in {Path(root).resolve()}. Pass download=True (--download) to "
            f"fetch it there, or the folder that holds it as root. torchvision said: {error}"
        ) from error
    kept = [
        i
        for i in range(len(found))
        if found.categories[found.y[i]] != "BACKGROUND_Google"
    ]
    pairs = [
        (square(image, _CALTECH_SIZE), label)
        for image, label in map(found.__getitem__, kept)
    ]
    images, labels = stacked(pairs, _CALTECH_SIZE)
    names, labels = np.unique(
        [found.categories[label] for label in labels], return_inverse=True
    )
    return image_data(*split_by_class(images, labels, 0.2), names)


def split_by_class(images: Any, labels: Any, share: float, seed: int = 0) -> Any:
    """Split images so that of each class the same share, rounded, becomes the test set.

    Parameters
    ----------
    images, labels : array (n, ...), int array (n,)
    share : float
    seed : int, default=0

    Returns
    -------
    (images, labels), (images, labels)
        To train on, and to test on; the order stays.
    """
    rng = np.random.default_rng(seed)
    is_test = np.zeros(len(labels), dtype=bool)
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        is_test[rng.choice(rows, round(share * len(rows)), replace=False)] = True
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def _digits(root=None, *, download=False):
    """Load scikit-learn's 1,797 digits of 8x8 pixels; 20% of each class as test."""
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    return image_data(*split_by_class(images, found.target, 0.2), range(10))


_BY_FLAG = ({"train": True}, {"train": False})
_BY_NAME = ({"split": "train"}, {"split": "test"})
DATASETS: dict[str, Any] = {
    "cifar10": partial(_torchvision, datasets.CIFAR10, _BY_FLAG),
    "cifar100": partial(_torchvision, datasets.CIFAR100, _BY_FLAG),
    "svhn": partial(_torchvision, datasets.SVHN, _BY_NAME),
    "fashion_mnist": partial(_torchvision, datasets.FashionMNIST, _BY_FLAG),
    "caltech101": _caltech101,
    "digits": _digits,
}


def load_dataset(
    name: str,
    root: str | Path = "data",
    *,
    download: bool = False,
    imbalance_ratio: float = 1,
    seed: int = 0,
    exif: bool = False,
    depth: int | None = None,
) -> Any:
    """Load a data set.

    Parameters
    ----------
    name : str
        A key of `DATASETS`, the path of an .npz file, or of a folder with ``train/CLASS/*`` and
        ``test/CLASS/*``; paths may start at `root`. "photos@32" scales the images of the folder
        photos to 32x32 pixels instead of 64x64.
    root : str or Path, default="data"
        Where torchvision's data sets are, or go.
    download : bool, default=False
        Whether to fetch what is missing; nothing is ever fetched unasked.
    imbalance_ratio : float, default=1
        See `imbalanced`.
    seed : int, default=0
        Of the images that an imbalanced form keeps.
    exif, depth
        How the images of a folder are read, see `ImageFolderPool`; for folders alone.

    Returns
    -------
    ImageData

    Raises
    ------
    InvalidParameterError
        No such name; the known ones, and the nearest, are listed. Or `exif` or `depth` is given for
        no folder.
    InvalidDataError
        The data are not there.

    Examples
    --------
    >>> from skdal.datasets import load_dataset
    >>> data = load_dataset("digits")
    >>> len(data.train), len(data.test), data.train[0][0].shape
    (1438, 359, torch.Size([1, 8, 8]))
    """
    folder, size = re.findall(r"^(.*?)(?:@(\d+))?$", str(name))[0]
    is_folder = name not in DATASETS and not str(name).endswith(".npz")
    if not is_folder and (exif or depth is not None):
        raise InvalidParameterError(
            f"exif= and depth= are for folders of images, and {name!r} is none; call load_dataset "
            "without them."
        )
    if name in DATASETS:
        data = DATASETS[name](root, download=download)
    elif str(name).endswith(".npz"):
        data = load_npz(_below(root, name))
    elif _below(root, folder).is_dir():
        data = load_folder(
            _below(root, folder), size=int(size or 64), exif=exif, depth=depth
        )
    else:
        raise InvalidParameterError(
            f"{name!r} is not a data set{did_you_mean(name, DATASETS)}: pass one of "
            f"{', '.join(DATASETS)}, the path of an .npz file, or of a folder with train and test."
        )
    return (
        data if imbalance_ratio == 1 else imbalanced(data, imbalance_ratio, seed=seed)
    )


def _below(root, path):
    """Return `path` as it starts at `root` if there is something there, else as it is."""
    found = Path(root) / path
    return found if found.exists() else Path(path)
