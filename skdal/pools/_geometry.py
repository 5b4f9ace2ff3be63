"""Images turned as the camera was held, and made square."""

import numpy as np
import torch
from PIL import ExifTags, Image

# by EXIF orientation: whether rows and columns change places; whether rows, columns are reversed
# then
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turned_image(rgb, image):
    """Return an image turned by the orientation of the one it was made of."""
    if _orientation(image) not in _TURNS:
        return rgb
    return Image.fromarray(turned_values(np.asarray(rgb), image))


def turned_values(values, image):
    """Return an array (height, width, ...) turned as `ImageOps.exif_transpose` turns its image."""
    is_transposed, rows_reversed, columns_reversed = _TURNS.get(
        _orientation(image), (False, False, False)
    )
    values = values.swapaxes(0, 1) if is_transposed else values
    values = values[::-1] if rows_reversed else values
    return values[:, ::-1] if columns_reversed else values


def _orientation(image):
    image.load()  # Pillow turns a TIFF while it decodes it
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def scaled_sides(sides, size):
    """Return (width, height) whose shorter side is `size`, and the corner (left, top) of the
    middle.
    """
    scale = size / min(sides)
    scaled = [max(size, round(side * scale)) for side in sides]
    return scaled, [(side - size) // 2 for side in scaled]


def square_values(values, size):
    """Return values of any type made square, as Pillow does it with 8 bits; integers are
    rounded.
    """
    (width, height), (left, top) = scaled_sides(values.shape[1::-1], size)
    channels_first = (
        torch.from_numpy(np.array(values, dtype=np.float64))
        .reshape(*values.shape[:2], -1)
        .permute(2, 0, 1)
    )
    scaled = torch.nn.functional.interpolate(
        channels_first[None], (height, width), mode="bilinear", antialias=True
    )
    kept = scaled[0, :, top : top + size, left : left + size].permute(1, 2, 0).numpy()
    kept = kept.reshape(size, size, *values.shape[2:])
    return (kept if values.dtype.kind == "f" else np.rint(kept)).astype(values.dtype)
