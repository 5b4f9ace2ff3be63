"""Pools: fit to the labeled set, and the same at every look."""

import operator
from collections.abc import Mapping

import numpy as np
import torch

from skdal.adapters._foreign import looking_at_first
from skdal.exceptions import InvalidDataError, SkdalError
from skdal.utils import (
    count_rows,
    is_torch_dataset,
    preserved_rng,
    sample_shape,
    warn_caller,
)

_LOOKS = 5  # at the first item, to see whether it is the same each time


def check_pool(X, X_labeled=None, names=("the pool", "the labeled set"), view=None):
    """Raise if the samples of the pool and of the labeled set, or of others, differ in shape.

    Items of a Dataset may differ in their lengths, as sequences and images do, if the net can take
    them.

    Parameters
    ----------
    X, X_labeled : data
    names : tuple of str
        Of the two.
    view : NetView, optional
        Of the net that is given items of X as they are; None leaves it to the first pass.
    """
    if X_labeled is None or not count_rows(X) or not count_rows(X_labeled):
        return
    with preserved_rng():  # a Dataset may draw when it is asked for an item
        with looking_at_first(X, names[0]):
            pool = sample_shape(X)
        with looking_at_first(X_labeled, names[1]):
            labeled = sample_shape(X_labeled)
    if _fit(pool, labeled, operator.eq):
        return
    refused = InvalidDataError(
        f"samples of {names[0]} have shape {pool}, those of {names[1]} {labeled}; "
        "pass both in the same form (the same transforms, features and axes)."
    )
    are_items = _has_items(X) or _has_items(X_labeled)
    if not are_items or not _fit(
        pool, labeled, lambda one, other: len(one) == len(other)
    ):
        raise refused
    if view is not None:
        try:
            view.n_outputs(X)
        except SkdalError as error:
            raise refused from error


def _fit(one, other, alike):
    """Tell whether shapes, or those of the parts, are alike; what has no shape fits anything."""
    if one is None or other is None:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(
            _fit(one[key], other[key], alike) for key in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _fit(*parts, alike) for parts in zip(one, other)
        )
    return type(one) is type(other) and alike(one, other)


def _has_items(X):
    return is_torch_dataset(X) or hasattr(X, "indices_")  # skorch's SliceDataset


def warn_of_random_transforms(X, name="the pool"):
    """Look at the first item of a Dataset up to five times and warn if it differs from the first
    look.

    A transform that changes an item with the chance p is missed with the chance (1 - p)**5 + p**5
    if it has two outcomes, as a flip has: 1 / 16 for p = 1 / 2. One that draws from many outcomes
    is hardly ever missed.
    """
    if not _has_items(X) or not count_rows(X):
        return
    with preserved_rng():
        first = X[0]
        is_same = all(_same(first, X[0]) for _ in range(_LOOKS - 1))
    if not is_same:
        warn_caller(
            f"{name} gives another sample at every look: it has random transforms, so what is "
            "computed is of one random view. Pass an un-augmented view of the same (the "
            "Dataset with its test-time transform)."
        )


def _same(first, second):
    if isinstance(first, Mapping):
        return all(_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return all(map(_same, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    return type(first) is type(second)
