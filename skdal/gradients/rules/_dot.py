"""The inner product alone: a layer that is linear in its parameters, run with the direction in their place."""

import torch

from skdal.gradients.rules._forms import inner
from skdal.utils import swapped


def inner_products(layer, inputs, output_grads, direction):
    """Return (zeros, dot): <G, v> = sum_t b_t . y_t(v) where y(v) is what the layer gives with v as its parameters."""
    parameters = dict(layer.named_parameters(recurse=False))
    values = {
        own: (direction[own] if own in direction else torch.zeros_like(p))
        for own, p in parameters.items()
    }
    values = {own: v.to(output_grads[0].dtype) for own, v in values.items()}
    with swapped(layer, parameters, values):
        outputs = [
            type(layer).forward(layer, *(x if isinstance(x, tuple) else (x,)))
            for x in inputs
        ]
    dot = sum(
        inner(y.flatten(1), grad.flatten(1)) for y, grad in zip(outputs, output_grads)
    )
    return torch.zeros_like(dot), dot
