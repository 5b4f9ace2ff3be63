"""Where a backward pass begins: the gradients of the losses with respect to the module's outputs.

They are taken in float64 and scaled by powers of two to about 1. A saturated softmax leaves
gradients whose squares underflow in float32, and which themselves do in float16; a scale carries
through the backward pass unchanged and is divided out of the statistics.
"""

import torch

from skdal.gradients._graph import has_custom_function, nodes_of, walk


def seeds_of(model, outputs, labels):
    """Return what to backpropagate, each sample's to about 1.

    Returns
    -------
    seeds : list of (tensor, gradient)
        The module's outputs, and gradients in their dtypes.
    scale : float64 tensor (n,)
        What each sample's gradients were multiplied by.
    """
    pairs = model.output_gradients(outputs, labels)
    scale = _scale(torch.stack([gradient.flatten(1).abs().amax(1) for _, gradient in pairs]).amax(0), pairs)
    return [(tensor, _rows_times(gradient, scale).to(tensor.dtype)) for tensor, gradient in pairs], scale


def summed_seeds(model, outputs, labels, rows=slice(None)):
    """Return what to backpropagate for the sum over some samples, the largest to about 1, and the scale."""
    pairs = model.output_gradients(outputs, labels)
    kept = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    kept[rows] = 1
    pairs = [(tensor, _rows_times(gradient, kept)) for tensor, gradient in pairs]
    scale = _scale(torch.stack([gradient.abs().amax() for _, gradient in pairs]).amax(0), pairs)
    return [(tensor, (gradient * scale).to(tensor.dtype)) for tensor, gradient in pairs], scale


def _scale(largest, pairs):
    if has_custom_function(walk(nodes_of([tensor for tensor, _ in pairs]))[1]):
        return torch.ones_like(largest)  # its backward pass may not be linear: a gradient that is clamped
    usable = torch.isfinite(largest) & (largest > 0)
    exponent = torch.frexp(torch.where(usable, largest, 1.0)).exponent.clamp_min(-1000)  # 2**1024 is infinite
    return torch.ldexp(torch.ones_like(largest), -exponent)


def _rows_times(gradient, factors):
    return gradient * factors.reshape(-1, *[1] * (gradient.ndim - 1))
