"""Where the kernel of a convolution is applied: patches, and the pixels that these hold."""

import math
from typing import NamedTuple

import torch.nn.functional as F


class Geometry(NamedTuple):
    """Where a kernel is applied: one entry per spatial axis, zeros around the image.

    Attributes
    ----------
    kernel, stride, dilation, padding : tuple of int
        Of the layer.
    groups : int
        Of channels.
    """

    kernel: tuple
    stride: tuple
    dilation: tuple
    padding: tuple
    groups: int


def geometry_of(layer, inputs):
    """Return the geometry of a convolution and its images, one per use.

    Padding other than even zeros is put around the images.
    """
    pairs = _padding_of(layer)
    is_even = all(before == after for before, after in pairs)
    if layer.padding_mode == "zeros" and is_even:
        padding = tuple(before for before, _ in pairs)
    else:
        padding = (0,) * len(pairs)
        sides = [side for pair in reversed(pairs) for side in pair]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        inputs = [F.pad(x, sides, mode=mode) for x in inputs]
    geometry = Geometry(
        layer.kernel_size, layer.stride, layer.dilation, padding, layer.groups
    )
    return geometry, inputs


def _padding_of(layer):
    """Return how many pixels stand before and after the image, by axis."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":
        pairs = zip(layer.kernel_size, layer.dilation)
        extra = [dilation * (size - 1) for size, dilation in pairs]
        return [(n // 2, n - n // 2) for n in extra]
    return [(n, n) for n in layer.padding]


def patches(geometry, x, out):
    """Return the patches (n, g, c, *kernel, *out) of x (n, g * c, *space).

    They are a view, but for padding.
    """
    if any(geometry.padding):
        sides = [side for n in reversed(geometry.padding) for side in (n, n)]
        x = F.pad(x, sides)
    axes = zip(geometry.kernel, geometry.stride, geometry.dilation, out)
    for axis, (size, stride, dilation, n_positions) in enumerate(axes, start=2):
        # The window is the last axis afterwards; the position takes the old axis' place.
        windows = x.unfold(axis, dilation * (size - 1) + 1, stride)
        x = windows[..., ::dilation].narrow(axis, 0, n_positions)
    n_axes = len(out)
    # (n, g * c, *out, *kernel) becomes (n, g * c, *kernel, *out).
    from_axes = tuple(range(2, 2 + n_axes))
    to_axes = tuple(range(-n_axes, 0))
    x = x.movedim(from_axes, to_axes)
    return x.unflatten(1, (geometry.groups, -1))


def touched(geometry, image):
    """Return geometry and image without the pixels that a kernel of one pixel steps over."""
    axes = list(zip(geometry.kernel, geometry.stride, geometry.padding))
    steps = [stride if size == 1 and pad == 0 else 1 for size, stride, pad in axes]
    slices = tuple(slice(None, None, step) for step in steps)
    stride = tuple(
        1 if size == 1 and pad == 0 else stride for size, stride, pad in axes
    )
    return geometry._replace(stride=stride), image[(..., *slices)]


def shifts(geometry, axis, n_pixels, n_positions):
    """Return, for each offset of the kernel on an axis, which pixels meet which positions.

    Both are slices.
    """
    stride = geometry.stride[axis]
    meetings = []
    for k in range(geometry.kernel[axis]):
        # A pixel is at stride * position + offset.
        offset = k * geometry.dilation[axis] - geometry.padding[axis]
        start = max(0, -(offset // stride))
        stop = min(n_positions, (n_pixels - 1 - offset) // stride + 1)
        if start < stop:
            first = stride * start + offset
            last = stride * (stop - 1) + offset
            pixels = slice(first, last + 1, stride)
            meetings.append((pixels, slice(start, stop)))
    return meetings


def n_shifted_values(geometry, space, out):
    """Return how many values `_pixel_form` adds up for a sample and group."""
    sizes = list(space)
    n_values = 0
    for axis in reversed(range(len(space))):
        sizes[axis] = 1
        n_others = math.prod(sizes) ** 2
        n_values += n_others * sum(
            (positions.stop - positions.start) ** 2
            for _, positions in shifts(geometry, axis, space[axis], out[axis])
        )
        sizes[axis] = out[axis]
    return n_values
