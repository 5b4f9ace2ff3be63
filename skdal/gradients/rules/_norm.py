"""Normalisation in eval mode: y = w * xhat + c, elementwise in each sample."""

import torch.nn.functional as F

from skdal.gradients.rules._affine import affine, over_leading_axes
from skdal.gradients.rules._forms import over_positions


def batch_norm(layer, inputs, output_grads, direction):
    """Statistics of BatchNorm1d/2d/3d on running statistics; see `rules`."""

    def normalised(x):
        mean = layer.running_mean.to(x)
        variance = layer.running_var.to(x)
        return F.batch_norm(x, mean, variance, eps=layer.eps)

    return affine(normalised, over_positions, inputs, output_grads, direction)


def layer_norm(layer, inputs, output_grads, direction):
    """Statistics of LayerNorm over any trailing axes; see `rules`."""

    def normalised(x):
        return F.layer_norm(x, layer.normalized_shape, eps=layer.eps)

    reduced = over_leading_axes(layer)
    return affine(normalised, reduced, inputs, output_grads, direction)
