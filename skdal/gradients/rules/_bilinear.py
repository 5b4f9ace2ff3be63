"""Bilinear layers: y_t = x1_t^T W x2_t + c, of two inputs."""

import torch
import torch.nn.functional as F

from skdal.gradients.rules._forms import explicit, inner, lengths, row_chunks, total


def bilinear(layer, inputs, output_grads, direction):
    """Statistics of Bilinear; an entry of `inputs` is (x1, x2).

    G_W = sum_t b_t (x) x1_t (x) x2_t is a sum of outer products, so that its squared length is
    sum_tt' (b_t . b_t')(x1_t . x1_t')(x2_t . x2_t'); G_c = sum_t b_t.
    """
    x1, x2, b = (_positions(tensors) for tensors in (*zip(*inputs), output_grads))
    parts = []
    if "weight" in direction:
        parts.append(
            (_sq_norm(x1, x2, b), _inner_product(x1, x2, b, direction["weight"]))
        )
    if "bias" in direction:
        parts.append(explicit({"bias": b.sum(1)}, direction))
    return total(parts)


def _sq_norm(x1, x2, b):
    n, t, _ = b.shape
    if t == 1:
        return (
            lengths(x1.reshape(n, -1))
            * lengths(x2.reshape(n, -1))
            * lengths(b.reshape(n, -1))
        )
    return torch.cat(
        [_gram_form(x1[rows], x2[rows], b[rows]) for rows in row_chunks(b, 3 * t * t)]
    )


def _gram_form(*factors):
    first, second, third = (x @ x.transpose(1, 2) for x in factors)
    return inner((first * second).flatten(1), third.flatten(1)).clamp_min(
        0
    )  # may round to just below zero


def _inner_product(x1, x2, b, v):
    return None if v is None else inner(F.bilinear(x1, x2, v).flatten(1), b.flatten(1))


def _positions(tensors):
    """Return tensors (n, ..., k) of several uses as one (n, t, k)."""
    return torch.cat(
        [x.flatten(1, -2) if x.ndim > 2 else x[:, None] for x in tensors], dim=1
    )
