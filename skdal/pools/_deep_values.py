"""What the file of an image holds that is not 8 bits a channel, as Pillow opens it: the values
themselves.
"""

import io
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image

from skdal.exceptions import InvalidDataError

FULL = 2**16 - 1
# Tags of TIFF, and values of three of them.
_BITS = 258
_BLACK_OR_WHITE = 262
_PLANES = 284
_SIGNS = 339
_SIGNED = 2
_ZERO_IS_WHITE = 0
_SEPARATE = 2
_NATIVE = "L" if sys.byteorder == "little" else "B"
_COLOURS = ("RGB", "RGBA", "RGBX")  # of which Pillow can give the lower 8 bits, too
_CUT = ("RGBa", "CMYK")  # of which it cannot


class Deep(NamedTuple):
    """The values of an image that is not of 8 bits a channel, as its file holds them.

    Attributes
    ----------
    values : array (height, width) or (height, width, channels)
        uint16, or int8, int16, int32, uint32, float32. Channels are gray and alpha, RGB, or RGB and
        alpha.
    white : int or None
        The value of white; None where nothing says it.
    is_declared : bool
        Whether the file says so, rather than the number of bits that there is room for.
    zero_is_white : bool
    """

    values: np.ndarray
    white: int | None = None
    is_declared: bool = False
    zero_is_white: bool = False


def deep_values(image):
    """Return the Deep of an opened image; None of one that Pillow gives with 8 bits a channel.

    Raises
    ------
    InvalidDataError
        Pillow would misread it.
    """
    is_tiff = hasattr(image, "tag_v2")
    if (
        image.mode.startswith("I;16")
        or image.mode == "I"
        and not is_tiff
        and image.format in ("PNG", "PPM")
    ):
        return _sixteen_bits(image)
    if image.mode == "I":
        return Deep(_integers(image))
    if image.mode == "F":
        return Deep(np.asarray(image))
    if image.mode == "L" and _is_signed(image):
        return Deep(np.asarray(image).view(np.int8))
    return _colours(image)


def refuse_upper_bits(image):
    """Raise where an image has colours deeper than 8 bits, and Pillow gives no more than 8 of
    them.
    """
    kind = (
        "a PPM"
        if image.mode == "RGB" and (_highest(image) or 0) > 255
        else cut_kind(image)
    )
    if kind:
        raise InvalidDataError(
            f"its colours are deeper than 8 bits, and of {kind} Pillow gives no more than 8. "
            "Store the image as PNG or TIFF with RGB of 16 bits; or with 8 bits a channel."
        )


def cut_kind(image):
    """Return how 16-bit values lie of which Pillow gives the upper 8 bits alone, such as
    "CMYK;16L", else "".
    """
    rawmode = _rawmode(image)
    is_cut = ";16" in rawmode and (rawmode.startswith(_CUT) or _lies_in_planes(image))
    return rawmode if is_cut else ""


def _sixteen_bits(image):
    """Return the Deep of gray values of 16 bits, or of 12, or of a PGM, which Pillow stretches to
    16.
    """
    highest = _highest(image)  # before it is decoded
    values = np.asarray(image)
    if highest is not None:
        return Deep(
            np.rint(values * (highest / FULL)).astype(np.uint16),
            highest,
            highest < FULL,
        )
    bits = _bits(image)
    white = 2**bits - 1 if 0 < bits < 16 else FULL
    return Deep(
        values.astype(np.uint16),
        white,
        white < FULL,
        _tag(image, _BLACK_OR_WHITE) == _ZERO_IS_WHITE,
    )


def _integers(image):
    """Return values that Pillow holds as int32 in the type that the file has."""
    values = np.asarray(image)
    if _bits(image) == 16:
        return values.astype(np.int16)
    return (
        values.view(np.uint32)
        if _bits(image) == 32 and not _is_signed(image)
        else values
    )


def _colours(image):
    """Return the Deep of colours of 16 bits, or of gray with alpha, of which Pillow by itself gives
    the upper 8.
    """
    rawmode = _rawmode(image)
    kind, deep, order = rawmode.partition(";16")
    if rawmode and not deep and _lies_in_planes(image) and _bits(image) > 8:
        raise InvalidDataError(
            "its colours of 16 bits lie in planes of their own, which Pillow misreads. Store "
            "the image with the channels of a pixel side by side (planar configuration 1)."
        )
    if rawmode == "LA;16B":
        both = np.asarray(
            _opened_again(image, "RGBA")
        )  # the four bytes of gray and alpha
        return Deep(np.ascontiguousarray(both).view(">u2").astype(np.uint16), FULL)
    if not deep or kind not in _COLOURS or _lies_in_planes(image):
        return None
    other = "B" if (_NATIVE if order == "N" else order) == "L" else "L"
    lower = np.asarray(
        _opened_again(image, f"{kind};16{other}")
    )  # the other byte counts as the upper one
    return Deep(np.asarray(image).astype(np.uint16) << 8 | lower, FULL)


def _opened_again(image, rawmode):
    """Return an image, opened but not yet decoded, a second time, with its values taken to lie
    otherwise.
    """
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(place)
    again = Image.open(io.BytesIO(content), formats=[image.format])
    again.tile = [_with_rawmode(tile, rawmode) for tile in again.tile]
    return again


def _with_rawmode(tile, rawmode):
    args = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
    return (
        tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)
    )  # plain before Pillow 11


def _rawmode(image):
    """Return Pillow's name of how values lie in a file; "" once they are decoded."""
    return str(_decoder_arguments(image)[0])


def _highest(image):
    """Return what the header of a PGM or PPM says is white, None where it says nothing."""
    found = _decoder_arguments(image)[-1] if image.format == "PPM" else None
    return found if isinstance(found, int) else None


def _decoder_arguments(image):
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return args if isinstance(args, tuple) else (args,)


def _bits(image):
    """Return the bits of a channel that a TIFF says it has, else 0."""
    return max(_tag(image, _BITS) or (0,))


def _lies_in_planes(image):
    return _tag(image, _PLANES) == _SEPARATE


def _is_signed(image):
    return _SIGNED in (_tag(image, _SIGNS) or ())


def _tag(image, number):
    return getattr(image, "tag_v2", {}).get(number)
