"""Pools with samples that cannot be read: these are set aside, and a query goes on without them."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from skdal.exceptions import InvalidDataError, UnreadableSampleError


class Unreadable(NamedTuple):
    """A sample that was set aside.

    Attributes
    ----------
    position : int
        In the pool.
    key : str, int or None
        Its key; None where the pool has no keys.
    reason : str
    """

    position: int
    key: object
    reason: str


class NothingReadableError(UnreadableSampleError):
    """Not one sample of a part of a pool can be read."""


def may_be_unreadable(X):
    """Tell whether a pool says of itself that samples may be unreadable, by an attribute `max_unreadable`."""
    return max_unreadable(X) is not None


def max_unreadable(X):
    """Return the share of a pool that may be unreadable, None where all has to be readable."""
    while isinstance(X, (Subset, SetAside)):
        X = X.dataset
    if isinstance(X, ConcatDataset):
        shares = [
            share for part in X.datasets if (share := max_unreadable(part)) is not None
        ]
        return max(shares, default=None)
    return getattr(X, "max_unreadable", None) if isinstance(X, Dataset) else None


def unit_of(X):
    """Return what a pool says that its samples are, by an attribute `unit`, such as "images"."""
    while isinstance(X, (Subset, SetAside)):
        X = X.dataset
    return getattr(X, "unit", "samples") if isinstance(X, Dataset) else "samples"


def keys_of(X, positions):
    """Return the keys of some samples of a pool: a list of what its method `keys(positions)` gives.

    Raises
    ------
    InvalidDataError
        The pool has no keys.
    """
    positions = np.asarray(positions, dtype=np.intp)
    if isinstance(X, SetAside):
        return keys_of(X.dataset, positions)
    if isinstance(X, Subset):
        return keys_of(
            X.dataset, [int(X.indices[i]) for i in positions]
        )  # indices may be many times more
    if isinstance(X, ConcatDataset):
        starts = np.array([0, *X.cumulative_sizes[:-1]])
        parts = np.searchsorted(X.cumulative_sizes, positions, side="right")
        return [
            keys_of(X.datasets[part], [i - starts[part]])[0]
            for part, i in zip(parts, positions)
        ]
    if not callable(getattr(X, "keys", None)) or not isinstance(X, Dataset):
        raise InvalidDataError(
            f"a pool of type {type(X).__name__} has no keys; use a pool of skdal.pools (ImageFolderPool, "
            "ParquetPool, MemmapPool), or give your Dataset a method keys(positions)."
        )
    return list(X.keys(positions))


def has_keys(X):
    """Tell whether samples of a pool have keys."""
    while isinstance(X, (Subset, SetAside)):
        X = X.dataset
    if isinstance(X, ConcatDataset):
        return all(map(has_keys, X.datasets))
    return isinstance(X, Dataset) and callable(getattr(X, "keys", None))


class SetAside(Dataset):
    """A pool in which a readable sample stands in for each that is unreadable; which these are is kept.

    Marks are in memory that a DataLoader's worker processes share.

    Parameters
    ----------
    dataset : Dataset
        Its items may raise UnreadableSampleError.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self._marks = torch.zeros(len(dataset), dtype=torch.uint8).share_memory_()
        self._stand_in = None

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        try:
            return self.dataset[i]
        except UnreadableSampleError:
            self._marks[i] = 1
            return self._some_readable(i)

    def _some_readable(self, i):
        """Return the nearest readable sample after the i-th, around the end."""
        n = len(self.dataset)
        for k in range(n) if self._stand_in is None else ():
            try:
                self._stand_in = (self.dataset[(i + k) % n],)
                break
            except UnreadableSampleError as error:
                reason = error
        if self._stand_in is None:
            self._marks[:] = 1
            raise NothingReadableError(
                f"not one of the {n} samples can be read, such as: {reason}"
            )
        return self._stand_in[0]

    def unreadable(self):
        """Return the Unreadable that came up so far, by position."""
        positions = torch.nonzero(self._marks).ravel().tolist()
        if not positions:
            return []
        keys = (
            keys_of(self.dataset, positions)
            if has_keys(self.dataset)
            else [None] * len(positions)
        )
        return [Unreadable(i, key, self._reason(i)) for i, key in zip(positions, keys)]

    def _reason(self, i):
        try:
            self.dataset[i]
        except UnreadableSampleError as error:
            return str(error)
        return "it could be read at a second try"
