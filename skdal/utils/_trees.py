"""Trees of tensors: what modules get and give, and what they keep.

A tensor is a leaf. Lists, tuples, named tuples and mappings of any class are containers:
a dict, the `BatchEncoding` and the `ModelOutput` of transformers. Anything else is no part
of a tree, and stays as it is.
"""

import copy
from collections.abc import Mapping, MutableMapping

import torch


def tree_map(function, tree, other=None):
    """Return a tree of the same containers with a function applied to each tensor.

    Parameters
    ----------
    function : callable
        Of a tensor.
    tree : tensor or container
        It is not changed. Tensors are met in the order of `tree_leaves`.
    other : callable, optional
        Of whatever is neither a tensor nor a container; without it these stay as they are.
    """
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        items = {key: tree_map(function, value, other) for key, value in tree.items()}
        return _mapping_like(tree, items)
    if isinstance(tree, (list, tuple)):
        parts = [tree_map(function, part, other) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree if other is None else other(tree)


def tree_leaves(tree):
    """Return the tensors of a tree, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return []
    return [leaf for part in tree for leaf in tree_leaves(part)]


def _mapping_like(tree, items):
    """Return a mapping of the same class; a class of its own may hold more than its items."""
    if not isinstance(tree, MutableMapping):
        return items
    changed = copy.copy(tree)
    for key, value in items.items():
        changed[key] = value
    return changed
