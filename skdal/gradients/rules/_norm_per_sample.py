"""Normalisation by each sample's own statistics, the same in train and eval mode."""

import torch.nn.functional as F

from skdal.gradients.rules._affine import affine, over_leading_axes
from skdal.gradients.rules._forms import over_positions
from skdal.utils import ndim_without_samples


def group_norm(layer, inputs, output_grads, direction):
    """Statistics of GroupNorm: G_w = sum_t b_t * xhat_t, G_c = sum_t b_t; see `rules`."""

    def normalised(x):
        return F.group_norm(x, layer.num_groups, eps=layer.eps)

    return affine(normalised, over_positions, inputs, output_grads, direction)


def instance_norm(layer, inputs, output_grads, direction):
    """Statistics of InstanceNorm1d/2d/3d; as `group_norm`.

    In eval mode it is on running statistics where it tracks them.
    """
    if any(x.ndim == ndim_without_samples(layer) for x in inputs):
        raise NotImplementedError("the first axis of its input is the channel")
    is_tracked = layer.track_running_stats and not layer.training

    def normalised(x):
        if not is_tracked:
            return F.instance_norm(x, eps=layer.eps)
        mean = layer.running_mean.to(x)
        variance = layer.running_var.to(x)
        return F.batch_norm(x, mean, variance, eps=layer.eps)

    return affine(normalised, over_positions, inputs, output_grads, direction)


def rms_norm(layer, inputs, output_grads, direction):
    """Statistics of RMSNorm over any trailing axes: G_w = sum_t b_t * x_t / rms(x_t).

    With `eps=None` it is the machine epsilon of the dtype that torch computes in, at least
    float32.
    """

    def normalised(x):
        return F.rms_norm(x, layer.normalized_shape, eps=layer.eps)

    reduced = over_leading_axes(layer)
    return affine(normalised, reduced, inputs, output_grads, direction)
