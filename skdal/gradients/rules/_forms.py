"""The forms that rules share.

Letters: n sample, g group, t position, p output, d input.
"""

import math
import threading

import torch

# A chunk's temporaries have so many values: they stay in a processor's cache, and a CUDA
# device wants few, large kernels.
_CHUNK_VALUES = {"cpu": 2**20, "cuda": 2**26}
_CHUNK_VALUES_ELSEWHERE = 2**19

_SCRATCH_VALUES = 2**20
_scratch_by_dtype = threading.local()


def explicit(gradients, direction):
    """Return (sq_norm, dot) from per-sample gradients (n, *shape) of parameters, by name."""
    flat = {name: g.reshape(len(g), -1) for name, g in gradients.items()}
    sq_norm = sum(lengths(g) for g in flat.values())
    if any(direction[name] is None for name in flat):
        return sq_norm, None
    dot = sum(g @ direction[name].flatten() for name, g in flat.items())
    return sq_norm, dot


def gradient_form(a, b, v):
    """Return (sq_norm, dot) by forming G = sum_t b_t a_t^T (n, g, p, d).

    The inner product is then free.

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
    dot = None if v is None else gradient @ v.flatten()
    return lengths(gradient), dot


def gram_form(a, b):
    """Return sq_norm = sum_tt' (a_t . a_t')(b_t . b_t'), of a and b as above.

    Nothing of the weight's size is made.
    """
    a_gram = a.transpose(2, 3) @ a
    b_gram = b.transpose(2, 3) @ b
    return pair_sum(a_gram, b_gram)


def pair_sum(a, b):
    """Return sum over the entries of two Gram matrices' product (n, ...), a squared norm."""
    # A sum of products may round to just below zero.
    pairs = inner(a.flatten(1), b.flatten(1))
    return pairs.clamp_min(0)


def lengths(x):
    """Return the squared length of each row of x (n, l), without a temporary."""
    return torch.linalg.vector_norm(x, dim=1).square()


def inner(x, y):
    """Return the inner product of each row of x and y (n, l)."""
    parts = []
    for rows in row_chunks(x, x.shape[1]):
        parts.append(torch.linalg.vecdot(x[rows], y[rows]))
    return joined(parts)


def row_chunks(x, values_per_row):
    """Yield slices of the samples of x such that a chunk's temporaries stay small."""
    n_values = _CHUNK_VALUES.get(x.device.type, _CHUNK_VALUES_ELSEWHERE)
    size = max(1, n_values // max(1, values_per_row))
    for start in range(0, len(x), size):
        yield slice(start, start + size)


def scratch(like, shape):
    """Return memory for a chunk's temporary, which the next call may overwrite.

    It is this thread's own. Memory fresh from the system costs more than filling it; CUDA's
    allocator keeps its own.
    """
    n_values = math.prod(shape)
    if like.device.type != "cpu" or n_values > _SCRATCH_VALUES:
        return like.new_empty(shape)
    kept = vars(_scratch_by_dtype)
    if like.dtype not in kept:
        kept[like.dtype] = like.new_empty(_SCRATCH_VALUES)
    return kept[like.dtype][:n_values].view(shape)


def positions(tensors):
    """Return tensors (n, ..., k) of several uses as one (n, t, k)."""
    flat = [x.flatten(1, -2) if x.ndim > 2 else x[:, None] for x in tensors]
    return joined(flat, dim=1)


def sample_first(x, n_samples):
    """Return x (n * k, ..., d), a sample's k rows together, as (n, t, d)."""
    if len(x) % n_samples:
        raise NotImplementedError("the rows are not a multiple of the samples")
    return x.reshape(n_samples, -1, x.shape[-1])


def over_positions(y):
    """Return the sums (n, channel) of y (n, channel, ...)."""
    return y.flatten(2).sum(2) if y.ndim > 2 else y


def joined(tensors, dim=0):
    """Return tensors as one; a single one is not copied."""
    if len(tensors) == 1:
        return tensors[0]
    return torch.cat(tensors, dim=dim)


def total(parts):
    """Add the (sq_norm, dot) of several parameters."""
    sq_norms, dots = zip(*parts)
    dot = None if dots[0] is None else sum(dots)
    return sum(sq_norms), dot


def concatenated(parts):
    """Join the (sq_norm, dot) of consecutive samples."""
    sq_norms, dots = zip(*parts)
    dot = None if dots[0] is None else torch.cat(dots)
    return torch.cat(sq_norms), dot


def numbered(tokens, n_tokens):
    """Number the tokens (n, t) of each sample, the same of one sample alike.

    Returns
    -------
    row : tensor (n, t)
        The number of each position's token.
    owner : tensor (n_numbers,)
        The sample of each number.
    """
    sample = torch.arange(len(tokens), device=tokens.device)[:, None]
    unique, row = torch.unique(sample * n_tokens + tokens, return_inverse=True)
    return row, torch.div(unique, n_tokens, rounding_mode="floor")
