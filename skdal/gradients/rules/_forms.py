"""The forms that rules share. Letters: n sample, g group, t position, p output, d input."""

import torch

_CHUNK_VALUES = 2**20  # temporaries stay in the processor's cache


def explicit(gradients, direction):
    """Return (sq_norm, dot) from per-sample gradients (n, *shape) of small parameters, by name."""
    flat = {name: g.flatten(1) for name, g in gradients.items()}
    sq_norm = sum(g.square().sum(1) for g in flat.values())
    if any(direction[name] is None for name in flat):
        return sq_norm, None
    return sq_norm, sum(g @ direction[name].flatten() for name, g in flat.items())


def outer(a, b, v):
    """Return (sq_norm, dot) of the gradient G = sum_t b_t a_t^T of a matrix.

    Parameters
    ----------
    a : tensor (n, g, t, d)
        Inputs.
    b : tensor (n, g, t, p)
        Output gradients.
    v : tensor (g, p, d) or None
        Direction.

    Notes
    -----
    G itself costs t*p*d multiplications and makes the inner product free; the Gram form
    ||G||^2 = sum_tt' (a_t . a_t')(b_t . b_t') costs t*t*(p + d). For one position the latter is
    ||a||^2 ||b||^2.
    """
    n, g, t, d = a.shape
    p = b.shape[3]
    form, values = (_gradient_form, p * d) if p * d <= t * (p + d) else (_gram_form, 2 * t * t)
    return concatenated([form(a[rows], b[rows], v) for rows in row_chunks(n, g * values)])


def _gradient_form(a, b, v):
    gradient = b.transpose(2, 3) @ a
    return gradient.square().sum((1, 2, 3)), None if v is None else (gradient * v).sum((1, 2, 3))


def _gram_form(a, b, v):
    gram = (a @ a.transpose(2, 3)) * (b @ b.transpose(2, 3))
    sq_norm = gram.sum((1, 2, 3)).clamp_min(0)  # a sum of products may round to just below zero
    return sq_norm, None if v is None else ((a @ v.transpose(1, 2)) * b).sum((1, 2, 3))


def row_chunks(n, values_per_row):
    """Yield slices of n samples such that a chunk's temporaries stay small."""
    rows = max(1, _CHUNK_VALUES // max(1, values_per_row))
    for start in range(0, n, rows):
        yield slice(start, start + rows)


def total(parts):
    """Add the (sq_norm, dot) of several parameters."""
    sq_norms, dots = zip(*parts)
    return sum(sq_norms), None if dots[0] is None else sum(dots)


def concatenated(parts):
    """Join the (sq_norm, dot) of consecutive samples."""
    sq_norms, dots = zip(*parts)
    return torch.cat(sq_norms), None if dots[0] is None else torch.cat(dots)
