"""Bilinear layers: y_t = x1_t^T W x2_t + c, of two inputs."""

import torch
import torch.nn.functional as F

from skdal.gradients.rules._forms import (
    explicit,
    inner,
    lengths,
    positions,
    row_chunks,
    total,
)


def bilinear(layer, inputs, output_grads, direction):
    """Statistics of Bilinear; an entry of `inputs` is (x1, x2).

    G_W = sum_t b_t (x) x1_t (x) x2_t is a sum of outer products, so that its squared length
    is sum_tt' (b_t . b_t')(x1_t . x1_t')(x2_t . x2_t'); G_c = sum_t b_t.
    """
    firsts, seconds = zip(*inputs)
    x1, x2, b = (
        positions(tensors).contiguous() for tensors in (firsts, seconds, output_grads)
    )
    parts = []
    if "weight" in direction:
        v = direction["weight"]
        sq_norm = _sq_norm(x1, x2, b)
        parts.append((sq_norm, _inner_product(x1, x2, b, v)))
    if "bias" in direction:
        parts.append(explicit({"bias": b.sum(1)}, direction))
    return total(parts)


def _sq_norm(x1, x2, b):
    n, t, _ = b.shape
    if t == 1:
        x1, x2, b = (x.reshape(n, -1) for x in (x1, x2, b))
        return lengths(x1) * lengths(x2) * lengths(b)
    parts = []
    for rows in row_chunks(b, 3 * t * t):
        parts.append(_gram_form(x1[rows], x2[rows], b[rows]))
    return torch.cat(parts)


def _gram_form(*factors):
    first, second, third = (x @ x.transpose(1, 2) for x in factors)
    product = first * second
    sq_norm = inner(product.flatten(1), third.flatten(1))
    # A sum may round to just below zero.
    return sq_norm.clamp_min(0)


def _inner_product(x1, x2, b, v):
    if v is None:
        return None
    outputs = F.bilinear(x1, x2, v)
    return inner(outputs.flatten(1), b.flatten(1))
