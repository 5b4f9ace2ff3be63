"""What an item of a Dataset is: a sample with a label, or a sample alone whose input may be a tuple
itself.
"""

from collections.abc import Mapping
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import Subset

from skdal.adapters._foreign import looking_at_first
from skdal.exceptions import InvalidDataError, InvalidSampleError
from skdal.utils import count_rows, is_torch_dataset, preserved_rng

_MOST_NAMED = 6  # parts of a tuple or dict that a message names


def is_pair(item):
    """Tell whether an item has the form of (x, label): a tuple or list of two."""
    return isinstance(item, (tuple, list)) and len(item) == 2


def input_of(item):
    """Return x of an item, by the rule for all that is not ambiguous: two parts are (x, label),
    else it is x alone.
    """
    alone = isinstance(item, (tuple, list)) and len(item) == 1  # TensorDataset(X)
    return item[0] if alone or is_pair(item) else item


def nesting(x):
    """Return how an input is put together, whatever the lengths: "array", "number", or a tuple or
    dict of these.
    """
    if isinstance(x, Mapping):
        return {key: nesting(value) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        is_row = len(x) > 0 and all(isinstance(part, Number) for part in x)
        return "array" if is_row else tuple(nesting(part) for part in x)
    if x is None or isinstance(x, (str, bytes)):
        return type(x).__name__
    return "number" if _is_scalar(x) else "array"


def described(x):
    """Return in words what an input is: types, and shapes of arrays."""
    if isinstance(x, torch.Tensor):
        return f"{str(x.dtype).removeprefix('torch.')} tensor {tuple(x.shape)}"
    if isinstance(x, np.ndarray):
        return f"{x.dtype} array {x.shape}"
    if isinstance(x, Mapping):
        return _listed(
            "dict", [f"{key!r}: {described(value)}" for key, value in x.items()], "{}"
        )
    if isinstance(x, (tuple, list)):
        parts = [described(part) for part in x]
        if len(set(parts)) == 1 and len(parts) > 2:
            return f"{type(x).__name__} of {len(parts)} {parts[0]}"
        return _listed(type(x).__name__, parts, "()")
    if isinstance(x, str):
        return f"str {x[:20]!r}"
    return "None" if x is None else type(x).__name__


def _listed(name, parts, brackets):
    shown = ", ".join(parts[:_MOST_NAMED]) + (
        ", ..." if len(parts) > _MOST_NAMED else ""
    )
    return f"{name} {brackets[0]}{shown}{brackets[1]}"


def _is_scalar(x):
    return isinstance(x, Number) or getattr(x, "ndim", None) == 0


def _may_be_label(part):
    """Tell whether the second part of a pair has the form of a class label, or of what stands for
    none.
    """
    return part is None or isinstance(part, (str, bytes)) or _is_scalar(part)


# --- what the items of a pool are, decided once ---------------------------------------------------


class Settled(Subset):
    """A Dataset whose items are (x, 0), x of a nesting that was settled; as a Subset of all, its
    keys are found.

    Parameters
    ----------
    dataset : Dataset
        Its items are x, or x with something beside it.
    wanted : str, tuple or dict
        The nesting of x.
    """

    def __init__(self, dataset, wanted):
        super().__init__(dataset, range(len(dataset)))
        self.wanted = wanted

    def __getitem__(self, i):
        item = self.dataset[i]
        for x in _readings(item):
            if nesting(x) == self.wanted:
                return x, 0
        raise InvalidSampleError(
            f"it is a {described(item)}, in another form than the first ones of the same data. "
            "Give all samples in one form: x, or (x, label).",
            int(i),
        )

    def __getitems__(self, indices):
        return [self[i] for i in indices]


class _Set(NamedTuple):
    """A pool, or a labeled set, and what its first item can be read as."""

    X: Any
    name: str
    item: Any
    readings: list


def settled(
    X,
    X_labeled=None,
    y_labeled=None,
    *,
    refusal,
    look_at=None,
    names=("the pool", "the labeled set"),
):
    """Return the pool and the labeled set with items that everybody reads alike.

    What an item (a, b) of a Dataset is, a with its label b or an input of two parts, is told by the
    other of the two sets; where both may be either, by the form of b, and then by what the net's
    module takes.

    Parameters
    ----------
    X : data
        The pool, or whatever is given without labels of its own that count.
    X_labeled, y_labeled : data, optional
        The labeled set; y None where the items of the Dataset hold the labels.
    refusal : callable
        `refusal(x)` tries an input: None where the net's module takes it, else the error.
    look_at : data, optional
        What gives the first item in place of X, whose own may be unreadable.
    names : tuple of str
        Of the two.

    Returns
    -------
    X, X_labeled : data
        As they were, or where the form is not the ordinary one as `Settled`.

    Raises
    ------
    InvalidDataError
        The two do not fit together, or it cannot be told what an item is.
    """
    if not any(map(is_torch_dataset, (X, X_labeled))):
        return X, X_labeled
    with preserved_rng():  # a Dataset may draw when it is asked for an item
        pool = _opened(X if look_at is None else look_at, names[0])
        labeled = _opened(X_labeled, names[1], with_labels=y_labeled is None)
    if pool is None:
        return X, X_labeled
    forms = None if labeled is None else [nesting(x) for x in labeled.readings]
    found = [x for x in pool.readings if forms is None or nesting(x) in forms]
    if not found:
        raise InvalidDataError(_differ(pool, labeled))
    wanted = _chosen(pool, found, refusal)
    pool_as_wanted = _as_wanted(pool, X, wanted)
    return pool_as_wanted, X_labeled if y_labeled is None else _as_wanted(
        labeled, X_labeled, wanted
    )


def _opened(X, name, with_labels=False):
    """Return the `_Set` of data, None where there is no sample."""
    if X is None or not count_rows(X):
        return None
    if not is_torch_dataset(X):
        x = _first_row(X)
        return _Set(X, name, x, [x])
    with looking_at_first(X, name):
        item = X[0]
    return _Set(X, name, item, [input_of(item)] if with_labels else _readings(item))


def _readings(item):
    """Return the inputs that an item can be: of two parts the first one, or both."""
    return [item[0], item] if is_pair(item) else [input_of(item)]


def _first_row(X):
    if sparse.issparse(X):
        return np.empty(X.shape[1:], X.dtype)
    if isinstance(X, Mapping):
        return {key: _first_row(value) for key, value in X.items()}
    if hasattr(X, "iloc") and X.ndim == 2:
        return {
            name: np.asarray(X[name].iloc[:1]) for name in X.columns
        }  # as skorch gives a frame's columns
    return X.iloc[0] if hasattr(X, "iloc") else X[0]


def _chosen(pool, found, refusal):
    """Return the nesting of one of the inputs that the first item can be read as."""
    if len(found) == 1 or _may_be_label(pool.item[1]):
        return nesting(found[0])
    refusals = [refusal(x) for x in found]
    taken = [x for x, refused in zip(found, refusals) if refused is None]
    if len(taken) == 2 and getattr(pool.item[1], "shape", None) == (
        1,
    ):  # a label in a column, or what stands for none
        return nesting(found[0])
    if len(taken) == 1:
        return nesting(taken[0])
    a, b = map(described, pool.item)
    which = "either" if taken else "neither"
    raise InvalidDataError(
        f"an item of {pool.name} is ({a}, {b}), which is an input with its label or an input "
        f"of two parts: nothing tells which, and the net's module takes {which}. Give ((first, "
        "second), 0) for an input of two parts, 0 for a label that is not known, or (x, "
        "label) with a class number for a label; the form of the labeled set tells, too (fit "
        "the sampler on it, or pass X_labeled=)."
    ) from next((error for error in refusals if error is not None), None)


def _as_wanted(found, X, wanted):
    """Return a Dataset as it is where the ordinary reading of each item is the one that is
    wanted.
    """
    if found is None or not is_torch_dataset(X):
        return X
    ordinary = input_of(found.item)
    is_ordinary = nesting(ordinary) == wanted and not isinstance(
        ordinary, list
    )  # which may have two entries later
    tells_itself = not is_pair(found.item) or _may_be_label(found.item[1])
    return X if is_ordinary and tells_itself else Settled(X, wanted)


def _differ(pool, labeled):
    return (
        f"an item of {pool.name} is a {described(pool.item)}, and a sample of {labeled.name} a "
        f"{described(labeled.readings[0])}; pass both in the same form (the same transforms, "
        f"features and axes). {remedy_for_parts(pool.item)}"
    ).rstrip()


def remedy_for_parts(item):
    """Return what to do with an item of three parts or more, or of a dict that may hold the label;
    else nothing.
    """
    if isinstance(item, (tuple, list)) and len(item) > 2:
        return (
            f"A {type(item).__name__} of {len(item)} is an input of as many parts, without a "
            "label; give pairs (x, label), such as item[:2] of (x, label, name)."
        )
    if isinstance(item, Mapping):
        return (
            "A dict is an input as a whole; give pairs (dict of inputs, label), with the "
            "label outside of the dict, or pass y where the dict holds nothing but inputs."
        )
    return ""
