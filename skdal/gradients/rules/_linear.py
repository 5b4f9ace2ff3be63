"""Linear layers, with any number of position axes between sample and feature."""

import torch

from skdal.gradients.rules._forms import explicit, outer, total


def linear(layer, inputs, output_grads, direction):
    """Statistics of y_t = W a_t + c: G_W = sum_t b_t a_t^T, G_c = sum_t b_t; see `rules`."""
    a = torch.cat([x.flatten(1, -2) if x.ndim > 2 else x[:, None] for x in inputs], dim=1)
    b = torch.cat([y.flatten(1, -2) if y.ndim > 2 else y[:, None] for y in output_grads], dim=1)
    parts = []
    if "weight" in direction:
        v = direction["weight"]
        parts.append(outer(a[:, None], b[:, None], None if v is None else v[None]))
    if "bias" in direction:
        parts.append(explicit({"bias": b.sum(1)}, direction))
    return total(parts)
