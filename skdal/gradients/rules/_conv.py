"""Convolutions: a linear layer on patches, with one position an output pixel."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from skdal.gradients.rules._cost import cheapest, convolution_costs
from skdal.gradients.rules._forms import (
    concatenated,
    explicit,
    gradient_form,
    gram_form,
    inner,
    pair_sum,
    row_chunks,
    scratch,
    total,
)

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolution(layer, inputs, output_grads, direction):
    """Statistics of Conv1d/2d/3d with any stride, padding, dilation and groups; see `rules`."""
    parts = []
    if "weight" in direction:
        geometry, images = _prepared(layer, inputs)
        parts.append(
            weight_statistics(geometry, images, output_grads, direction["weight"])
        )
    if "bias" in direction:
        parts.append(
            explicit(
                {"bias": sum(y.flatten(2).sum(2) for y in output_grads)}, direction
            )
        )
    return total(parts)


class Geometry(NamedTuple):
    """Where a kernel is applied: one entry a spatial axis, zeros around the image.

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


def weight_statistics(geometry, images, grads, v):
    """Return (sq_norm, dot) of a kernel by the cheapest form.

    Parameters
    ----------
    geometry : Geometry
        Where it is applied.
    images : list of tensor (n, g * c, *space)
        What it is applied to, one entry a use.
    grads : list of tensor (n, g * p, *positions)
        Gradients of what it gives; positions beyond these do not count.
    v : tensor (g * p, c, *kernel) or None
        Direction.
    """
    return in_form(
        cheapest(costs(geometry, images, grads, v is not None)),
        geometry,
        images,
        grads,
        v,
    )


def in_form(form, geometry, images, grads, v):
    """Return `weight_statistics` by one of the forms "gradient", "gram", "pixels"."""
    if form == "gradient":
        w = None if v is None else v.reshape(geometry.groups, -1, v[0].numel())
        return concatenated(
            [
                gradient_form(a, b, w)
                for a, b in _patch_chunks(geometry, images, grads, form)
            ]
        )
    dot = (
        None
        if v is None
        else sum(_inner_product(geometry, x, y, v) for x, y in zip(images, grads))
    )
    if form == "gram":
        return torch.cat(
            [gram_form(a, b) for a, b in _patch_chunks(geometry, images, grads, form)]
        ), dot
    return _pixel_form(*_touched(geometry, images[0]), grads[0]), dot


def costs(geometry, images, grads, with_dot):
    """Return the Cost by form."""
    channels, p = (
        images[0].shape[1] // geometry.groups,
        grads[0].shape[1] // geometry.groups,
    )
    t, d = (
        sum(math.prod(y.shape[2:]) for y in grads),
        channels * math.prod(geometry.kernel),
    )
    touched, image = _touched(geometry, images[0])
    space, out = image.shape[2:], grads[0].shape[2:]
    shifted = _shifted_values(touched, space, out)
    found = convolution_costs(
        t, d, p, geometry.groups, channels, math.prod(space), shifted, with_dot
    )
    if len(images) > 1:
        del found["pixels"]  # pairs of positions in different images are missing there
    return found


def _inner_product(geometry, image, grads, v):
    convolve = _CONVOLVE[len(geometry.kernel)]
    _, stride, dilation, padding, groups = geometry
    out = convolve(
        image, v, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    out = out[(..., *(slice(size) for size in grads.shape[2:]))]
    return inner(out.flatten(1), grads.flatten(1))


def _patch_chunks(geometry, images, grads, form):
    """Yield (a, b): patches (n, g, d, t) and output gradients (n, g, p, t) of a few samples each.

    The patches of all chunks share their memory: fresh memory costs more than filling it.
    """
    g, n = geometry.groups, len(grads[0])
    lengths = [math.prod(y.shape[2:]) for y in grads]
    t, p, d = (
        sum(lengths),
        grads[0].shape[1] // g,
        images[0].shape[1] // g * math.prod(geometry.kernel),
    )
    bs = [y.unflatten(1, (g, -1)).flatten(3) for y in grads]
    views = [
        None if any(geometry.padding) else _patches(geometry, x, y.shape[2:])
        for x, y in zip(images, grads)
    ]
    memory = None
    for rows in row_chunks(
        grads[0], g * max(t * d, p * d if form == "gradient" else 2 * t * t)
    ):
        m = min(rows.stop, n) - rows.start
        memory = scratch(images[0], (m, g, d, t)) if memory is None else memory[:m]
        for x, y, view, part in zip(images, grads, views, memory.split(lengths, dim=3)):
            patches = (
                _patches(geometry, x[rows], y.shape[2:]) if view is None else view[rows]
            )
            part.view(patches.shape).copy_(
                patches
            ) if part.is_contiguous() else part.copy_(patches.reshape(part.shape))
        yield (
            memory,
            bs[0][rows] if len(bs) == 1 else torch.cat([b[rows] for b in bs], dim=3),
        )


def _patches(geometry, x, out):
    """Return the patches (n, g, c, *kernel, *out) of x (n, g * c, *space): a view, but for padding."""
    if any(geometry.padding):
        x = F.pad(
            x, [side for pad in reversed(geometry.padding) for side in (pad, pad)]
        )
    for axis, (size, stride, dilation) in enumerate(
        zip(geometry.kernel, geometry.stride, geometry.dilation)
    ):
        # The window is the last axis afterwards; the output's position takes the old axis' place.
        x = x.unfold(2 + axis, dilation * (size - 1) + 1, stride)[
            ..., ::dilation
        ].narrow(2 + axis, 0, out[axis])
    n_axes = len(out)
    x = x.movedim(
        tuple(range(2, 2 + n_axes)), tuple(range(-n_axes, 0))
    )  # (n, g * c, *kernel, *out)
    return x.unflatten(1, (geometry.groups, -1))


def _pixel_form(geometry, image, grads):
    """Return sq_norm from the Gram matrix of pixels, shifted by each offset of the kernel and added up.

    The patches' Gram matrix is sum_k P[s t + k, s t' + k] with P of the pixels; a kernel's offsets
    are a product over axes, so the axes are added up one after the other. No patch is made.
    """
    g, space, out = geometry.groups, image.shape[2:], grads.shape[2:]
    x, b = (tensor.unflatten(1, (g, -1)).flatten(3) for tensor in (image, grads))
    parts = []
    for rows in row_chunks(x, 2 * g * x.shape[3] ** 2):
        gram = (
            (x[rows].transpose(2, 3) @ x[rows])
            .flatten(0, 1)
            .unflatten(2, space)
            .unflatten(1, space)
        )
        for axis in reversed(range(len(space))):
            gram = _shifted_sum(
                gram,
                axis,
                len(space),
                _shifts(geometry, axis, space[axis], out[axis]),
                out[axis],
            )
        parts.append(
            pair_sum(gram.unflatten(0, (-1, g)), b[rows].transpose(2, 3) @ b[rows])
        )
    return torch.cat(parts)


def _shifted_sum(gram, axis, n_axes, shifts, size):
    """Return `gram` (m, *space, *space) with both instances of an axis summed over the kernel's offsets."""
    first, second = 1 + axis, 1 + n_axes + axis
    if len(shifts) == 1 and shifts[0] == (
        slice(0, gram.shape[first], 1),
        slice(0, size),
    ):
        return gram
    shape = list(gram.shape)
    shape[first] = shape[second] = size
    total = gram.new_zeros(shape)
    for source, target in shifts:
        index = [slice(None)] * gram.ndim
        index[first] = index[second] = target
        view = total[tuple(index)]
        index[first] = index[second] = source
        view += gram[tuple(index)]
    return total


def _shifts(geometry, axis, space, out):
    """Return, for each offset of the kernel on an axis, the pixels (slice) that meet positions (slice)."""
    stride, dilation, padding = (
        geometry.stride[axis],
        geometry.dilation[axis],
        geometry.padding[axis],
    )
    shifts = []
    for k in range(geometry.kernel[axis]):
        offset = k * dilation - padding  # pixel = stride * position + offset
        start, stop = (
            max(0, -(offset // stride)),
            min(out, (space - 1 - offset) // stride + 1),
        )
        if start < stop:
            pixels = slice(
                stride * start + offset, stride * (stop - 1) + offset + 1, stride
            )
            shifts.append((pixels, slice(start, stop)))
    return shifts


def _shifted_values(geometry, space, out):
    """Return how many values `_pixel_form` adds up for a sample and group."""
    sizes, values = list(space), 0
    for axis in reversed(range(len(space))):
        sizes[axis] = 1
        rest = math.prod(sizes) ** 2
        values += rest * sum(
            (t.stop - t.start) ** 2
            for _, t in _shifts(geometry, axis, space[axis], out[axis])
        )
        sizes[axis] = out[axis]
    return values


def _touched(geometry, image):
    """Return geometry and image without the pixels that a kernel of one pixel steps over."""
    kernel, stride, _, padding, _ = geometry
    skips = [size == 1 and pad == 0 for size, pad in zip(kernel, padding)]
    image = image[
        (
            ...,
            *(
                slice(None, None, step if skip else 1)
                for step, skip in zip(stride, skips)
            ),
        )
    ]
    return geometry._replace(
        stride=tuple(1 if skip else step for step, skip in zip(stride, skips))
    ), image


def _prepared(layer, inputs):
    """Return the geometry of a convolution and its inputs, with padding other than even zeros put around them."""
    kernel, dilation = layer.kernel_size, layer.dilation
    if layer.padding == "valid":
        pairs = [(0, 0)] * len(kernel)
    elif layer.padding == "same":
        extra = [step * (size - 1) for size, step in zip(kernel, dilation)]
        pairs = [(e // 2, e - e // 2) for e in extra]
    else:
        pairs = [(pad, pad) for pad in layer.padding]
    if layer.padding_mode == "zeros" and all(
        before == after for before, after in pairs
    ):
        return Geometry(
            kernel, layer.stride, dilation, tuple(pad for pad, _ in pairs), layer.groups
        ), inputs
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    sides = [side for pair in reversed(pairs) for side in pair]
    return Geometry(kernel, layer.stride, dilation, (0,) * len(kernel), layer.groups), [
        F.pad(x, sides, mode=mode) for x in inputs
    ]
