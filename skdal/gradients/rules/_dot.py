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
    values = {}
    for own, parameter in parameters.items():
        value = direction.get(own)
        if value is None:
            value = torch.zeros_like(parameter)
        values[own] = value.to(dtype)
    with swapped(layer, parameters, values):
        outputs = [_output(layer, x) for x in inputs]
    dot = 0
    for y, b in zip(outputs, output_grads):
        dot = dot + inner(y.flatten(1), b.flatten(1))
    return torch.zeros_like(dot), dot


def _output(layer, x):
    args = x if isinstance(x, tuple) else (x,)
    return type(layer).forward(layer, *args)
