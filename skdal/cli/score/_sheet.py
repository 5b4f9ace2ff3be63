"""Thumbnails of the picks, on one sheet."""

import io

import numpy as np
from PIL import Image

from skdal.exceptions import UnreadableSampleError

_SIDE = 96  # pixels of a thumbnail with its margin
_MARGIN = 2


def sheet_of(pool, positions):
    """Return a PNG of thumbnails, best first, row by row; None where samples are not images."""
    n_columns = int(np.ceil(np.sqrt(len(positions))))
    n_rows = -(-len(positions) // n_columns)
    sheet = Image.new("RGB", (n_columns * _SIDE, n_rows * _SIDE), "white")
    for k, i in enumerate(positions):
        try:
            picture = pool.picture(int(i))
        except UnreadableSampleError:
            continue
        if picture is None:
            return None
        left = k % n_columns * _SIDE + _MARGIN
        top = k // n_columns * _SIDE + _MARGIN
        sheet.paste(_thumbnail(picture), (left, top))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _thumbnail(picture):
    """Return a picture whose longer side is that of a thumbnail."""
    longest = _SIDE - 2 * _MARGIN
    picture.thumbnail((longest, longest))  # fast, and never enlarges
    scale = longest / max(picture.size)
    return picture.resize([max(1, round(side * scale)) for side in picture.size])
