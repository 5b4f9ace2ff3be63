"""Convolutions: a linear layer on patches, with one position per output pixel."""

import math

import torch
import torch.nn.functional as F

from skdal.gradients.rules._cost import cheapest, convolution_costs
from skdal.gradients.rules._forms import (
    concatenated,
    explicit,
    gradient_form,
    gram_form,
    inner,
    joined,
    pair_sum,
    row_chunks,
    scratch,
    total,
)
from skdal.gradients.rules._geometry import (
    geometry_of,
    n_shifted_values,
    patches,
    shifts,
    touched,
)

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolution(layer, inputs, output_grads, direction):
    """Statistics of Conv1d/2d/3d, any stride, padding, dilation and groups; see `rules`."""
    parts = []
    if "weight" in direction:
        geometry, images = geometry_of(layer, inputs)
        v = direction["weight"]
        parts.append(weight_statistics(geometry, images, output_grads, v))
    if "bias" in direction:
        parts.append(bias_statistics(output_grads, direction))
    return total(parts)


def bias_statistics(output_grads, direction):
    """Return (sq_norm, dot) of the bias of a convolution."""
    gradient = sum(grad.flatten(2).sum(2) for grad in output_grads)
    return explicit({"bias": gradient}, direction)


def weight_statistics(geometry, images, grads, v):
    """Return (sq_norm, dot) of a kernel by the cheapest form.

    Parameters
    ----------
    geometry : Geometry
        Where it is applied.
    images : list of tensor (n, g * c, *space)
        What it is applied to, one entry per use.
    grads : list of tensor (n, g * p, *positions)
        Gradients of what it gives; positions beyond these do not count.
    v : tensor (g * p, c, *kernel) or None
        Direction.
    """
    form = cheapest(costs(geometry, images, grads, v is not None))
    return in_form(form, geometry, images, grads, v)


def in_form(form, geometry, images, grads, v):
    """Return `weight_statistics` by one of the forms "gradient", "gram", "pixels"."""
    if form == "gradient":
        return _gradient_statistics(geometry, images, grads, v)
    dot = None
    if v is not None:
        pairs = zip(images, grads)
        dot = sum(_inner_product(geometry, x, b, v) for x, b in pairs)
    if form == "gram":
        chunks = _patch_chunks(geometry, images, grads, _values_of_gram)
        sq_norm = torch.cat([gram_form(a, b) for a, b in chunks])
    else:
        geometry, image = touched(geometry, images[0])
        sq_norm = _pixel_form(geometry, image, grads[0])
    return sq_norm, dot


def _gradient_statistics(geometry, images, grads, v):
    if v is not None:
        v = v.reshape(geometry.groups, -1, v[0].numel())
    chunks = _patch_chunks(geometry, images, grads, _values_of_gradient)
    return concatenated([gradient_form(a, b, v) for a, b in chunks])


def _values_of_gradient(t, d, p):
    """Return how many values the gradient of a sample and group has."""
    return p * d


def _values_of_gram(t, d, p):
    """Return how many values the Gram matrices of a sample and group have."""
    return 2 * t * t


def costs(geometry, images, grads, with_dot):
    """Return the Cost by form."""
    channels = images[0].shape[1] // geometry.groups
    reduced_geometry, image = touched(geometry, images[0])
    space = image.shape[2:]
    shifted = n_shifted_values(reduced_geometry, space, grads[0].shape[2:])
    by_form = convolution_costs(
        t=sum(math.prod(b.shape[2:]) for b in grads),
        d=channels * math.prod(geometry.kernel),
        p=grads[0].shape[1] // geometry.groups,
        groups=geometry.groups,
        channels=channels,
        pixels=math.prod(space),
        shifted=shifted,
        with_dot=with_dot,
    )
    if len(images) > 1:
        # Pairs of positions in different images are missing in this form.
        del by_form["pixels"]
    return by_form


def _inner_product(geometry, image, grads, v):
    convolve = _CONVOLVE[len(geometry.kernel)]
    out = convolve(
        image,
        v,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=geometry.groups,
    )
    met = tuple(slice(size) for size in grads.shape[2:])
    out = out[(..., *met)]
    return inner(out.flatten(1), grads.flatten(1))


def _patch_chunks(geometry, images, grads, values_of):
    """Yield (a, b) of a few samples each.

    They are patches (n, g, d, t) and output gradients (n, g, p, t). The patches of all
    chunks share their memory: fresh memory costs more than filling it.

    Parameters
    ----------
    values_of : callable
        (t, d, p) -> the values of what is made of the patches of a sample and group.
    """
    n = len(grads[0])
    g = geometry.groups
    ts = [math.prod(b.shape[2:]) for b in grads]
    t = sum(ts)
    d = images[0].shape[1] // g * math.prod(geometry.kernel)
    p = grads[0].shape[1] // g
    bs = [b.unflatten(1, (g, -1)).flatten(3) for b in grads]
    sources = [
        _PatchSource(geometry, image, b.shape[2:]) for image, b in zip(images, grads)
    ]
    memory = None
    n_values = g * max(t * d, values_of(t, d, p))
    for rows in row_chunks(grads[0], n_values):
        size = min(rows.stop, n) - rows.start
        if memory is None:
            memory = scratch(images[0], (size, g, d, t))
        memory = memory[:size]
        for source, part in zip(sources, memory.split(ts, dim=3)):
            source.copy_to(part, rows)
        yield memory, joined([b[rows] for b in bs], dim=3)


class _PatchSource:
    """The patches of an image, which are a view but for padding."""

    def __init__(self, geometry, image, out):
        self._geometry = geometry
        self._image = image
        self._out = out
        self._view = None
        if not any(geometry.padding):
            self._view = patches(geometry, image, out)

    def copy_to(self, target, rows):
        """Copy the patches of some samples to memory (n, g, d, t)."""
        if self._view is None:
            source = patches(self._geometry, self._image[rows], self._out)
        else:
            source = self._view[rows]
        if target.is_contiguous():
            target.view(source.shape).copy_(source)
        else:
            target.copy_(source.reshape(target.shape))


def _pixel_form(geometry, image, grads):
    """Return sq_norm from the Gram matrix of pixels, shifted by each offset of the kernel.

    The patches' Gram matrix is sum_k P[s t + k, s t' + k] with P of the pixels; a kernel's
    offsets are a product over axes, so the axes are added up one after the other. No patch
    is made.
    """
    g = geometry.groups
    space = image.shape[2:]
    out = grads.shape[2:]
    x = image.unflatten(1, (g, -1)).flatten(3)
    b = grads.unflatten(1, (g, -1)).flatten(3)
    parts = []
    for rows in row_chunks(x, 2 * g * x.shape[3] ** 2):
        gram = x[rows].transpose(2, 3) @ x[rows]
        gram = gram.flatten(0, 1)
        gram = gram.unflatten(2, space).unflatten(1, space)
        for axis in reversed(range(len(space))):
            of_axis = shifts(geometry, axis, space[axis], out[axis])
            gram = _shifted_sum(gram, axis, len(space), of_axis, out[axis])
        b_gram = b[rows].transpose(2, 3) @ b[rows]
        gram = gram.unflatten(0, (-1, g))
        parts.append(pair_sum(gram, b_gram))
    return torch.cat(parts)


def _shifted_sum(gram, axis, n_axes, shifts, size):
    """Return `gram` (m, *space, *space) with an axis summed over the kernel's offsets.

    Both instances of the axis are.
    """
    first = 1 + axis
    second = 1 + n_axes + axis
    all_pixels = slice(0, gram.shape[first], 1)
    all_positions = slice(0, size)
    if shifts == [(all_pixels, all_positions)]:
        return gram
    shape = list(gram.shape)
    shape[first] = shape[second] = size
    shifted = gram.new_zeros(shape)
    for source, target in shifts:
        index = [slice(None)] * gram.ndim
        index[first] = index[second] = target
        view = shifted[tuple(index)]
        index[first] = index[second] = source
        view += gram[tuple(index)]
    return shifted
