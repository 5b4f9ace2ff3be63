"""Reading the autograd graph: who uses which parameter, and what kinds of operations there are."""

from collections import Counter
from typing import Any, NamedTuple

import torch

from skdal.gradients._tape import tensors_in


class Use(NamedTuple):
    """A use of a leaf: the node that takes it, and as which of its inputs."""

    node: Any
    slot: int


def nodes_of(values):
    """Return the graph's nodes that tensors (in tuples, lists or dicts) come from."""
    return [
        tensor.grad_fn for tensor in tensors_in(values) if tensor.grad_fn is not None
    ]


def walk(starts, stop=()):
    """Return the uses of each leaf (dict of id to list of Use), and all nodes, from some nodes downwards.

    Nodes in `stop` are not entered.
    """
    uses, nodes, stack = {}, set(), list(starts)
    while stack:
        node = stack.pop()
        if node in nodes or node in stop:
            continue
        nodes.add(node)
        for slot, (following, _) in enumerate(node.next_functions):
            if following is None:
                continue
            if hasattr(following, "variable"):
                uses.setdefault(id(following.variable), []).append(Use(node, slot))
            else:
                stack.append(following)
    return uses, nodes


def signature(nodes):
    """Return the kinds of operations among nodes and how often each is there."""
    return frozenset(Counter(type(node).__name__ for node in nodes).items())


_PICKING = {
    "IndexBackward0",
    "IndexSelectBackward0",
    "GatherBackward0",
    "IndexPutBackward0",
    "ScatterBackward0",
}


def reorders(nodes):
    """Tell whether one of the nodes picks values by an index."""
    return any(type(node).__name__ in _PICKING for node in nodes)


def has_custom_function(nodes):
    """Tell whether one of the nodes is a custom autograd function, which may hide what it runs."""
    return any(_is_custom(node) for node in nodes)


def _is_custom(node):
    return (
        isinstance(node, torch.autograd.function.BackwardCFunction)
        and type(node).__name__ != "_RootBackward"
    )
