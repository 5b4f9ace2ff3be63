"""Bags of embeddings: a token's row collects its weight in the bag times the bag's gradient."""

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
    b = torch.stack(output_grads, dim=1)  # (n, use, feature)
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
    use = torch.cat([torch.full_like(bag[0], u) for u, bag in enumerate(bags)])
    shares = torch.cat(
        [_shares(layer, bag, weight, b) for bag, weight in zip(bags, weights)], dim=1
    )
    s = b.new_zeros(len(owner) * n_uses)
    s.index_add_(0, (row * n_uses + use).flatten(), shares.flatten())
    s = s.unflatten(0, (-1, n_uses))
    gram = b @ b.transpose(1, 2)
    squares = sum(s[:, u] * inner(s, gram[owner, u]) for u in range(n_uses))
    # A sum may round to just below zero.
    sq_norm = b.new_zeros(n).index_add_(0, owner, squares).clamp_min(0)
    if v is None:
        return sq_norm, None
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
    return sq_norm, inner(torch.stack(outputs, dim=1).flatten(1), b.flatten(1))


def _shares(layer, bag, weight, b):
    """Return the weight (n, t) of each position in its bag; padding has none."""
    if layer.padding_idx is None:
        counts = torch.ones_like(bag, dtype=torch.bool)
    else:
        counts = bag != layer.padding_idx
    if weight is not None:
        return weight.to(b) * counts
    if layer.mode == "mean":
        return counts.to(b) / counts.sum(1, keepdim=True).clamp_min(1)
    return counts.to(b)


def _maxima(layer, bags, b, v):
    """Return the statistics of the mode "max".

    Feature d of b_u goes to the row that was the largest there.
    """
    picks = torch.stack([_picks(layer, bag) for bag in bags], dim=1)
    if layer.padding_idx is not None:
        is_empty = [(bag == layer.padding_idx).all(1) for bag in bags]
        b = b.masked_fill(torch.stack(is_empty, dim=1)[..., None], 0)
    n_uses = len(bags)
    same = (
        inner(b[:, u] * (picks[:, u] == picks[:, w]), b[:, w])
        for u in range(n_uses)
        for w in range(n_uses)
    )
    sq_norm = sum(same).clamp_min(0)
    if v is None:
        return sq_norm, None
    of_picks = v.gather(0, picks.flatten(0, 1)).reshape(len(b), -1)
    return sq_norm, inner(of_picks, b.flatten(1))


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
