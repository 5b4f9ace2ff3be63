"""What a pool says of itself: its keys, what its samples are, and how many of them may be
unreadable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset

from skdal.exceptions import InvalidDataError


class PoolView(NamedTuple):
    """What a pool says of itself.

    Attributes
    ----------
    keys : callable
        Of positions (m,) in the pool, intp, gives their keys, a list. Raises InvalidDataError where
        a part of the pool has no keys, even for no positions at all.
    has_keys : bool
        Whether all of the pool has keys.
    unit : str
        What its samples are, such as "images".
    max_unreadable : float or None
        The share of samples that may be unreadable; None where all have to be readable.
    """

    keys: Callable
    has_keys: bool = False
    unit: str = "samples"
    max_unreadable: float | None = None


@singledispatch
def view(X: Any) -> Any:
    """Return the PoolView of a pool: by its attributes, and through Subset, ConcatDataset and
    SetAside.

    A Dataset says it by a method `keys(positions)` and by attributes `unit` and `max_unreadable`,
    whichever it has.
    """
    if not isinstance(X, Dataset):
        return PoolView(partial(_refuse_keys, X))
    has_keys = callable(getattr(X, "keys", None))
    return PoolView(
        partial(_own_keys, X) if has_keys else partial(_refuse_keys, X),
        has_keys,
        getattr(X, "unit", "samples"),
        getattr(X, "max_unreadable", None),
    )


@view.register
def _(X: Subset):
    inner = view(X.dataset)
    return inner._replace(keys=partial(_keys_of_subset, inner, X.indices))


@view.register
def _(X: ConcatDataset):
    parts = [view(part) for part in X.datasets]
    units = {part.unit for part in parts}
    shares = [part.max_unreadable for part in parts if part.max_unreadable is not None]
    return PoolView(
        partial(_keys_of_parts, parts, X.cumulative_sizes),
        all(part.has_keys for part in parts),
        units.pop() if len(units) == 1 else "samples",
        max(shares, default=None),
    )


def _own_keys(X, positions):
    return list(X.keys(positions))


def _refuse_keys(X, positions):
    raise InvalidDataError(
        f"a pool of type {type(X).__name__} has no keys; use a pool of skdal.pools "
        "(ImageFolderPool, ParquetPool, MemmapPool), or give your Dataset a method "
        "keys(positions)."
    )


def _keys_of_subset(inner, indices, positions):
    # One by one, since indices may be a list of many times more.
    inner_positions = [int(indices[i]) for i in positions]
    return inner.keys(np.array(inner_positions, dtype=np.intp))


def _keys_of_parts(parts, stops, positions):
    """Return the keys of positions in parts that lie one behind the other; each part is asked
    once.
    """
    numbers = np.searchsorted(stops, positions, side="right")
    found = np.empty(len(positions), dtype=object)
    for number, part in enumerate(parts):
        start = stops[number - 1] if number else 0
        is_here = numbers == number
        keys = part.keys(positions[is_here] - start)
        for place, key in zip(np.flatnonzero(is_here), keys):
            found[place] = key
    return found.tolist()


# --- one answer each
# --------------------------------------------------------------------------------------------------


def keys_of(X: Any, positions: Any) -> list:
    """Return the keys of some samples of a pool (m,), a list.

    Raises
    ------
    InvalidDataError
        The pool has no keys.
    """
    return view(X).keys(np.asarray(positions, dtype=np.intp))


def has_keys(X: Any) -> bool:
    """Tell whether samples of a pool have keys."""
    return view(X).has_keys


def unit_of(X: Any) -> str:
    """Return what the samples of a pool are, such as "images"."""
    return view(X).unit


def max_unreadable(X: Any) -> float | None:
    """Return the share of a pool that may be unreadable, None where all has to be readable."""
    return view(X).max_unreadable


def may_be_unreadable(X: Any) -> bool:
    """Tell whether a pool says of itself that samples may be unreadable."""
    return max_unreadable(X) is not None
