"""Reading the autograd graph: who uses which parameter, by which operations."""

from collections import Counter
from typing import Any, NamedTuple

import torch

from skdal.utils import picks_by_index, tree_leaves


class Use(NamedTuple):
    """A use of a leaf: the node that takes it, and as which of its inputs."""

    node: Any
    slot: int


def nodes_of(values):
    """Return the graph's nodes that a tree of tensors comes from."""
    nodes = [tensor.grad_fn for tensor in tree_leaves(values)]
    return [node for node in nodes if node is not None]


def walk(starts, stop=()):
    """Walk the graph from some nodes downwards.

    Parameters
    ----------
    starts : iterable of nodes
        Where the walk begins.
    stop : set of nodes
        What is not entered.

    Returns
    -------
    uses : dict of int to list of Use
        By the id of each leaf.
    nodes : set
        All that were entered.
    """
    uses = {}
    nodes = set()
    stack = list(starts)
    while stack:
        node = stack.pop()
        if node in nodes or node in stop:
            continue
        nodes.add(node)
        for slot, (following, _) in enumerate(node.next_functions):
            if following is None:
                continue
            if hasattr(following, "variable"):
                leaf = id(following.variable)
                uses.setdefault(leaf, []).append(Use(node, slot))
            else:
                stack.append(following)
    return uses, nodes


def kinds_of(nodes):
    """Return the kinds of operations among nodes, and how often each occurs."""
    return frozenset(Counter(type(node).__name__ for node in nodes).items())


def any_picks(nodes):
    """Tell whether one of the nodes picks values by an index."""
    return any(picks_by_index(node) for node in nodes)


def has_custom_function(nodes):
    """Tell whether a node is a custom autograd function, which may hide what it runs."""
    return any(_is_custom(node) for node in nodes)


def _is_custom(node):
    is_python = isinstance(node, torch.autograd.function.BackwardCFunction)
    # The roots of a tape are custom functions, too, and hide nothing.
    return is_python and type(node).__name__ != "_RootBackward"
