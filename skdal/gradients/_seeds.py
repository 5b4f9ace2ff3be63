"""Where a backward pass begins: the gradients of the losses with respect to the module's outputs.

They are taken in float64 and scaled by powers of two to about 1. A saturated softmax leaves
gradients whose squares underflow in float32, and which themselves do in float16; a scale carries
through the backward pass unchanged and is divided out of the statistics.
"""

import torch

from skdal.gradients._graph import has_custom_function, nodes_of, walk


def seeds_of(model, outputs, labels, nodes=None):
    """Return what to backpropagate, each sample's to about 1.

    `nodes` are those of the graph of the outputs (n, K), where they are known.

    Returns
    -------
    seeds : list of (tensor, gradient)
        The module's outputs, and gradients in their dtypes.
    scale : float64 tensor (n,)
        What each sample's gradients were multiplied by.
    """
    pairs = model.output_gradients(outputs, labels)
    scale = _scale([_row_lengths(gradient) for _, gradient in pairs], pairs, nodes)
    return [
        (tensor, _rows_times(gradient, scale).to(tensor.dtype))
        for tensor, gradient in pairs
    ], scale


def summed_seeds(model, outputs, labels, rows=slice(None)):
    """Return what to backpropagate for the sum over some samples, the largest to about 1, and the scale."""
    pairs = model.output_gradients(outputs, labels)
    kept = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    kept[rows] = 1
    pairs = [(tensor, _rows_times(gradient, kept)) for tensor, gradient in pairs]
    scale = _scale([gradient.abs().amax() for _, gradient in pairs], pairs)
    return [
        (tensor, (gradient * scale).to(tensor.dtype)) for tensor, gradient in pairs
    ], scale


def _scale(largest, pairs, nodes=None):
    largest = torch.stack(largest).amax(0) if len(largest) > 1 else largest[0]
    if nodes is None or len(pairs) > 1:
        nodes = walk(nodes_of([tensor for tensor, _ in pairs]))[1]
    if has_custom_function(nodes):
        return torch.ones_like(
            largest
        )  # its backward pass may not be linear: a gradient that is clamped
    exponent = torch.frexp(largest.nan_to_num(1.0, posinf=1.0)).exponent  # 0 of 0
    return torch.ldexp(
        torch.ones_like(largest), exponent.clamp_min(-1000).neg_()
    )  # 2**1024 is infinite


def _row_lengths(gradient):
    return torch.linalg.vector_norm(
        gradient.reshape(len(gradient), -1), float("inf"), dim=1
    )


def _rows_times(gradient, factors):
    return gradient * factors.reshape(-1, *[1] * (gradient.ndim - 1))
