"""Embeddings: a token's row collects the output gradients of all its positions."""

import torch

from skdal.gradients.rules._forms import numbered


def embedding(layer, inputs, output_grads, direction):
    """Statistics of Embedding with a padding index and repeated tokens; see `rules`.

    ||G||^2 = sum over tokens of the squared length of the sum of their output gradients. The
    tokens of each sample are numbered by sorting, so nothing of the vocabulary's size is
    made.
    """
    n = len(inputs[0])
    width = layer.embedding_dim
    tokens = [x.reshape(n, -1) for x in inputs]
    tokens = torch.cat(tokens, dim=1)
    b = [grad.reshape(n, -1, width) for grad in output_grads]
    b = torch.cat(b, dim=1)
    if layer.padding_idx is not None:
        is_padding = tokens == layer.padding_idx
        b = b.masked_fill(is_padding[..., None], 0)
    row, owner = numbered(tokens, layer.num_embeddings)
    gradient = b.new_zeros(len(owner), width)
    gradient.index_add_(0, row.flatten(), b.flatten(0, 1))
    sq_norm = b.new_zeros(n)
    sq_norm.index_add_(0, owner, gradient.square().sum(1))
    v = direction["weight"]
    if v is None:
        return sq_norm, None
    dot = (b * v[tokens]).sum((1, 2))
    return sq_norm, dot
