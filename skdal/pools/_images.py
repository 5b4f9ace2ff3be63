"""Images of any depth as 8 bits a channel, and as they are stored."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.pools._deep_values import FULL, cut_kind, deep_values, refuse_upper_bits
from skdal.pools._geometry import (
    scaled_sides,
    square_values,
    turned_image,
    turned_values,
)
from skdal.utils import is_boolean, is_positive_integer

_USUAL = 2**14  # cameras and microscopes that store values in 16 bits give 10, 12 or 14
_WORDS = {
    "int8": "signed integers of 8 bits",
    "int16": "signed integers of 16 bits",
    "int32": "signed integers of 32 bits",
    "uint32": "integers of 32 bits",
    "float32": "floating-point numbers of 32 bits",
}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the first bytes
_RAW = "A transform= of a pool (skdal score --transform) gets the values as they are, as an array."


def check_reading(size: Any, exif: bool, depth: int | None) -> None:
    """Raise InvalidParameterError unless `size` is a length, `exif` a boolean, `depth` a number of
    bits.
    """
    if size is not None and not is_positive_integer(size):
        raise InvalidParameterError(
            f"size must be None or an integer of at least 1, in pixels; got {size!r}."
        )
    if not is_boolean(exif):
        raise InvalidParameterError(f"exif must be True or False; got {exif!r}.")
    if depth is not None and not (is_positive_integer(depth) and depth <= 32):
        raise InvalidParameterError(
            "depth must be None or an integer from 1 to 32, the bits that values of deep images "
            f"use; got {depth!r}."
        )


def read_rgb(source, *, size=None, exif=False, depth=None):
    """Return an image (PIL, RGB) with 8 bits a channel.

    Parameters
    ----------
    source : file or PIL image
    size : int, optional
        The image becomes square, of this many pixels a side: the shorter side is scaled, the middle
        is kept.
    exif : bool, default=False
        Whether to turn it by its EXIF orientation.
    depth : int, optional
        See `as_rgb`, which raises.
    """
    with _opened(source) as image:
        rgb = as_rgb(image, depth=depth)
        rgb = turned_image(rgb, image) if exif else rgb
    if size is None:
        return rgb
    sides, (left, top) = scaled_sides(rgb.size, size)
    return rgb.resize(sides, Image.Resampling.BILINEAR).crop(
        (left, top, left + size, top + size)
    )


def read_stored(source, *, size=None, exif=False):
    """Return an image as its file holds it: with 8 bits a channel as a PIL image (RGB), else its
    values as an array.

    Parameters
    ----------
    source, size, exif
        As in `read_rgb`.

    Returns
    -------
    PIL image, or array (height, width) or (height, width, channels)
        In the array's own dtype, even if it is scaled to a size.

    Raises
    ------
    InvalidDataError
        It has more than 8 bits a channel, and Pillow gives no more than 8.
    """
    with _opened(source) as image:
        refuse_upper_bits(image)
        deep = deep_values(image)
        if deep is None:
            return read_rgb(image, size=size, exif=exif)
        values = turned_values(deep.values, image) if exif else deep.values
    return np.array(values) if size is None else square_values(values, size)


def square(
    image: Any, size: Any, *, exif: bool = False, depth: int | None = None
) -> Any:
    """Return an image (a file or PIL's) as uint8 (size, size, 3): shorter side scaled, middle
    kept.
    """
    return np.asarray(read_rgb(image, size=size, exif=exif, depth=depth))


def as_rgb(image, *, depth=None):
    """Return an image of PIL with 8 bits a channel.

    What has 8 bits is what Pillow makes RGB of. Gray values of 16 bits are divided by 257, and of
    colours the upper 8 bits are kept, as Pillow does. If the file says itself what is white (a TIFF
    of 12 bits, a PGM), or `depth` does, values are scaled by that.

    Parameters
    ----------
    image : PIL image
    depth : int, optional
        Bits that values of an image deeper than 8 bits use, if its file does not say so: black is
        0, white is 2**depth - 1.

    Raises
    ------
    InvalidDataError
        Values are signed, of 32 bits or floating-point, so that nothing says what is white; some
        are larger than `depth` allows; or without `depth`, values use so small a part of 16 bits
        that 8 bits would lose levels of which they could hold more.
    """
    deep = deep_values(image)
    if deep is None:
        _refuse_depth(image, depth)
        return image.convert("RGB")
    white = 2**depth - 1 if depth is not None and not deep.is_declared else deep.white
    _check_range(deep.values, white)
    values = _without_alpha(deep.values)
    values = white - values if deep.zero_is_white else values
    is_cut = values.ndim == 3 and white == FULL  # as Pillow does
    found = values >> 8 if is_cut else np.rint(values * 255.0 / white)
    if depth is None and not deep.is_declared:
        _check_levels(values, found)
    return Image.fromarray(found.astype(np.uint8)).convert("RGB")


def _without_alpha(values):
    if values.ndim == 2:
        return values
    return values[..., :3] if values.shape[2] > 2 else values[..., [0, 0, 0]]


def _refuse_depth(image, depth):
    if depth not in (None, 16) and (kind := cut_kind(image)):
        raise InvalidDataError(
            f"depth={depth} cannot be heeded: of {kind} Pillow gives only the upper 8 of 16 "
            "bits. Store the image as PNG or TIFF with RGB of 16 bits."
        )


def _check_range(values, white):
    """Raise unless it is known what is white, and all values are from 0 to there."""
    kind = values.dtype
    if white is None or kind.kind == "f":
        by_depth = (
            ""
            if kind.kind == "f"
            else "Pass depth= (skdal score --depth), the bits they use, if 0 is black. "
        )
        raise InvalidDataError(
            f"its values are {_WORDS[kind.name]}, of which nothing says what is black and what "
            f"is white. {by_depth}{_RAW} Or store the image with 8 or 16 bits, unsigned."
        )
    low = int(values.min())
    high = int(values.max())
    if low < 0 or high > white:
        raise InvalidDataError(
            f"its values are from {low} to {high}, and those of {white.bit_length()} bits from "
            f"0 to {white}. Pass another depth= (skdal score --depth). {_RAW}"
        )


def _check_levels(values, found):
    """Raise if 8 bits lose levels of which they could hold more, since values use a small part of
    16 bits.
    """
    highest = int(values.max())
    if highest >= _USUAL:
        return
    n_before = len(np.unique(values))
    n_after = len(np.unique(found))
    if n_after < n_before:
        raise InvalidDataError(
            f"its values go up to {highest} where 16 bits could hold {FULL}, so that 8 bits "
            f"would keep {n_after} of {n_before} levels. Pass depth= (skdal score --depth), "
            f"the bits that the camera gives: 12, say, or 16 if the image is just dark. {_RAW}"
        )


@contextmanager
def _opened(source):
    """Open a file for a block, and close it; an image that is open already stays so."""
    if isinstance(source, Image.Image):
        yield source
        return
    try:
        image = Image.open(source)
    except UnidentifiedImageError as error:
        raise InvalidDataError(_unknown(_first_bytes(source))) from error
    with image:
        yield image


def _first_bytes(source):
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:4]
    with open(source, "rb") as file:
        return file.read(4)


def _unknown(first_bytes):
    """Say what is known of a file that Pillow does not open."""
    if first_bytes not in _TIFF:
        return "Pillow knows no image of that kind, or the file is damaged."
    return (
        "it is a TIFF of a kind that Pillow does not open, such as one of 64-bit numbers or "
        "of many channels, or it is damaged. Store gray or RGB with 8 or 16 bits, or all of "
        "the values in a .npy file, for MemmapPool."
    )
