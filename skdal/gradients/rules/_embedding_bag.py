"""Bags of embeddings: a token's row collects its weight in the bag times the bag's gradient."""

import itertools

import torch
import torch.nn.functional as F

from skdal.gradients.rules._forms import inner, numbered


def embedding_bag(layer, inputs, output_grads, direction):
    """Statistics of EmbeddingBag on bags (n, t), one per sample; see `rules`.

    An entry of `inputs` is the bags, or the layer's positional inputs (bags, offsets,
    per-sample weights) up to the last that is given.
    """
    calls = [entry if isinstance(entry, tuple) else (entry,) for entry in inputs]
    bags = [call[0] for call in calls]
    if any(bag.ndim != 2 or bag.is_nested for bag in bags):
        raise NotImplementedError(
            "its bags are cut from one long input, whose first axis is not the sample"
        )
    # The axes are sample, use and feature.
    b = torch.stack(output_grads, dim=1)
    v = direction["weight"]
    if layer.mode == "max":
        return _maxima(layer, bags, b, v)
    weights = [call[2] if len(call) > 2 else None for call in calls]
    return _sums(layer, bags, weights, b, v)


def _sums(layer, bags, weights, b, v):
    """Return the statistics of the modes "sum" and "mean".

    G_k = sum_u s_uk b_u for row k, where s_uk is the weight of token k in the bag of use u,
    so ||G||^2 = sum_k sum_uu' s_uk s_u'k (b_u . b_u'): nothing of length (token, feature) is
    made.
    """
    n, n_uses, _ = b.shape
    row, owner = numbered(torch.cat(bags, dim=1), layer.num_embeddings)
    uses = [torch.full_like(bag[0], u) for u, bag in enumerate(bags)]
    entry = row * n_uses + torch.cat(uses)
    pairs = zip(bags, weights)
    shares = [_shares(layer, bag, weight, b) for bag, weight in pairs]
    shares = torch.cat(shares, dim=1)
    s = b.new_zeros(len(owner) * n_uses)
    s.index_add_(0, entry.flatten(), shares.flatten())
    s = s.unflatten(0, (-1, n_uses))
    gram = b @ b.transpose(1, 2)
    squares = 0
    for u in range(n_uses):
        squares = squares + s[:, u] * inner(s, gram[owner, u])
    sq_norm = b.new_zeros(n)
    sq_norm.index_add_(0, owner, squares)
    # A sum may round to just below zero.
    sq_norm.clamp_min_(0)
    if v is None:
        return sq_norm, None
    return sq_norm, _dot_of_sums(layer, bags, weights, b, v)


def _dot_of_sums(layer, bags, weights, b, v):
    """Return G . V (n,): what the layer gives with the weight V, times b."""
    outputs = [
        F.embedding_bag(
            bag,
            v,
            mode=layer.mode,
            padding_idx=layer.padding_idx,
            per_sample_weights=weight,
        )
        for bag, weight in zip(bags, weights)
    ]
    outputs = torch.stack(outputs, dim=1)
    return inner(outputs.flatten(1), b.flatten(1))


def _shares(layer, bag, weight, b):
    """Return the weight (n, t) of each position in its bag; padding has none."""
    if layer.padding_idx is None:
        counts = torch.ones_like(bag, dtype=torch.bool)
    else:
        counts = bag != layer.padding_idx
    if weight is not None:
        return weight.to(b) * counts
    if layer.mode == "mean":
        lengths = counts.sum(1, keepdim=True)
        return counts.to(b) / lengths.clamp_min(1)
    return counts.to(b)


def _maxima(layer, bags, b, v):
    """Return the statistics of the mode "max".

    Feature d of b_u goes to the row that was the largest there.
    """
    picks = torch.stack([_picks(layer, bag) for bag in bags], dim=1)
    if layer.padding_idx is not None:
        is_empty = [(bag == layer.padding_idx).all(1) for bag in bags]
        is_empty = torch.stack(is_empty, dim=1)
        b = b.masked_fill(is_empty[..., None], 0)
    n_uses = len(bags)
    sq_norm = 0
    for u, w in itertools.product(range(n_uses), repeat=2):
        is_same = picks[:, u] == picks[:, w]
        sq_norm = sq_norm + inner(b[:, u] * is_same, b[:, w])
    sq_norm = sq_norm.clamp_min(0)
    if v is None:
        return sq_norm, None
    of_picks = v.gather(0, picks.flatten(0, 1))
    dot = inner(of_picks.reshape(len(b), -1), b.flatten(1))
    return sq_norm, dot


def _picks(layer, bag):
    """Return the row (n, feature) that was the largest, as torch picks among equals."""
    n, t = bag.shape
    offsets = torch.arange(0, n * t, t, device=bag.device, dtype=bag.dtype)
    *_, picks = torch.embedding_bag(
        layer.weight,
        bag.flatten(),
        offsets,
        scale_grad_by_freq=False,
        mode=2,
        sparse=False,
        per_sample_weights=None,
        include_last_offset=False,
        padding_idx=layer.padding_idx,
    )
    # It is below zero in an empty bag.
    return picks.long().clamp_min(0)
