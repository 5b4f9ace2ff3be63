"""Normalisation in eval mode: y = w * xhat + c, elementwise in each sample."""

import torch
import torch.nn.functional as F

from skdal.gradients.rules._forms import explicit, row_chunks


def batch_norm(layer, inputs, output_grads, direction):
    """Statistics of BatchNorm1d/2d/3d on running statistics; see `rules`."""

    def normalised(x):
        return F.batch_norm(
            x, layer.running_mean.to(x), layer.running_var.to(x), eps=layer.eps
        )

    def reduced(y):
        return y.flatten(2).sum(2) if y.ndim > 2 else y

    return _affine(normalised, reduced, inputs, output_grads, direction)


def layer_norm(layer, inputs, output_grads, direction):
    """Statistics of LayerNorm over any trailing axes; see `rules`."""
    n_axes = len(layer.normalized_shape)

    def normalised(x):
        return F.layer_norm(x, layer.normalized_shape, eps=layer.eps)

    def reduced(y):
        return y.flatten(1, -n_axes - 1).sum(1) if y.ndim > n_axes + 1 else y

    return _affine(normalised, reduced, inputs, output_grads, direction)


def _affine(normalised, reduced, inputs, output_grads, direction):
    """Return the statistics of y = w * normalised(x) + c, where `reduced` sums over a sample's positions."""
    gradients = {}
    if "weight" in direction:
        gradients["weight"] = sum(
            _weight_gradient(normalised, reduced, x, y)
            for x, y in zip(inputs, output_grads)
        )
    if "bias" in direction:
        gradients["bias"] = sum(reduced(y) for y in output_grads)
    return explicit(gradients, direction)


def _weight_gradient(normalised, reduced, x, y):
    return torch.cat(
        [reduced(y[rows] * normalised(x[rows])) for rows in row_chunks(x, x[0].numel())]
    )
