"""Embeddings: a token's row collects the output gradients of all its positions in the sample."""

import torch


def embedding(layer, inputs, output_grads, direction):
    """Statistics of Embedding with a padding index and repeated tokens; see `rules`.

    ||G||^2 = sum over tokens of the squared length of the sum of their output gradients. The
    tokens of each sample are numbered by sorting, so nothing of the vocabulary's size is made.
    """
    n = len(inputs[0])
    tokens = torch.cat([x.reshape(n, -1) for x in inputs], dim=1)
    b = torch.cat([y.reshape(n, -1, layer.embedding_dim) for y in output_grads], dim=1)
    if layer.padding_idx is not None:
        b = b.masked_fill((tokens == layer.padding_idx)[..., None], 0)
    sample = torch.arange(n, device=tokens.device)[:, None]
    unique, row = torch.unique(
        sample * layer.num_embeddings + tokens, return_inverse=True
    )
    gradient = b.new_zeros(len(unique), layer.embedding_dim).index_add_(
        0, row.flatten(), b.flatten(0, 1)
    )
    owner = torch.div(unique, layer.num_embeddings, rounding_mode="floor")
    sq_norm = b.new_zeros(n).index_add_(0, owner, gradient.square().sum(1))
    v = direction["weight"]
    return sq_norm, None if v is None else (b * v[tokens]).sum((1, 2))
