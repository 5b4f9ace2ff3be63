"""Weights that a module hands to `torch.nn.functional.linear` itself: attention, above all.

No layer's hook sees these calls, so they are caught as functions while the module runs.
"""

import inspect

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_ATTENTION = inspect.signature(F.multi_head_attention_forward)


class FunctionalLinears(TorchFunctionMode):
    """Tells of each call of `linear` while a block runs.

    It also keeps torch from taking the fused paths of transformers, which call no layer.

    Parameters
    ----------
    record : callable
        (weight, bias, x, output) -> output or None: what to give in place of `output`.

    Attributes
    ----------
    met_attention : bool
        Whether torch's attention was called.
    """

    def __init__(self, record):
        super().__init__()
        self.met_attention = False
        self._record = record

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Run `func` and tell."""
        kwargs = kwargs or {}
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            self.met_attention = True
            bound = _ATTENTION.bind(*args, **kwargs)
            bound.apply_defaults()
            if _is_known(bound.arguments):
                return self._attention(bound.arguments)
        return func(*args, **kwargs)

    def _linear(self, input, weight, bias=None):
        output = F.linear(input, weight, bias)
        watched = self._record(weight, bias, input, output)
        return output if watched is None else watched

    def _attention(self, a):
        """Compute what `multi_head_attention_forward` does, of whose arguments `a` is a dict.

        Its own calls of `linear` cannot be caught.
        """
        q, k, v = self._projected(a)
        n_samples, length, _ = q.shape
        k = _extended(k, a["bias_k"], a["add_zero_attn"])
        v = _extended(v, a["bias_v"], a["add_zero_attn"])
        n_heads = a["num_heads"]
        q = _by_head(q, n_heads)
        k = _by_head(k, n_heads)
        v = _by_head(v, n_heads)
        mask = _additive_mask(a["attn_mask"], a["key_padding_mask"], q, k)
        weights = None
        if a["need_weights"]:
            weights = _attention_weights(q, k, mask)
            mixed = weights @ v
            weights = weights.mean(1) if a["average_attn_weights"] else weights
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(n_samples, length, -1)
        output = self._linear(mixed, a["out_proj_weight"], a["out_proj_bias"])
        return output.transpose(0, 1), weights

    def _projected(self, a):
        """Return queries, keys and values (n, t, embedding)."""
        query = a["query"].transpose(0, 1)
        key = a["key"].transpose(0, 1)
        value = a["value"].transpose(0, 1)
        if a["use_separate_proj_weight"]:
            return self._separately_projected(query, key, value, a)
        # The weight stays one, whole, also where only some of its rows are needed.
        q, k, v = self._packed(query, a)
        if a["key"] is not a["query"]:
            _, k, v = self._packed(key, a)
        if a["value"] is not a["key"]:
            _, _, v = self._packed(value, a)
        return q, k, v

    def _packed(self, x, a):
        projected = self._linear(x, a["in_proj_weight"], a["in_proj_bias"])
        return projected.chunk(3, dim=-1)

    def _separately_projected(self, query, key, value, a):
        projected = [
            self._linear(query, a["q_proj_weight"]),
            self._linear(key, a["k_proj_weight"]),
            self._linear(value, a["v_proj_weight"]),
        ]
        bias = a["in_proj_bias"]
        if bias is None:
            return projected
        size = len(bias) // 3
        thirds = [bias[i * size : (i + 1) * size] for i in range(3)]
        return [x + third for x, third in zip(projected, thirds)]


def _is_known(a):
    is_dropping = a["training"] and a["dropout_p"]
    is_static = a["static_k"] is not None or a["static_v"] is not None
    return a["query"].ndim == 3 and not is_static and not is_dropping


def _by_head(x, n_heads):
    return x.unflatten(2, (n_heads, -1)).transpose(1, 2)


def _attention_weights(q, k, mask):
    scaled = q * q.shape[-1] ** -0.5
    scores = scaled @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1)


def _extended(x, bias, with_zeros):
    """Return keys or values (n, t, embedding) with positions for a learned one and zeros."""
    parts = [x]
    if bias is not None:
        parts.append(bias.repeat(len(x), 1, 1))
    if with_zeros:
        n_samples, _, width = x.shape
        parts.append(x.new_zeros(n_samples, 1, width))
    return torch.cat(parts, dim=1) if len(parts) > 1 else x


def _additive_mask(attn_mask, key_padding_mask, q, k):
    """Return the sum of both masks, which broadcasts to (n, heads, queries, keys), or None."""
    n_samples, n_heads, length, _ = q.shape
    masks = []
    if attn_mask is not None:
        if attn_mask.ndim != 2:
            attn_mask = attn_mask.reshape(n_samples, n_heads, length, -1)
        masks.append(_additive(attn_mask, q))
    if key_padding_mask is not None:
        masks.append(_additive(key_padding_mask[:, None, None], q))
    if not masks:
        return None
    n_more = k.shape[2] - masks[0].shape[-1]
    return F.pad(sum(masks), (0, n_more))


def _additive(mask, like):
    if mask.dtype != torch.bool:
        return mask
    return like.new_zeros(mask.shape).masked_fill(mask, -torch.inf)
