"""Where a backward pass begins: the gradients of the losses by the module's outputs.

They are taken in float64 and scaled by powers of two to about 1. A saturated softmax leaves
gradients whose squares underflow in float32, and which themselves do in float16; a scale
carries through the backward pass unchanged and is divided out of the statistics.
"""

import torch

from skdal.gradients._graph import has_custom_function, nodes_of, walk


def seeds_of(model, outputs, labels, nodes=None):
    """Return what to backpropagate, each sample's to about 1.

    Parameters
    ----------
    model : object
        With `output_gradients`.
    outputs : tensor (n, K)
        Of the module.
    labels : int64 tensor (n,)
        Of the samples.
    nodes : set of graph nodes, optional
        Those of the graph of the outputs, where they are known.

    Returns
    -------
    seeds : list of (tensor, gradient)
        The module's outputs, and gradients in their dtypes.
    scale : float64 tensor (n,)
        What each sample's gradients were multiplied by.
    """
    pairs = model.output_gradients(outputs, labels)
    lengths = [_row_lengths(gradient) for _, gradient in pairs]
    scale = _scale(lengths, pairs, nodes)
    seeds = [
        (tensor, _rows_times(gradient, scale).to(tensor.dtype))
        for tensor, gradient in pairs
    ]
    return seeds, scale


def summed_seeds(model, outputs, labels, rows=slice(None)):
    """Return what to backpropagate for the sum over some samples, and its scale.

    The largest is about 1.
    """
    pairs = model.output_gradients(outputs, labels)
    is_wanted = torch.zeros_like(labels, dtype=torch.float64)
    is_wanted[rows] = 1
    pairs = [(tensor, _rows_times(gradient, is_wanted)) for tensor, gradient in pairs]
    lengths = [gradient.abs().amax() for _, gradient in pairs]
    scale = _scale(lengths, pairs)
    seeds = [
        (tensor, (gradient * scale).to(tensor.dtype)) for tensor, gradient in pairs
    ]
    return seeds, scale


def differentiable(seeds):
    """Return the tensors of seeds that have a graph, and their gradients."""
    seeds = [(tensor, gradient) for tensor, gradient in seeds if tensor.requires_grad]
    return [tensor for tensor, _ in seeds], [gradient for _, gradient in seeds]


def _scale(lengths, pairs, nodes=None):
    largest = lengths[0]
    if len(lengths) > 1:
        largest = torch.stack(lengths).amax(0)
    if nodes is None or len(pairs) > 1:
        _, nodes = walk(nodes_of([tensor for tensor, _ in pairs]))
    if has_custom_function(nodes):
        # Its backward pass may not be linear: it may clamp a gradient.
        return torch.ones_like(largest)
    # The exponent of 0 is 0, and 2**1024 is infinite.
    exponent = torch.frexp(largest.nan_to_num(1.0, posinf=1.0)).exponent
    exponent = exponent.clamp_min(-1000).neg_()
    return torch.ldexp(torch.ones_like(largest), exponent)


def _row_lengths(gradient):
    rows = gradient.reshape(len(gradient), -1)
    return torch.linalg.vector_norm(rows, float("inf"), dim=1)


def _rows_times(gradient, factors):
    ones = [1] * (gradient.ndim - 1)
    return gradient * factors.reshape(-1, *ones)
