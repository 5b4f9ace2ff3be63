"""The forms that rules share. Letters: n sample, g group, t position, p output, d input."""

import math
import threading

import torch

# Values of the temporaries of a chunk: they stay in a processor's cache; a CUDA device wants few, large kernels.
_CHUNK_VALUES = {"cpu": 2**20, "cuda": 2**26}
_KEPT_VALUES = 2**20
_KEPT = threading.local()  # by dtype


def explicit(gradients, direction):
    """Return (sq_norm, dot) from per-sample gradients (n, *shape) of small parameters, by name."""
    flat = {name: g.reshape(len(g), -1) for name, g in gradients.items()}
    sq_norm = sum(lengths(g) for g in flat.values())
    if any(direction[name] is None for name in flat):
        return sq_norm, None
    return sq_norm, sum(g @ direction[name].flatten() for name, g in flat.items())


def gradient_form(a, b, v):
    """Return (sq_norm, dot) by forming G = sum_t b_t a_t^T (n, g, p, d); the inner product is then free.

    Parameters
    ----------
    a : tensor (n, g, d, t)
        Inputs.
    b : tensor (n, g, p, t)
        Output gradients.
    v : tensor (g, p, d) or None
        Direction.
    """
    gradient = (b @ a.transpose(2, 3)).flatten(1)
    return lengths(gradient), None if v is None else gradient @ v.flatten()


def gram_form(a, b):
    """Return sq_norm = sum_tt' (a_t . a_t')(b_t . b_t'), nothing of the weight's size made; as above."""
    return pair_sum(a.transpose(2, 3) @ a, b.transpose(2, 3) @ b)


def pair_sum(a, b):
    """Return sum over the entries of two Gram matrices' product (n, ...), as a squared norm."""
    return inner(a.flatten(1), b.flatten(1)).clamp_min(
        0
    )  # a sum of products may round to just below zero


def lengths(x):
    """Return the squared length of each row of x (n, l), without a temporary."""
    return torch.linalg.vector_norm(x, dim=1).square()


def inner(x, y):
    """Return the inner product of each row of x and y (n, l)."""
    parts = [
        torch.linalg.vecdot(x[rows], y[rows]) for rows in row_chunks(x, x.shape[1])
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def row_chunks(x, values_per_row):
    """Yield slices of the samples of x such that a chunk's temporaries stay small."""
    rows = max(1, _CHUNK_VALUES.get(x.device.type, 2**19) // max(1, values_per_row))
    for start in range(0, len(x), rows):
        yield slice(start, start + rows)


def scratch(like, shape):
    """Return memory for a chunk's temporary, which the next call in this thread may overwrite.

    Memory fresh from the system costs more than filling it; CUDA's allocator keeps its own.
    """
    n_values, kept = math.prod(shape), vars(_KEPT)
    if like.device.type != "cpu" or n_values > _KEPT_VALUES:
        return like.new_empty(shape)
    if like.dtype not in kept:
        kept[like.dtype] = like.new_empty(_KEPT_VALUES)
    return kept[like.dtype][:n_values].view(shape)


def sample_first(x, n_samples):
    """Return x (n * k, ..., d), a sample's k rows together, as (n, t, d)."""
    if len(x) % n_samples:
        raise NotImplementedError("the rows are no multiple of the samples")
    return x.reshape(n_samples, -1, x.shape[-1])


def total(parts):
    """Add the (sq_norm, dot) of several parameters."""
    sq_norms, dots = zip(*parts)
    return sum(sq_norms), None if dots[0] is None else sum(dots)


def concatenated(parts):
    """Join the (sq_norm, dot) of consecutive samples."""
    sq_norms, dots = zip(*parts)
    return torch.cat(sq_norms), None if dots[0] is None else torch.cat(dots)
