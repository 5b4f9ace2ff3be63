"""Weights that a module hands to `torch.nn.functional.linear` itself: attention, above all.

No layer's hook sees these calls, so they are caught as functions while the module runs.
"""

import inspect

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from skdal.gradients.rules import linear

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
        self._record, self.met_attention = record, False

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
        """Compute what `multi_head_attention_forward` does; its own calls of `linear` cannot be caught."""
        q, k, v = self._projected(a)
        n, length, heads = len(q), q.shape[1], a["num_heads"]
        k, v = (
            _extended(x, a[bias], a["add_zero_attn"])
            for x, bias in ((k, "bias_k"), (v, "bias_v"))
        )
        q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        mask = _additive_mask(a["attn_mask"], a["key_padding_mask"], q, k)
        weights = None
        if a["need_weights"]:
            scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            mixed = weights @ v
            weights = weights.mean(1) if a["average_attn_weights"] else weights
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(n, length, -1)
        return self._linear(mixed, a["out_proj_weight"], a["out_proj_bias"]).transpose(
            0, 1
        ), weights

    def _projected(self, a):
        """Return queries, keys and values (n, t, embedding)."""
        query, key, value = (
            a[name].transpose(0, 1) for name in ("query", "key", "value")
        )
        if a["use_separate_proj_weight"]:
            projections = zip((query, key, value), "qkv")
            maps = [
                self._linear(x, a[f"{name}_proj_weight"]) for x, name in projections
            ]
            return (
                maps
                if a["in_proj_bias"] is None
                else [x + c for x, c in zip(maps, _thirds(a["in_proj_bias"]))]
            )
        # The whole packed weight, of which only some rows are needed: so it stays one weight.
        packed = lambda x: self._linear(
            x, a["in_proj_weight"], a["in_proj_bias"]
        ).chunk(3, dim=-1)
        q, k, v = packed(query)
        if a["key"] is not a["query"]:
            _, k, v = packed(key)
        if a["value"] is not a["key"]:
            v = packed(value)[2]
        return q, k, v


def _is_known(a):
    is_dropping = a["training"] and a["dropout_p"]
    return (
        a["query"].ndim == 3
        and a["static_k"] is None
        and a["static_v"] is None
        and not is_dropping
    )


def _thirds(bias):
    size = len(bias) // 3
    return [bias[i * size : (i + 1) * size] for i in range(3)]


def _extended(x, bias, with_zeros):
    """Return keys or values (n, t, embedding) with one more position for a learned one, and one for zeros."""
    parts = [x] if bias is None else [x, bias.repeat(len(x), 1, 1)]
    parts += [x.new_zeros(len(x), 1, x.shape[2])] if with_zeros else []
    return torch.cat(parts, dim=1) if len(parts) > 1 else x


def _additive_mask(attn_mask, key_padding_mask, q, k):
    """Return the sum of both masks, that broadcasts to (n, heads, queries, keys), or None."""
    (n, heads, length, _), masks = q.shape, []
    if attn_mask is not None:
        masks.append(
            attn_mask
            if attn_mask.ndim == 2
            else attn_mask.reshape(n, heads, length, -1)
        )
    if key_padding_mask is not None:
        masks.append(key_padding_mask[:, None, None])
    masks = [
        q.new_zeros(m.shape).masked_fill(m, -torch.inf) if m.dtype == torch.bool else m
        for m in masks
    ]
    return F.pad(sum(masks), (0, k.shape[2] - masks[0].shape[-1])) if masks else None


def functional_linear(layer, inputs, output_grads, direction):
    """Statistics of calls of `linear`; an input is (x, number of samples)."""
    a = [sample_first(x, n) for x, n in inputs]
    b = [sample_first(grad, n) for grad, (_, n) in zip(output_grads, inputs)]
    return linear(layer, a, b, direction)


def sample_first(x, n):
    """Return x (n * k, ..., d), a sample's k rows together, as (n, t, d)."""
    if len(x) % n:
        raise NotImplementedError("the rows are no multiple of the samples")
    return x.reshape(n, -1, x.shape[-1])
