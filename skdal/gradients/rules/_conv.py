"""Convolutions: a linear layer on patches, with one position an output pixel."""

import math

import torch
import torch.nn.functional as F

from skdal.gradients.rules._forms import concatenated, explicit, outer, row_chunks, total


def convolution(layer, inputs, output_grads, direction):
    """Statistics of Conv1d/2d/3d with any stride, padding, dilation and groups; see `rules`."""
    parts = []
    if "weight" in direction:
        parts.append(_weight_statistics(layer, inputs, output_grads, direction["weight"]))
    if "bias" in direction:
        parts.append(explicit({"bias": sum(y.flatten(2).sum(2) for y in output_grads)}, direction))
    return total(parts)


def _weight_statistics(layer, inputs, output_grads, v):
    g = layer.groups
    v = None if v is None else v.reshape(g, layer.out_channels // g, -1)
    positions = sum(math.prod(y.shape[2:]) for y in output_grads)
    patch = layer.weight[0].numel()
    parts = []
    for rows in row_chunks(len(inputs[0]), positions * patch * g):
        a = torch.cat([_patches(layer, x[rows]) for x in inputs], dim=2)
        b = torch.cat([y[rows].unflatten(1, (g, -1)).flatten(3).transpose(2, 3) for y in output_grads], dim=2)
        parts.append(outer(a, b, v))
    return concatenated(parts)


def _patches(layer, x):
    """Return the patches (n, g, t, d) of x (n, c, *space) that the kernel is applied to."""
    x = F.pad(x, _padding(layer), mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    for axis, (size, stride, dilation) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation)):
        # The window is the last axis afterwards; the output's position takes the old axis' place.
        x = x.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    x = x.unflatten(1, (layer.groups, -1))
    n_axes = len(layer.kernel_size)
    x = x.movedim(2, 2 + n_axes)  # (n, g, *out, c / g, *kernel)
    return x.flatten(2 + n_axes).flatten(2, 1 + n_axes)


def _padding(layer):
    """Return the padding in the order of F.pad: last axis first, before and after."""
    if layer.padding == "valid":
        return [0, 0] * len(layer.kernel_size)
    if layer.padding == "same":
        totals = [dilation * (size - 1) for size, dilation in zip(layer.kernel_size, layer.dilation)]
        pairs = [(extra // 2, extra - extra // 2) for extra in totals]
    else:
        pairs = [(extra, extra) for extra in layer.padding]
    return [side for pair in reversed(pairs) for side in pair]
