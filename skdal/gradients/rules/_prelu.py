"""PReLU: y = max(x, 0) + w * min(x, 0), one w for all values or one per channel."""

from skdal.gradients.rules._forms import explicit, over_positions


def prelu(layer, inputs, output_grads, direction):
    """Statistics of PReLU: G_w = sum_t b_t * min(x_t, 0); see `rules`.

    The sum is over positions, or over all values.
    """
    parts = [_gradient(layer, x, b) for x, b in zip(inputs, output_grads)]
    return explicit({"weight": sum(parts)}, direction)


def _gradient(layer, x, b):
    values = b * x.clamp_max(0)
    if layer.num_parameters == 1:
        return values.reshape(len(x), -1).sum(1, keepdim=True)
    return over_positions(values)
