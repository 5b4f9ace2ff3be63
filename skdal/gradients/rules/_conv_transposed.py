"""Transposed convolutions: convolutions that read the output's gradient."""

from skdal.gradients.rules._conv import bias_statistics, weight_statistics
from skdal.gradients.rules._forms import total
from skdal.gradients.rules._geometry import Geometry


def transposed_convolution(layer, inputs, output_grads, direction):
    """Statistics of ConvTranspose1d/2d/3d; see `rules`.

    Its weight's gradient is that of the convolution with the same weight whose input is the
    output's gradient and whose output's gradient is the input.
    """
    parts = []
    if "weight" in direction:
        geometry = Geometry(
            layer.kernel_size,
            layer.stride,
            layer.dilation,
            layer.padding,
            layer.groups,
        )
        # The second of two inputs is the output's size.
        inputs = [x[0] if isinstance(x, tuple) else x for x in inputs]
        parts.append(
            weight_statistics(geometry, output_grads, inputs, direction["weight"])
        )
    if "bias" in direction:
        parts.append(bias_statistics(output_grads, direction))
    return total(parts)
