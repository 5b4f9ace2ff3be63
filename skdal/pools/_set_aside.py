"""Pools with samples that cannot be read: these are set aside, and a query goes on without them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from skdal.exceptions import UnreadableSampleError
from skdal.pools._view import view


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


class SetAside(Dataset):
    """A pool in which a readable sample stands in for each that is unreadable; which these are is
    kept.

    Marks are in memory that a DataLoader's worker processes share.

    Parameters
    ----------
    dataset : Dataset
        Its items may raise UnreadableSampleError.
    """

    def __init__(self, dataset: Any) -> None:
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

    def unreadable(self) -> list:
        """Return the Unreadable that came up so far, by position."""
        positions = torch.nonzero(self._marks).ravel().tolist()
        if not positions:
            return []
        seen = view(self.dataset)
        keys = [None] * len(positions)
        if seen.has_keys:
            keys = seen.keys(np.array(positions, dtype=np.intp))
        return [Unreadable(i, key, self._reason(i)) for i, key in zip(positions, keys)]

    def _reason(self, i):
        try:
            self.dataset[i]
        except UnreadableSampleError as error:
            return str(error)
        return "it could be read at a second try"


@view.register
def _(X: SetAside):
    return view(X.dataset)
