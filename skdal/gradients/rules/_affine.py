"""Layers that are affine in each sample: y = w * xhat + c, elementwise."""

import torch

from skdal.gradients.rules._forms import explicit, row_chunks


def affine(normalised, reduced, inputs, output_grads, direction):
    """Return the statistics of y = w * normalised(x) + c; see `rules`.

    Parameters
    ----------
    normalised : callable
        x -> xhat, without parameters.
    reduced : callable
        Sums over a sample's positions.
    """
    gradients = {}
    if "weight" in direction:
        gradients["weight"] = sum(
            _weight_gradient(normalised, reduced, x, b)
            for x, b in zip(inputs, output_grads)
        )
    if "bias" in direction:
        gradients["bias"] = sum(reduced(b) for b in output_grads)
    return explicit(gradients, direction)


def _weight_gradient(normalised, reduced, x, b):
    parts = []
    for rows in row_chunks(x, x[0].numel()):
        product = b[rows] * normalised(x[rows])
        parts.append(reduced(product))
    return torch.cat(parts)


def over_leading_axes(layer):
    """Return the sum over the axes between the sample and those that a layer normalises."""
    n_axes = len(layer.normalized_shape)

    def reduced(y):
        if y.ndim <= n_axes + 1:
            return y
        return y.flatten(1, -n_axes - 1).sum(1)

    return reduced
