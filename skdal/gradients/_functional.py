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

    Parameters
    ----------
    record : callable
        (weight, bias, x, batch, output) -> output or None: what to give in place of `output`. `batch`
        is the length of the second axis of x where that is the sample, else None.
    """

    def __init__(self, record):
        super().__init__()
        self._record = record

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Run `func` and tell."""
        kwargs = kwargs or {}
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            bound = _ATTENTION.bind(*args, **kwargs)
            bound.apply_defaults()
            if _is_plain_self_attention(bound.arguments):
                return self._self_attention(bound.arguments)
        return func(*args, **kwargs)

    def _linear(self, input, weight, bias=None, batch=None):
        output = F.linear(input, weight, bias)
        watched = self._record(weight, bias, input, batch, output)
        return output if watched is None else watched

    def _self_attention(self, a):
        """Compute what `multi_head_attention_forward` does; its own calls of `linear` cannot be caught."""
        x, heads = a["query"], a["num_heads"]
        length, batch, width = x.shape
        qkv = self._linear(x, a["in_proj_weight"], a["in_proj_bias"], batch=batch)
        q, k, v = qkv.reshape(length, batch, 3, heads, -1).permute(2, 1, 3, 0, 4)
        mask = _additive_mask(a["attn_mask"], a["key_padding_mask"], batch, heads, length, q)
        weights = None
        if a["need_weights"]:
            scores = q * (width // heads) ** -0.5 @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            mixed = weights @ v
            weights = weights.mean(1) if a["average_attn_weights"] else weights
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = mixed.permute(2, 0, 1, 3).reshape(length, batch, width)
        return self._linear(mixed, a["out_proj_weight"], a["out_proj_bias"], batch=batch), weights


def _is_plain_self_attention(a):
    extras = ("bias_k", "bias_v", "static_k", "static_v", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return (
        a["query"].ndim == 3
        and a["query"] is a["key"] is a["value"]
        and all(a[name] is None for name in extras)
        and not (a["add_zero_attn"] or a["use_separate_proj_weight"] or (a["training"] and a["dropout_p"]))
    )


def _additive_mask(attn_mask, key_padding_mask, batch, heads, length, like):
    """Return the sum of both masks, that broadcasts to (batch, heads, length, length), or None."""
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask if attn_mask.ndim == 2 else attn_mask.reshape(batch, heads, length, length))
    if key_padding_mask is not None:
        masks.append(key_padding_mask[:, None, None])
    masks = [like.new_zeros(m.shape).masked_fill(m, -torch.inf) if m.dtype == torch.bool else m for m in masks]
    return sum(masks) if masks else None


def functional_linear(layer, inputs, output_grads, direction):
    """Statistics of calls of `linear`; an input is (x, number of samples, batch)."""
    a = [sample_first(x, n, batch) for x, n, batch in inputs]
    b = [sample_first(grad, n, batch) for grad, (_, n, batch) in zip(output_grads, inputs)]
    return linear(layer, a, b, direction)


def sample_first(x, n, batch):
    """Return x as (n, t, d): its first axis runs over samples first, or its second (of length `batch`) does."""
    if batch is None:
        return x.reshape(n, -1, x.shape[-1])
    return x.reshape(-1, n, batch // n, x.shape[-1]).transpose(0, 1).reshape(n, -1, x.shape[-1])
