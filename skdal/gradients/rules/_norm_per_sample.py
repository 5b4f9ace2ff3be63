"""Normalisation by each sample's own statistics: y = w * xhat + c, the same in train and eval mode."""

import torch.nn.functional as F

from skdal.gradients.rules._norm import _affine
from skdal.utils import ndim_without_samples


def group_norm(layer, inputs, output_grads, direction):
    """Statistics of GroupNorm with any number of position axes: G_w = sum_t b_t * xhat_t, G_c = sum_t b_t."""

    def normalised(x):
        return F.group_norm(x, layer.num_groups, eps=layer.eps)

    return _affine(normalised, _channels, inputs, output_grads, direction)


def instance_norm(layer, inputs, output_grads, direction):
    """Statistics of InstanceNorm1d/2d/3d, in eval mode on running statistics where it tracks them; as `group_norm`."""
    if any(x.ndim == ndim_without_samples(layer) for x in inputs):
        raise NotImplementedError("the first axis of its input is the channel")
    tracked = layer.track_running_stats and not layer.training

    def normalised(x):
        if tracked:
            return F.batch_norm(
                x, layer.running_mean.to(x), layer.running_var.to(x), eps=layer.eps
            )
        return F.instance_norm(x, eps=layer.eps)

    return _affine(normalised, _channels, inputs, output_grads, direction)


def rms_norm(layer, inputs, output_grads, direction):
    """Statistics of RMSNorm over any trailing axes: G_w = sum_t b_t * x_t / rms(x_t).

    With `eps=None` it is the machine epsilon of the dtype that torch computes in, at least float32.
    """
    n_axes = len(layer.normalized_shape)

    def normalised(x):
        return F.rms_norm(x, layer.normalized_shape, eps=layer.eps)

    def reduced(y):
        return y.flatten(1, -n_axes - 1).sum(1) if y.ndim > n_axes + 1 else y

    return _affine(normalised, reduced, inputs, output_grads, direction)


def _channels(y):
    return y.flatten(2).sum(2) if y.ndim > 2 else y
