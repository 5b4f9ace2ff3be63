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
    lengths,
    row_chunks,
    sample_first,
    total,
)


def linear(layer, inputs, output_grads, direction):
    """Statistics of y_t = W a_t + c: G_W = sum_t b_t a_t^T, G_c = sum_t b_t; see `rules`."""
    if len(inputs) == 1 and inputs[0].ndim == 2:
        return _one_position(inputs[0], output_grads[0], direction)
    a, b = _positions(inputs), _positions(output_grads)
    parts = []
    if "weight" in direction:
        parts.append(matrix_statistics(a, b, direction["weight"]))
    if "bias" in direction:
        parts.append(explicit({"bias": b.sum(1)}, direction))
    return total(parts)


def functional_linear(layer, inputs, output_grads, direction):
    """Statistics of calls of `torch.nn.functional.linear`; an input is (x, n_samples)."""
    a = [sample_first(x, n) for x, n in inputs]
    b = [sample_first(grad, n) for grad, (_, n) in zip(output_grads, inputs)]
    return linear(layer, a, b, direction)


def _one_position(a, b, direction):
    """G_W = b a^T and G_c = b: ||G||^2 = ||b||^2 (||a||^2 + 1), and G . v = (V a + v_c) . b."""
    factor = lengths(a) if "weight" in direction else 0.0
    sq_norm = lengths(b) * (factor + 1.0 if "bias" in direction else factor)
    v, v_bias = direction.get("weight"), direction.get("bias")
    if v is None:
        return sq_norm, None if v_bias is None else b @ v_bias
    return sq_norm, inner(F.linear(a, v, v_bias), b)


def matrix_statistics(a, b, v):
    """Return (sq_norm, dot) of G = sum_t b_t a_t^T from a (n, t, d), b (n, t, p) and v (p, d) or None."""
    t, d, p = *a.shape[1:], b.shape[2]
    return in_form(cheapest(dense_costs(t, d, p, v is not None)), a, b, v)


def in_form(form, a, b, v):
    """Return `matrix_statistics` by one of the forms "gradient", "gram"."""
    (n, t, d), p = a.shape, b.shape[2]
    if form == "gradient":
        a, b, v = (
            a.transpose(1, 2)[:, None],
            b.transpose(1, 2)[:, None],
            None if v is None else v[None],
        )
        return concatenated(
            [gradient_form(a[rows], b[rows], v) for rows in row_chunks(a, p * d)]
        )
    dot = None if v is None else inner(F.linear(a, v).reshape(n, -1), b.reshape(n, -1))
    a, b = a.transpose(1, 2)[:, None], b.transpose(1, 2)[:, None]
    return torch.cat(
        [gram_form(a[rows], b[rows]) for rows in row_chunks(a, 2 * t * t)]
    ), dot


def _positions(tensors):
    """Return tensors (n, ..., k) of several uses as one (n, t, k)."""
    flat = [x.flatten(1, -2) if x.ndim > 2 else x[:, None] for x in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
