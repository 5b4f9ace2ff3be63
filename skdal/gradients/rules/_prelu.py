"""PReLU: y = max(x, 0) + w * min(x, 0), one w for all values or one a channel."""

from skdal.gradients.rules._forms import explicit


def prelu(layer, inputs, output_grads, direction):
    """Statistics of PReLU: G_w = sum_t b_t * min(x_t, 0), over positions or over all values; see `rules`."""
    return explicit(
        {"weight": sum(_gradient(layer, x, y) for x, y in zip(inputs, output_grads))},
        direction,
    )


def _gradient(layer, x, y):
    values = y * x.clamp_max(0)
    if layer.num_parameters == 1:
        return values.reshape(len(x), -1).sum(1, keepdim=True)
    return values.flatten(2).sum(2) if x.ndim > 2 else values
