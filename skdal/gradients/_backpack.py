"""The rules of the BackPACK backend: the ghost backend's pass with BackPACK's BatchGrad.

BackPACK's `extend` is not used: it wraps the output of every module, so that the
`out += identity` of torchvision's nets fails, and keeps its hooks in a global list. A
first-order rule of BackPACK needs a layer's input, its output and the gradient of that, and
leaves the samples' gradients on the layer's parameters; it is given a copy of the layer. Of
the rules only BatchGrad's are used: BatchL2Grad is wrong for convolutions with groups.
"""

import torch
from torch import nn

from skdal.gradients import rules
from skdal.gradients._ladder import samples_held
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients.rules import Rulebook, concatenated, explicit
from skdal.utils import own_parameters, reason, row_slices, with_parameters

# What the rule of a class takes for granted. Elsewhere BackPACK raises, or is silently wrong.
_CONV = {"padding_mode": "zeros"}
_RECURRENT = {"batch_first": True, "num_layers": 1, "bias": True, "dropout": 0}
_RECURRENT["bidirectional"] = False
_NEEDS = {
    nn.Linear: {},
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.ConvTranspose1d: {"output_padding": (0,)},
    nn.ConvTranspose2d: {"output_padding": (0, 0)},
    nn.ConvTranspose3d: {"output_padding": (0, 0, 0)},
    nn.BatchNorm1d: {},
    nn.BatchNorm2d: {},
    nn.BatchNorm3d: {},
    nn.Embedding: {"padding_idx": None, "sparse": False},
    nn.RNN: {**_RECURRENT, "nonlinearity": "tanh"},
    nn.LSTM: {**_RECURRENT, "proj_size": 0},
}


def _rule_for(module):
    """Return BackPACK's rule of a module, or None."""
    return None if _limit(module) else _batch_grad


def _refusal_of(module):
    return _limit(module) or "BackPACK needs calls of the layer, one row per sample"


def _limit(module):
    """Return why BackPACK's rule does not hold for a module, or None."""
    if type(module) not in _NEEDS or rules.rule_for(module) is None:
        return "BackPACK has no rule for it"
    needs = [
        f"{name}={value!r}"
        for name, value in _NEEDS[type(module)].items()
        if getattr(module, name) != value
    ]
    if getattr(module, "padding", None) == "same":
        needs.append("padding in numbers")
    is_embedding = type(module) is nn.Embedding
    if is_embedding and module.weight.dtype != torch.get_default_dtype():
        needs.append("a weight of torch's default dtype")
    return f"BackPACK's rule needs {', '.join(needs)}" if needs else None


def _batch_grad(layer, inputs, output_grads, direction):
    """Statistics from BackPACK's gradients; see `rules`."""
    if not all(isinstance(x, torch.Tensor) for x in inputs):
        raise NotImplementedError("BackPACK's rule takes one input")
    calls = [(x, _only(grad)) for x, grad in zip(inputs, output_grads)]
    wide = {own: None if v is None else v.double() for own, v in direction.items()}
    size = samples_held({own: getattr(layer, own) for own in direction})
    parts = []
    for rows in row_slices(len(inputs[0]), size):
        by_call = [_gradients(layer, x[rows], b[rows], direction) for x, b in calls]
        total = {own: sum(part[own] for part in by_call).double() for own in direction}
        parts.append(explicit(total, wide))
    return concatenated(parts)


def _only(grad):
    first, *others = grad if isinstance(grad, tuple) else (grad,)
    if first is None or any(other is not None for other in others):
        raise NotImplementedError("BackPACK's rule takes the first output's gradient")
    return first


def _gradients(layer, x, grad, names):
    """Return BackPACK's gradients (n, *shape) by some of a layer's parameters."""
    # Only those who ask for BackPACK import it.
    from backpack.core.derivatives.convnd import weight_jac_t_save_memory
    from backpack.extensions import BatchGrad

    twin = with_parameters(layer, _copies(layer, grad.dtype, names))
    twin.input0 = x
    # Other rules read no more of the output than its shape.
    twin.output = layer.forward(x)[0] if isinstance(layer, nn.RNNBase) else grad
    # Else BackPACK repeats every channel of the output for every channel of the input.
    saves = type(layer) in (nn.Conv1d, nn.Conv2d) and layer.padding != "valid"
    extension = BatchGrad()
    try:
        with weight_jac_t_save_memory(saves):
            extension(twin, (None,), (grad,))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise NotImplementedError(f"BackPACK's rule fails ({reason(error)})") from error
    return {name: getattr(getattr(twin, name), extension.savefield) for name in names}


def _copies(layer, dtype, names):
    """Return parameters in place of a layer's own: BackPACK writes on them."""
    return {
        own: p if p is None else nn.Parameter(p.detach().to(dtype), own in names)
        for own, p in own_parameters(layer).items()
    }


BACKPACK = Rulebook(_rule_for, refusal_of=_refusal_of)
