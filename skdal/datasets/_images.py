"""Images in memory as a torch Dataset."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from skdal.exceptions import InvalidDataError


class Images(Dataset):
    """Images and labels; an item is (float32 tensor (channels, height, width), int).

    Parameters
    ----------
    images : array (n, height, width, channels)
        uint8, which becomes [0, 1], or floating-point numbers, which stay. Held as it is.
    labels : array-like of int (n,)
        Class labels from 0.
    mean, std : sequence of float (channels,), optional
        Subtracted from, and divided out of, each channel.
    augment : callable, optional
        Applied last, to an item's tensor: for training only.

    Raises
    ------
    InvalidDataError
        Shapes or dtypes are others.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        *,
        mean: Any = None,
        std: Any = None,
        augment: Any = None,
    ) -> None:
        labels = np.asarray(labels)
        if labels.size and labels.dtype.kind not in "iu":
            raise InvalidDataError(
                f"labels must be integers from 0; got {labels.dtype}. A LabelEncoder makes some."
            )
        self.images = images
        self.labels = labels.astype(np.int64)
        if images.ndim != 4 or len(images) != len(self.labels) or self.labels.ndim != 1:
            raise InvalidDataError(
                "images must have shape (n, height, width, channels) and labels (n,); got "
                f"{images.shape} and {self.labels.shape}."
            )
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise InvalidDataError(
                f"images must be uint8 or floating-point numbers; got {images.dtype}. Divide "
                "them by their value of white, as float32, so that no level is lost."
            )
        shape = (-1, 1, 1)
        self._mean = (
            None
            if mean is None
            else torch.tensor(mean, dtype=torch.float32).reshape(shape)
        )
        self._std = (
            None
            if std is None
            else torch.tensor(std, dtype=torch.float32).reshape(shape)
        )
        self._augment = augment
        self._rows = np.arange(len(self.labels))
        self._is_labeled = True

    @property
    def targets(self) -> Any:
        """Labels (n,) int64."""
        return self.labels[self._rows]

    def take(self, indices: Any) -> Any:
        """Return the images at `indices`, which share this one's memory."""
        part = copy.copy(self)
        part._rows = self._rows[indices]
        return part

    def augmented(self, augment: Any) -> Any:
        """Return the same images under a random transform, for training; None: as they are, for
        scoring.
        """
        other = copy.copy(self)
        other._augment = augment
        return other

    def unlabeled(self) -> Any:
        """Return the same images without their labels: an item is the image alone."""
        other = copy.copy(self)
        other._is_labeled = False
        return other

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, i):
        return self.__getitems__([i])[0]

    def __getitems__(self, indices):
        """Return several items at once, as DataLoader asks for a mini-batch."""
        x, y = self.batch(indices)
        return list(zip(x, y.tolist())) if self._is_labeled else list(x)

    def batch(self, indices: Any) -> Any:
        """Return the images (n, channels, height, width) and labels (n,) at `indices` as two
        tensors.

        The images are in torch's channels_last memory format, as they are held, which convolutions
        are fastest with.
        """
        rows = self._rows[indices]
        x = torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)
        x = (
            x.float().div_(255)
            if x.dtype == torch.uint8
            else x.to(torch.float32, copy=True)
        )
        x = x if self._mean is None else x.sub_(self._mean)
        x = x if self._std is None else x.div_(self._std)
        x = (
            x
            if self._augment is None
            else torch.stack([self._augment(image) for image in x])
        )
        return x, torch.from_numpy(self.labels[rows])


class ImageData(NamedTuple):
    """A data set.

    Attributes
    ----------
    train, test : Images
        The pool to draw from, and what is only ever measured on.
    class_names : tuple of str
    """

    train: Images
    test: Images
    class_names: tuple


def image_data(train, test, class_names, *, normalize=True):
    """Return ImageData of two pairs (images, labels), normalized by the channels of the training
    images.

    Mean and deviation are those of at most 10,000 evenly spaced training images.

    Raises
    ------
    InvalidDataError
        A part is empty or holds NaN, shapes differ, labels are not of the classes, or there is only
        one class.
    """
    _check_parts(train, test, len(class_names))
    mean, std = _channels(train[0]) if normalize else (None, None)
    return ImageData(
        *(Images(*pair, mean=mean, std=std) for pair in (train, test)),
        tuple(map(str, class_names)),
    )


def _check_parts(train, test, n_classes):
    for part, (images, labels) in (("train", train), ("test", test)):
        labels = np.asarray(labels)
        if not len(images):
            raise InvalidDataError(f"there are no {part} images.")
        if labels.dtype.kind in "iu" and (
            labels.min() < 0 or labels.max() >= n_classes or n_classes < 2
        ):
            raise InvalidDataError(
                f"{part} labels must be from 0 to {n_classes - 1}, of at least two classes; "
                f"got {labels.min()} to {labels.max()}."
            )
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            n_bad = int(
                (~np.isfinite(images).reshape(len(images), -1).all(axis=1)).sum()
            )
            raise InvalidDataError(
                f"{n_bad} of {len(images)} {part} images hold NaN or infinity; leave them out."
            )
    if train[0].shape[1:] != test[0].shape[1:]:
        raise InvalidDataError(
            f"train images have shape {train[0].shape[1:]}, and test images {test[0].shape[1:]}."
        )


def _channels(images):
    some = images[:: max(1, len(images) // 10_000)]
    values = some.reshape(-1, images.shape[-1]).astype(np.float64) / (
        255 if images.dtype == np.uint8 else 1
    )
    return values.mean(0).tolist(), np.maximum(values.std(0), 1e-6).tolist()
