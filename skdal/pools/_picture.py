"""Arrays as pictures that people can look at."""

import numpy as np
from PIL import Image


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
