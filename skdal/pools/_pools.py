"""Pools on disk: folders of images and memory-mapped arrays. They are opened where they are read."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    UnreadableSampleError,
)
from skdal.pools._pixels import check_reading, read_rgb, read_stored
from skdal.utils import describe, is_number

_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
)
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
        What a stored sample becomes: of an image (PIL, RGB; deeper ones as an array) or an array a tensor. Not random.
    max_unreadable : float, default=0.01
        Share of the samples that may be unreadable. A query sets them aside, counts them and lists them
        in `unreadable_`; where there are more, it ends.
    size, exif, depth
        How images are read, in pools that hold some; see `ImageFolderPool`.
    """

    def __init__(
        self, transform=None, *, max_unreadable=0.01, size=None, exif=False, depth=None
    ):
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
                f"depth={depth} is for images that become 8 bits, and transform gets their values as they are; pass "
                "one of the two."
            )
        self.max_unreadable = max_unreadable
        self.size = size
        self.exif = exif
        self.depth = depth
        self._first = None  # position and shape of the first sample that was read

    def keys(self, positions):
        """Return the keys at some positions, a list."""
        raise NotImplementedError

    def positions(self, keys):
        """Return the positions of some keys (m,), which are compared as text, as files of labels have them.

        Raises
        ------
        InvalidDataError
            The pool does not have them all, or has one twice.
        """
        keys = [str(key) for key in keys]
        known, wanted = {}, set(keys)
        for start in range(0, len(self), 2**16):
            some = range(start, min(len(self), start + 2**16))
            for i, key in zip(some, self.keys(some)):
                if str(key) in wanted:
                    known.setdefault(str(key), []).append(i)
        missing = [key for key in keys if key not in known]
        twice = [key for key, found in known.items() if len(found) > 1]
        if missing or twice:
            raise InvalidDataError(
                f"{len(missing)} of {len(keys)} keys are not in the pool, such as {missing[:3]}, and {len(twice)} are "
                f"there more than once, such as {twice[:3]}. Its keys look like {self.keys(range(min(3, len(self))))}."
            )
        return np.array([known[key][0] for key in keys], dtype=np.intp)

    def fingerprint(self):
        """Return what tells this pool from another: names, sizes and times of change of its files, and settings."""
        raise NotImplementedError

    def picture(self, i):
        """Return the sample at a position as it is stored, as a PIL image; None where it is none."""
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
                f"transform fails on the values of an image that is deeper than 8 bits, an array {values.shape} of "
                f"{values.dtype} ({type(error).__name__}: {error}). Let it take arrays as well, as those of "
                "torchvision.transforms.v2 do behind ToImage(); or leave transform out."
            ) from error

    def _picture(self, source):
        """Return an image from a file or bytes as people are to see it, turned as the net gets it."""
        if self.transform is None:
            return read_rgb(source, exif=self.exif, depth=self.depth)
        stored = read_stored(source, exif=self.exif)
        return as_picture(stored) if isinstance(stored, np.ndarray) else stored

    def _reading(self):
        """Return what tells one way of reading images from another."""
        return self.size, self.exif, self.depth, describe(self.transform)

    def _of_one_shape(self, i, sample):
        """Return the sample at a position, which has to be of the shape of others unless a transform made it.

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
                f"samples must be of one shape; {keys[0]} has {shape} and {keys[1]} {tuple(sample.shape)}. Make images "
                "alike with size= (--size), or samples of any kind with transform= (--transform)."
            )
        return sample


class ImageFolderPool(Pool):
    """All images below a folder, in the order of their paths; a key is the path within the folder.

    Links to folders are followed, though not in circles.

    Parameters
    ----------
    folder : str or Path
    size : int, optional
        Images become square, of this many pixels a side: the shorter side is scaled, the middle is kept.
        None: as they are, which then have to be of one size (or `transform` makes them so).
    transform : callable, optional
        Of the image to a tensor. It gets a PIL image (RGB) of one with 8 bits a channel, and of any other an array
        (height, width) or (height, width, channels) of the file's own values in their own dtype, such as uint16.
        None: float32 (3, height, width) in [0, 1], of 8 bits a channel.
    max_unreadable : float, default=0.01
        Share of the images that may be unreadable; a query sets them aside.
    exif : bool, default=False
        Whether images are turned by the orientation that cameras store, as `PIL.ImageOps.exif_transpose` does. Without
        it they are not, as in torchvision's `ImageFolder`. (Pillow itself always turns TIFF.)
    depth : int, optional
        Bits that values of images deeper than 8 bits use, where their files do not say so: 0 is black, 2**depth - 1 is
        white. Not beside `transform`, which gets the values as they are.

    Notes
    -----
    Without a `transform` images become 8 bits a channel. Gray values of 16 bits are divided by 257 and rounded, and of
    colours the upper 8 bits are kept. With `depth`, or if the file itself says how large values become (TIFF of 12
    bits, PGM), they are scaled by that. Values of 12 bits stored in 16, say, would lose levels that 8 bits can hold:
    without `depth` such an image counts as unreadable. So does one that does not say what is white: of signed integers,
    of integers of 32 bits (these two with `depth` they do), of floating-point numbers.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from skdal.pools import ImageFolderPool
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.png"):
    ...         Image.new("RGB", (6, 4)).save(f"{folder}/{name}")
    ...     pool = ImageFolderPool(folder, size=4)
    ...     pool.keys([0, 1]), tuple(pool[0].shape)
    (['a.png', 'b.png'], (3, 4, 4))
    """

    unit = "images"

    def __init__(
        self,
        folder,
        size=None,
        transform=None,
        *,
        max_unreadable=0.01,
        exif=False,
        depth=None,
    ):
        super().__init__(
            transform, max_unreadable=max_unreadable, size=size, exif=exif, depth=depth
        )
        self.folder = Path(folder).absolute()  # workers are elsewhere
        if not self.folder.is_dir():
            raise InvalidDataError(
                f"there is no folder {folder}; a folder with images in it is expected."
            )
        self._names = _Strings(_image_names(self.folder))
        if not len(self._names):
            raise InvalidDataError(
                f"{folder} holds no images ({', '.join(_ENDINGS)}), at any depth."
            )

    def __len__(self):
        return len(self._names)

    def __getitem__(self, i):
        name = self._names[i]
        try:
            image = self._image(self.folder / name)
        except DAMAGED as error:
            raise UnreadableSampleError(f"{name}: {error}") from error
        return self._of_one_shape(i, image)

    def picture(self, i):
        """Return the image at a position as it is stored, with `exif` turned; deep values of a transform as a range."""
        try:
            return self._picture(self.folder / self._names[i])
        except DAMAGED as error:
            raise UnreadableSampleError(f"{self._names[i]}: {error}") from error

    def keys(self, positions):
        """Return the paths within the folder, a list of str."""
        return [self._names[int(i)] for i in positions]

    def fingerprint(self):
        """Return what tells this pool from another: names, sizes and times of change of its files, and settings."""
        digest = hashlib.blake2b(digest_size=16)
        for i in range(len(self)):
            name = self._names[i]
            digest.update(os.fsencode(f"{name}\0{stat_of(self.folder / name)}\n"))
        return type(self).__name__, digest.hexdigest(), self._reading()


def _image_names(folder, here="", above=()):
    """Yield the paths of the images within a folder, sorted name by name; `above` are the real paths led through."""
    real = os.path.realpath(folder / here)
    if real in above:  # a link back
        return
    for entry in sorted(os.scandir(folder / here), key=lambda entry: entry.name):
        if _is_folder(entry):
            yield from _image_names(folder, f"{here}{entry.name}/", (*above, real))
        elif entry.name.lower().endswith(_ENDINGS):
            yield f"{here}{entry.name}"


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class _Strings:
    """Many short strings in two arrays: a list of them would take several times the memory."""

    def __init__(self, strings):
        blob, ends = bytearray(), [0]
        for text in strings:
            blob += os.fsencode(text)
            ends.append(len(blob))
        self._blob, self._ends = bytes(blob), np.array(ends, dtype=np.int64)

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, i):
        i = range(len(self))[i]
        return os.fsdecode(self._blob[self._ends[i] : self._ends[i + 1]])


class MemmapPool(Pool):
    """The rows of an array in a .npy file, which is never loaded whole; a key is a row's number, or of `keys`.

    Parameters
    ----------
    file : str or Path
        As `numpy.save` or `numpy.lib.format.open_memmap` writes it: numbers or booleans, of any byte order.
    keys : sequence, optional
        One a row.
    transform : callable, optional
        Of a row (an array) to a tensor; None: a tensor of its values, integers as float32.
    max_unreadable : float, default=0.01
        As in `ImageFolderPool`; rows of a memory map are always readable.
    """

    def __init__(self, file, keys=None, transform=None, *, max_unreadable=0.01):
        super().__init__(transform, max_unreadable=max_unreadable)
        self.file, self._keys, self._rows = Path(file).absolute(), keys, None
        _check_numbers(file, self.rows)
        n_rows = len(self)
        if keys is not None and len(keys) != n_rows:
            raise InvalidDataError(
                f"{file} has {n_rows} rows, and there are {len(keys)} keys."
            )

    @property
    def rows(self):
        """The array, memory-mapped."""
        if self._rows is None:
            try:
                self._rows = np.lib.format.open_memmap(self.file, mode="r")
            except (OSError, ValueError, EOFError) as error:
                raise InvalidDataError(
                    f"{self.file} cannot be memory-mapped ({error}); a .npy file as numpy.save writes it is expected."
                ) from error
        return self._rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = np.array(self.rows[i], dtype=self.rows.dtype.newbyteorder("="))
        if self.transform is not None:
            return self.transform(row)
        return torch.from_numpy(
            row if row.dtype.kind == "f" else row.astype(np.float32)
        )

    def picture(self, i):
        """Return the row at a position as an image; None where its shape is that of none."""
        return as_picture(np.asarray(self.rows[i], dtype=np.float32))

    def keys(self, positions):
        """Return the keys at some positions, a list."""
        return [int(i) if self._keys is None else self._keys[int(i)] for i in positions]

    def fingerprint(self):
        """Return what tells this pool from another: size and time of change of its file, and settings."""
        return type(self).__name__, stat_of(self.file), describe(self.transform)

    def __getstate__(self):
        return {**vars(self), "_rows": None}


def _check_numbers(file, rows):
    if not rows.size or not rows.ndim:
        raise InvalidDataError(
            f"{file} has shape {rows.shape}; an array with a row a sample is expected."
        )
    if rows.dtype.kind not in "biuf" or rows.dtype.itemsize > 8:
        raise InvalidDataError(
            f"{file} is of type {rows.dtype}; booleans, integers or floating-point numbers of at most 64 bits are "
            "expected, so store it as such, complex numbers as two channels, say."
        )


def as_picture(array):
    """Return an array (height, width), channels first or last, as an image; None for other shapes.

    The lowest value is black and the highest white; NaN and infinity are black.
    """
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] != 3:
        return None
    array = array.astype(np.float64)
    is_finite = np.isfinite(array)
    low = array.min(where=is_finite, initial=np.inf)
    high = array.max(where=is_finite, initial=-np.inf)
    array = np.where(is_finite, array, low)
    return Image.fromarray(
        ((array - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    ).convert("RGB")


def stat_of(file):
    """Return size and time of change of a file, None of one that is not there, which is unreadable and not fatal."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
