"""Layer rules: per-sample statistics from a layer's inputs and output gradients.

A rule is a function `(layer, inputs, output_grads, direction) -> (sq_norm, dot)`:

layer : torch.nn.Module
    Of exactly the class it is registered for, with its own parameters.
inputs, output_grads : list of tensor
    One entry a use of the layer; the first axis is the sample. Floating-point entries are at least
    float32. Output gradients are those of the sum of the samples' losses.
direction : dict of str to (tensor or None)
    The keys are the layer's own parameters that are scored ("weight", "bias"); the values are the
    direction's slices, all None where only the norm is wanted.
sq_norm, dot : tensor (n,), tensor (n,) or None
    Over the scored parameters of this layer.

To add a rule: one file here, one line in `RULES`, one test case.
"""

from torch import nn

from skdal.gradients.rules._conv import convolution
from skdal.gradients.rules._embedding import embedding
from skdal.gradients.rules._linear import linear
from skdal.gradients.rules._norm import batch_norm, layer_norm

__all__ = ["RULES", "rule_for"]

RULES = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.Embedding: embedding,
}


def rule_for(module):
    """Return the rule of a module, or None.

    A subclass, a parametrized or re-wired layer (weight norm, pruning, an own `forward`) computes
    something else than its class says, so it has none.
    """
    rewired = "forward" in vars(module) or not set(module._parameters) <= {"weight", "bias"}
    return None if rewired else RULES.get(type(module))
