"""Transposed convolutions: convolutions that read the output's gradient."""

from skdal.gradients.rules._conv import Geometry, weight_statistics
from skdal.gradients.rules._forms import explicit, total


def transposed_convolution(layer, inputs, output_grads, direction):
    """Statistics of ConvTranspose1d/2d/3d: a convolution that reads the output's gradient; see `rules`.

    Its weight's gradient is that of the convolution with the same weight whose input is the output's
    gradient and whose output's gradient is the input.
    """
    parts = []
    if "weight" in direction:
        geometry = Geometry(
            layer.kernel_size, layer.stride, layer.dilation, layer.padding, layer.groups
        )
        inputs = [
            x[0] if isinstance(x, tuple) else x for x in inputs
        ]  # the other is the output's size
        parts.append(
            weight_statistics(geometry, output_grads, inputs, direction["weight"])
        )
    if "bias" in direction:
        parts.append(
            explicit(
                {"bias": sum(y.flatten(2).sum(2) for y in output_grads)}, direction
            )
        )
    return total(parts)
