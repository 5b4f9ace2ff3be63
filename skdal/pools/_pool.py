"""The base of the pools on disk. They are opened where they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    UnreadableSampleError,
)
from skdal.pools._images import check_reading, read_rgb, read_stored
from skdal.pools._picture import as_picture
from skdal.utils import describe, is_number

# What Pillow and numpy raise for a sample that is damaged.
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)


class Pool(Dataset):
    """Base of the pools on disk: a torch Dataset of samples without labels, each with a key.

    Parameters
    ----------
    transform : callable, optional
        What a stored sample becomes: of an image (PIL, RGB; deeper ones as an array) or an array a
        tensor. Not random.
    max_unreadable : float, default=0.01
        Share of the samples that may be unreadable. A query sets them aside, counts them and lists
        them in `unreadable_`; where there are more, it ends.
    size, exif, depth
        How images are read, in pools that hold some; see `ImageFolderPool`.
    """

    def __init__(
        self,
        transform: Any = None,
        *,
        max_unreadable: float = 0.01,
        size: Any = None,
        exif: bool = False,
        depth: int | None = None,
    ) -> None:
        if transform is not None and not callable(transform):
            raise InvalidParameterError(
                f"transform must be None or callable; got {transform!r}."
            )
        if not (is_number(max_unreadable) and 0 <= max_unreadable <= 1):
            raise InvalidParameterError(
                f"max_unreadable must be a number from 0 to 1; got {max_unreadable!r}."
            )
        self.transform = transform
        check_reading(size, exif, depth)
        if depth is not None and transform is not None:
            raise InvalidParameterError(
                f"depth={depth} is for images that become 8 bits, and transform gets their "
                "values as they are; pass one of the two."
            )
        self.max_unreadable = max_unreadable
        self.size = size
        self.exif = exif
        self.depth = depth
        self._first = None  # position and shape of the first sample that was read

    def keys(self, positions: Any) -> list:
        """Return the keys at some positions, a list."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def positions(self, keys: Any) -> np.ndarray:
        """Return the positions of some keys (m,), which are compared as text, as files of labels
        have them.

        Raises
        ------
        InvalidDataError
            The pool does not have them all, or has one twice.
        """
        keys = [str(key) for key in keys]
        known: dict[str, list[int]] = {}
        wanted = set(keys)
        for start in range(0, len(self), 2**16):
            some = range(start, min(len(self), start + 2**16))
            for i, key in zip(some, self.keys(some)):
                if str(key) in wanted:
                    known.setdefault(str(key), []).append(i)
        missing = [key for key in keys if key not in known]
        twice = [key for key, found in known.items() if len(found) > 1]
        if missing or twice:
            raise InvalidDataError(
                f"{len(missing)} of {len(keys)} keys are not in the pool, such as "
                f"{missing[:3]}, and {len(twice)} are there more than once, such as "
                f"{twice[:3]}. Its keys look like {self.keys(range(min(3, len(self))))}."
            )
        return np.array([known[key][0] for key in keys], dtype=np.intp)

    def fingerprint(self) -> Any:
        """Return what tells this pool from another: names, sizes and times of change of its files,
        and settings.
        """
        raise NotImplementedError

    def picture(self, i: int) -> Any:
        """Return the sample at a position as it is stored, as a PIL image; None where it is
        none.
        """
        raise NotImplementedError

    def _image(self, source):
        """Return an image from a file or bytes, transformed."""
        if self.transform is None:
            image = np.asarray(
                read_rgb(source, size=self.size, exif=self.exif, depth=self.depth)
            )
            return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)
        stored = read_stored(source, size=self.size, exif=self.exif)
        return (
            self._transformed_values(stored)
            if isinstance(stored, np.ndarray)
            else self.transform(stored)
        )

    def _transformed_values(self, values):
        """Return what the transform makes of the values of an image deeper than 8 bits.

        Raises
        ------
        UnreadableSampleError
            It was written for images of PIL alone.
        """
        try:
            return self.transform(values)
        except (TypeError, AttributeError) as error:
            raise UnreadableSampleError(
                "transform fails on the values of an image that is deeper than 8 bits, an "
                f"array {values.shape} of {values.dtype} ({type(error).__name__}: {error}). "
                "Let it take arrays as well, as those of torchvision.transforms.v2 do behind "
                "ToImage(); or leave transform out."
            ) from error

    def _picture(self, source):
        """Return an image from a file or bytes as people are to see it, turned as the net gets
        it.
        """
        if self.transform is None:
            return read_rgb(source, exif=self.exif, depth=self.depth)
        stored = read_stored(source, exif=self.exif)
        return as_picture(stored) if isinstance(stored, np.ndarray) else stored

    def _reading(self):
        """Return what tells one way of reading images from another."""
        return self.size, self.exif, self.depth, describe(self.transform)

    def _of_one_shape(self, i, sample):
        """Return the sample at a position, which has to be of the shape of others unless a
        transform made it.

        Raises
        ------
        InvalidDataError
            Its shape is not that of the first sample that was read.
        """
        if self.transform is not None:
            return sample
        self._first = first, shape = self._first or (i, tuple(sample.shape))
        if tuple(sample.shape) != shape:
            keys = self.keys([first, i])
            raise InvalidDataError(
                f"samples must be of one shape; {keys[0]} has {shape} and {keys[1]} "
                f"{tuple(sample.shape)}. Make images alike with size= (--size), or samples of "
                "any kind with transform= (--transform)."
            )
        return sample


def stat_of(file):
    """Return size and time of change of a file, None of one that is not there, which is unreadable
    and not fatal.
    """
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
