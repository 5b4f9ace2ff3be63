"""Folders of images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from skdal.exceptions import InvalidDataError, UnreadableSampleError
from skdal.pools._pool import DAMAGED, Pool, stat_of

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


class ImageFolderPool(Pool):
    """All images below a folder, in the order of their paths; a key is the path within the folder.

    Links to folders are followed, though not in circles.

    Parameters
    ----------
    folder : str or Path
    size : int, optional
        Images become square, of this many pixels a side: the shorter side is scaled, the middle is
        kept. None: as they are, which then have to be of one size (or `transform` makes them so).
    transform : callable, optional
        Of the image to a tensor. It gets a PIL image (RGB) of one with 8 bits a channel, and of any
        other an array (height, width) or (height, width, channels) of the file's own values in
        their own dtype, such as uint16. None: float32 (3, height, width) in [0, 1], of 8 bits a
        channel.
    max_unreadable : float, default=0.01
        Share of the images that may be unreadable; a query sets them aside.
    exif : bool, default=False
        Whether images are turned by the orientation that cameras store, as
        `PIL.ImageOps.exif_transpose` does. Without it they are not, as in torchvision's
        `ImageFolder`. (Pillow itself always turns TIFF.)
    depth : int, optional
        Bits that values of images deeper than 8 bits use, where their files do not say so: 0 is
        black, 2**depth - 1 is white. Not beside `transform`, which gets the values as they are.

    Notes
    -----
    Without a `transform` images become 8 bits a channel. Gray values of 16 bits are divided by 257
    and rounded, and of colours the upper 8 bits are kept. With `depth`, or if the file itself says
    how large values become (TIFF of 12 bits, PGM), they are scaled by that. Values of 12 bits
    stored in 16, say, would lose levels that 8 bits can hold: without `depth` such an image counts
    as unreadable. So does one that does not say what is white: of signed integers, of integers of
    32 bits (these two with `depth` they do), of floating-point numbers.

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
        folder: str | Path,
        size: Any = None,
        transform: Any = None,
        *,
        max_unreadable: float = 0.01,
        exif: bool = False,
        depth: int | None = None,
    ) -> None:
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

    def picture(self, i: int) -> Any:
        """Return the image at a position as it is stored, with `exif` turned; deep values of a
        transform as a range.
        """
        try:
            return self._picture(self.folder / self._names[i])
        except DAMAGED as error:
            raise UnreadableSampleError(f"{self._names[i]}: {error}") from error

    def keys(self, positions: Any) -> list:
        """Return the paths within the folder, a list of str."""
        return [self._names[int(i)] for i in positions]

    def fingerprint(self) -> Any:
        """Return what tells this pool from another: names, sizes and times of change of its files,
        and settings.
        """
        digest = hashlib.blake2b(digest_size=16)
        for i in range(len(self)):
            name = self._names[i]
            digest.update(os.fsencode(f"{name}\0{stat_of(self.folder / name)}\n"))
        return type(self).__name__, digest.hexdigest(), self._reading()


def _image_names(folder, here="", above=()):
    """Yield the paths of the images within a folder, sorted name by name; `above` are the real
    paths led through.
    """
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
        blob = bytearray()
        ends = [0]
        for text in strings:
            blob += os.fsencode(text)
            ends.append(len(blob))
        self._blob = bytes(blob)
        self._ends = np.array(ends, dtype=np.int64)

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, i):
        i = range(len(self))[i]
        return os.fsdecode(self._blob[self._ends[i] : self._ends[i + 1]])
