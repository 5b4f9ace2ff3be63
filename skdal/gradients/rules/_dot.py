"""The inner product alone, of layers that are linear in their parameters.

Such a layer is run with the direction in the parameters' place.
"""

import torch

from skdal.gradients.rules._forms import inner
from skdal.utils import swapped


def inner_products(layer, inputs, output_grads, direction):
    """Return (zeros, dot): <G, v> = sum_t b_t . y_t(v).

    y(v) is what the layer gives with v as its parameters.
    """
    parameters = dict(layer.named_parameters(recurse=False))
    dtype = output_grads[0].dtype
    values = {
        own: (direction[own] if own in direction else torch.zeros_like(p)).to(dtype)
        for own, p in parameters.items()
    }
    with swapped(layer, parameters, values):
        outputs = [_output(layer, x) for x in inputs]
    dot = sum(inner(y.flatten(1), b.flatten(1)) for y, b in zip(outputs, output_grads))
    return torch.zeros_like(dot), dot


def _output(layer, x):
    args = x if isinstance(x, tuple) else (x,)
    return type(layer).forward(layer, *args)
