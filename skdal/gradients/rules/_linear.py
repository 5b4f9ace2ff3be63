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
    positions,
    row_chunks,
    sample_first,
    total,
)


def linear(layer, inputs, output_grads, direction):
    """Statistics of y_t = W a_t + c: G_W = sum_t b_t a_t^T, G_c = sum_t b_t; see `rules`."""
    if len(inputs) == 1 and inputs[0].ndim == 2:
        return _one_position(inputs[0], output_grads[0], direction)
    a = positions(inputs)
    b = positions(output_grads)
    parts = []
    if "weight" in direction:
        parts.append(matrix_statistics(a, b, direction["weight"]))
    if "bias" in direction:
        parts.append(explicit({"bias": b.sum(1)}, direction))
    return total(parts)


def functional_linear(layer, inputs, output_grads, direction):
    """Statistics of calls of `torch.nn.functional.linear`; an input is (x, n_samples)."""
    a = [sample_first(x, n_samples) for x, n_samples in inputs]
    b = [
        sample_first(grad, n_samples)
        for grad, (_, n_samples) in zip(output_grads, inputs)
    ]
    return linear(layer, a, b, direction)


def _one_position(a, b, direction):
    """G_W = b a^T and G_c = b: ||G||^2 = ||b||^2 (||a||^2 + 1), G . v = (V a + v_c) . b."""
    factor = lengths(a) if "weight" in direction else 0.0
    if "bias" in direction:
        factor = factor + 1.0
    sq_norm = lengths(b) * factor
    v = direction.get("weight")
    v_bias = direction.get("bias")
    if v is not None:
        return sq_norm, inner(F.linear(a, v, v_bias), b)
    if v_bias is not None:
        return sq_norm, b @ v_bias
    return sq_norm, None


def matrix_statistics(a, b, v):
    """Return (sq_norm, dot) of G = sum_t b_t a_t^T.

    Parameters
    ----------
    a : tensor (n, t, d)
        Inputs.
    b : tensor (n, t, p)
        Output gradients.
    v : tensor (p, d) or None
        Direction.
    """
    _, t, d = a.shape
    p = b.shape[2]
    costs = dense_costs(t, d, p, v is not None)
    return in_form(cheapest(costs), a, b, v)


def in_form(form, a, b, v):
    """Return `matrix_statistics` by one of the forms "gradient", "gram"."""
    n, t, d = a.shape
    p = b.shape[2]
    columns_a = a.transpose(1, 2)[:, None]
    columns_b = b.transpose(1, 2)[:, None]
    if form == "gradient":
        v = None if v is None else v[None]
        return concatenated(
            [
                gradient_form(columns_a[rows], columns_b[rows], v)
                for rows in row_chunks(columns_a, p * d)
            ]
        )
    dot = None
    if v is not None:
        outputs = F.linear(a, v)
        dot = inner(outputs.reshape(n, -1), b.reshape(n, -1))
    parts = [
        gram_form(columns_a[rows], columns_b[rows])
        for rows in row_chunks(columns_a, 2 * t * t)
    ]
    return torch.cat(parts), dot
