"""Linear layers, with any number of position axes between sample and feature."""

import torch
import torch.nn.functional as F

from skdal.gradients.rules._cost import cheapest, dense_costs
from skdal.gradients.rules._forms import (
    concatenated,
    explicit,
    gradient_form,
    gram_form,
    inner,
    one_position,
    row_chunks,
    total,
)


def linear(layer, inputs, output_grads, direction):
    """Statistics of y_t = W a_t + c: G_W = sum_t b_t a_t^T, G_c = sum_t b_t; see `rules`."""
    a, b = _positions(inputs), _positions(output_grads)
    parts = []
    if "weight" in direction:
        parts.append(matrix_statistics(a, b, direction["weight"]))
    if "bias" in direction:
        parts.append(explicit({"bias": b.sum(1)}, direction))
    return total(parts)


def matrix_statistics(a, b, v):
    """Return (sq_norm, dot) of G = sum_t b_t a_t^T from a (n, t, d), b (n, t, p) and v (p, d) or None."""
    t, d, p = *a.shape[1:], b.shape[2]
    return in_form(cheapest(dense_costs(t, d, p, v is not None)) if t > 1 else "gram", a, b, v)


def in_form(form, a, b, v):
    """Return `matrix_statistics` by one of the forms "gradient", "gram"."""
    (n, t, d), p = a.shape, b.shape[2]
    if form == "gradient":
        a, b, v = a.transpose(1, 2)[:, None], b.transpose(1, 2)[:, None], None if v is None else v[None]
        return concatenated([gradient_form(a[rows], b[rows], v) for rows in row_chunks(a, p * d)])
    dot = None if v is None else inner(F.linear(a, v).reshape(n, -1), b.reshape(n, -1))
    if t == 1:
        return one_position(a.flatten(1), b.flatten(1)), dot
    a, b = a.transpose(1, 2)[:, None], b.transpose(1, 2)[:, None]
    return torch.cat([gram_form(a[rows], b[rows]) for rows in row_chunks(a, 2 * t * t)]), dot


def _positions(tensors):
    """Return tensors (n, ..., k) of several uses as one (n, t, k)."""
    flat = [x.flatten(1, -2) if x.ndim > 2 else x[:, None] for x in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
