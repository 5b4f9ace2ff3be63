"""Private parts of torch, each behind a name that says what it stands for.

No other file of skdal names an attribute of torch that begins with an underscore, an
operation's node in the autograd graph, or a private class of torch. What a new version
of torch renames is renamed here.
"""

import copy

import torch
from torch.nn.modules.batchnorm import _BatchNorm

# The class of all batch norms.
BatchNorm = _BatchNorm

# --- modules ----------------------------------------------------------------------------


def own_parameters(module):
    """Return a module's own parameters by name, some None: the dict itself."""
    return module._parameters


def with_parameters(module, parameters):
    """Return a shallow copy of a module that has these parameters, by name."""
    twin = copy.copy(module)
    twin._parameters = dict(parameters)
    return twin


def own_buffers(module):
    """Return a module's own buffers by name, some None: the dict itself."""
    return module._buffers


def original_of(module):
    """Return the module that torch.compile was given to make this one, or None."""
    return getattr(module, "_orig_mod", None)


def is_compiled(module):
    """Tell whether a module is compiled, by torch.compile or in place."""
    in_place = getattr(module, "_compiled_call_impl", None)
    return original_of(module) is not None or in_place is not None


def output_hooks_of(module):
    """Return a module's hooks on its outputs, by id."""
    return module._forward_hooks


def input_hooks_of(module):
    """Return a module's hooks on its inputs, by id."""
    return module._forward_pre_hooks


# Ends of the names under which a module keeps its hooks, and what it knows of them.
BOOKKEEPING = (
    "_hooks",
    "_hooks_with_kwargs",
    "_hooks_always_called",
    "_is_full_backward_hook",
)


def run_input_hooks(module, args, kwargs):
    """Run a module's hooks on its inputs; what they return is dropped."""
    for key, hook in module._forward_pre_hooks.items():
        if key in module._forward_pre_hooks_with_kwargs:
            hook(module, args, kwargs)
        else:
            hook(module, args)


def ndim_without_samples(instance_norm):
    """Return how many axes the input of an InstanceNorm has that is one sample alone."""
    return instance_norm._get_no_batch_dim()


# --- tensors ----------------------------------------------------------------------------


def version_of(tensor):
    """Return how often a tensor was changed in place; None of anything else."""
    return tensor._version if isinstance(tensor, torch.Tensor) else None


def is_view(tensor):
    """Tell whether a tensor is a view of another that autograd knows of."""
    return tensor._is_view()


def gradient_hooks(tensor):
    """Return the hooks on a tensor's gradient by id, the dict itself; None without any."""
    return tensor._backward_hooks


# --- nodes of the autograd graph --------------------------------------------------------

_OPERATIONS = {
    "AddBackward0": "add",
    "SubBackward0": "subtract",
    "MulBackward0": "multiply",
    "DivBackward0": "divide",
    "ExpandBackward0": "repeat",
    "RepeatBackward0": "repeat",
}
# Functions of one tensor: views and copies, and those that keep a scale in its range.
_FUNCTIONS = {
    "AliasBackward0",
    "CloneBackward0",
    "ExpBackward0",
    "IndexBackward0",
    "NegBackward0",
    "PermuteBackward0",
    "ReshapeAliasBackward0",
    "SelectBackward0",
    "SigmoidBackward0",
    "SliceBackward0",
    "SoftplusBackward0",
    "SqueezeBackward0",
    "SqueezeBackward1",
    "TBackward0",
    "TanhBackward0",
    "ToCopyBackward0",
    "TransposeBackward0",
    "UnsafeViewBackward0",
    "UnsqueezeBackward0",
    "ViewBackward0",
}
_PICKING = {
    "GatherBackward0",
    "IndexBackward0",
    "IndexPutBackward0",
    "IndexSelectBackward0",
    "ScatterBackward0",
}


def operation_of(node):
    """Return what a node computes: "add", ..., "function" (of one tensor), or None."""
    name = node.name()
    return "function" if name in _FUNCTIONS else _OPERATIONS.get(name)


def picks_by_index(node):
    """Tell whether a node picks values by an index."""
    return node.name() in _PICKING


def saved(node, name):
    """Return what a node kept from the forward pass, such as "weight"; None without it."""
    return getattr(node, f"_saved_{name}", None)


def is_softmax_of_rows(node):
    """Tell whether a node is that of a softmax over the axis 1 of two."""
    if node is None or node.name() != "SoftmaxBackward0":
        return False
    return saved(node, "dim") in (1, 2**64 - 1)


def is_batch_norm(node):
    """Tell whether a node is that of batch or instance norm."""
    return "BatchNorm" in node.name()
