"""Layer rules: per-sample statistics from a layer's inputs and output gradients.

A rule is a function `(layer, inputs, output_grads, direction) -> (sq_norm, dot)`:

layer : torch.nn.Module
    Of exactly the class it is registered for, with its own parameters.
inputs, output_grads : list of tensor
    One entry per use of the layer; the first axis is the sample. Floating-point entries are
    at least float32. Output gradients are those of the sum of the samples' losses. An input
    is the tuple of the arguments of `forward`, in their order, where it was called with
    several, and a gradient the tuple of those of several outputs, None where the loss does
    not depend on one.
direction : dict of str to (tensor or None)
    The keys are the layer's own parameters that are scored ("weight", "bias"); the values
    are the direction's slices, all None where only the norm is wanted.
sq_norm, dot : tensor (n,), tensor (n,) or None
    Over the scored parameters of this layer.

A rule raises `NotImplementedError(reason)` for a call that it does not describe.

To add a rule: one file here, one line in `RULES`, one test case.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from skdal.gradients.rules._bilinear import bilinear
from skdal.gradients.rules._conv import convolution
from skdal.gradients.rules._conv_transposed import transposed_convolution
from skdal.gradients.rules._dot import inner_products
from skdal.gradients.rules._embedding import embedding
from skdal.gradients.rules._embedding_bag import embedding_bag
from skdal.gradients.rules._forms import concatenated, explicit
from skdal.gradients.rules._linear import linear
from skdal.gradients.rules._norm import batch_norm, layer_norm
from skdal.gradients.rules._norm_per_sample import group_norm, instance_norm, rms_norm
from skdal.gradients.rules._prelu import prelu
from skdal.gradients.rules._recurrent import recurrent
from skdal.utils import own_parameters

__all__ = [
    "RULEBOOK",
    "RULES",
    "Rulebook",
    "concatenated",
    "explicit",
    "rule_for",
]

RULES = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.ConvTranspose1d: transposed_convolution,
    nn.ConvTranspose2d: transposed_convolution,
    nn.ConvTranspose3d: transposed_convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
    nn.InstanceNorm1d: instance_norm,
    nn.InstanceNorm2d: instance_norm,
    nn.InstanceNorm3d: instance_norm,
    nn.RMSNorm: rms_norm,
    nn.Embedding: embedding,
    nn.EmbeddingBag: embedding_bag,
    nn.PReLU: prelu,
    nn.Bilinear: bilinear,
    nn.RNN: recurrent,
    nn.LSTM: recurrent,
    nn.GRU: recurrent,
}

# Where squared norms are not wanted, these are cheaper run with the direction in place of
# their parameters.
_LINEAR_IN_PARAMETERS = {
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
}

_OWN_NAME = re.compile(r"(weight|bias)(_(ih|hh|hr)_l\d+(_reverse)?)?")


def rule_for(module):
    """Return the rule of a module, or None.

    A subclass, a parametrized or re-wired layer (weight norm, pruning, an own `forward`, one
    parameter under two names) computes something else than its class says, so it has none.
    """
    rule = RULES.get(type(module))
    if rule is None or "forward" in vars(module):
        return None
    own = own_parameters(module)
    ids = [id(parameter) for parameter in own.values() if parameter is not None]
    is_plain = all(_OWN_NAME.fullmatch(name) for name in own)
    return rule if is_plain and len(set(ids)) == len(ids) else None


def _rule_of_dot_for(module):
    """Return what takes the inner product alone, cheaper than the rule, or None."""
    return inner_products if type(module) in _LINEAR_IN_PARAMETERS else None


def _no_rule_of_dot(module):
    return None


class Rulebook(NamedTuple):
    """Which rules there are.

    Attributes
    ----------
    rule_for : callable
        Module to its rule, or None.
    rule_of_dot_for : callable
        Module that has a rule to one that is cheaper and gives the inner product alone (any
        sq_norm), or None.
    refusal_of : callable or None
        Module to the reason why a parameter of it is refused that no rule covers. None:
        other ways are tried.
    """

    rule_for: Callable
    rule_of_dot_for: Callable = _no_rule_of_dot
    refusal_of: Callable | None = None


RULEBOOK = Rulebook(rule_for, _rule_of_dot_for)
