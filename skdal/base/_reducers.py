"""Reducers: what a pass over a pool makes of the parts that come of its shards, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from skdal.exceptions import GatherTooLargeError
from skdal.gradients._sums import add_to


def highest(scores: np.ndarray, n_instances: int) -> np.ndarray:
    """Return the positions of the highest scores, best first, ties by lower position."""
    return np.argsort(-scores, kind="stable")[:n_instances]


class Reducer(ABC):
    """Base of the reducers.

    Attributes
    ----------
    n_top : int or None
        Only so many samples of highest score are wanted of a shard; None: all.
    has_rows : bool
        Whether parts have a row for each sample. False: they are sums over their samples, all of
        which have to be readable.
    """

    n_top: int | None = None
    has_rows = True

    @abstractmethod
    def add(self, part):
        """Take note of a Part."""


class Best(Reducer):
    """The samples of highest score.

    Parameters
    ----------
    n_top : int

    Attributes
    ----------
    positions : intp array (at most n_top,)
        In the pool, best first, ties by lower position.
    columns : dict of str to array
    """

    def __init__(self, n_top: int) -> None:
        self.n_top = n_top
        self.positions = np.empty(0, dtype=np.intp)
        self.columns: dict[str, np.ndarray] = {}

    def add(self, part: Any) -> None:
        """Take note of a Part, whose "score" counts."""
        if not len(part.positions):
            return
        positions = np.concatenate([self.positions, part.positions])
        columns = {
            name: np.concatenate([self.columns.get(name, x[:0]), x])
            for name, x in _arrays(part.columns)
        }
        best = np.lexsort((positions, -columns["score"]))[: self.n_top]
        self.positions = positions[best]
        self.columns = {name: x[best] for name, x in columns.items()}

    def by_position(self) -> tuple:
        """Return (positions, columns), ascending by position."""
        order = np.argsort(self.positions)
        columns = {name: x[order] for name, x in self.columns.items()}
        return self.positions[order], columns


class Table(Reducer):
    """The columns of all samples.

    Parameters
    ----------
    n_rows : int
        Rows of samples that cannot be read hold NaN, or -1 in columns of integers.

    Attributes
    ----------
    columns : dict of str to array (n_rows,)
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.columns: dict[str, np.ndarray] = {}

    def add(self, part: Any) -> None:
        """Take note of a Part."""
        for name, x in part.columns.items():
            if name not in self.columns:
                empty = -1 if x.dtype.kind in "iu" else np.nan
                self.columns[name] = np.full(self.n_rows, empty, dtype=x.dtype)
            self.columns[name][part.positions] = x


class Gather(Reducer):
    """The tensors of all samples that can be read, joined.

    Parameters
    ----------
    n_rows : int
    limit : int or None
        Numbers that may come together; None: any.
    asker : str
        Who is told of the limit.

    Attributes
    ----------
    positions : intp array (m,)
        Of the samples, ascending.
    columns : dict of str to tensor (m, ...)
    """

    def __init__(self, n_rows: int, limit: int | None = None, asker: str = "") -> None:
        self._n_rows = n_rows
        self._limit = limit
        self._asker = asker
        self._is_there = np.zeros(n_rows, dtype=bool)
        self._total: dict[str, torch.Tensor] = {}

    def add(self, part: Any) -> None:
        """Take note of a Part."""
        columns = {name: _as_tensor(x) for name, x in part.columns.items()}
        if not columns:
            return
        self._is_there[part.positions] = True
        if not self._total:
            self._check_size(columns)
            if len(part.positions) == self._n_rows:
                self._total = columns
                return
            self._total = {
                name: x.new_empty(self._n_rows, *x.shape[1:])
                for name, x in columns.items()
            }
        for name, x in columns.items():
            self._total[name][part.positions] = x

    @property
    def positions(self) -> np.ndarray:
        """Positions (m,) of the samples that are there."""
        return np.flatnonzero(self._is_there)

    @property
    def columns(self) -> dict:
        """Tensors (m, ...) of the samples that are there."""
        if self._is_there.all():
            return self._total
        return {name: x[self._is_there] for name, x in self._total.items()}

    def _check_size(self, columns):
        numbers = sum(self._n_rows * x[0].numel() for x in columns.values())
        if self._limit is not None and numbers > self._limit:
            raise GatherTooLargeError(
                f"{self._asker} would gather {numbers:.3g} numbers of {self._n_rows} samples "
                f"here, above gather_limit={self._limit:.3g} of the executor. Pass "
                "n_candidates=, so that only the samples of highest score are looked at, or "
                "raise the limit."
            )


class OrderedSum(Reducer):
    """The sum of dicts of tensors, added in the order of the shards, so that it repeats bit for
    bit.

    Attributes
    ----------
    total : dict of str to tensor, or None
    """

    has_rows = False

    def __init__(self) -> None:
        self.total: dict | None = None
        self._waiting: dict[int, dict] = {}
        self._n_added = 0

    def add(self, part: Any) -> None:
        """Take note of a Part, and add up as far as all earlier ones are there."""
        self._waiting[part.shard] = part.columns
        while self._n_added in self._waiting:
            self.total = add_to(self.total, self._waiting.pop(self._n_added))
            self._n_added += 1


def _as_tensor(x):
    """Return a tensor; arrays that a worker sent may be written on by nobody, so they are
    copied.
    """
    if isinstance(x, torch.Tensor):
        return x
    return torch.from_numpy(np.require(x, requirements="W"))


def _arrays(columns):
    return [(name, np.asarray(x)) for name, x in columns.items()]
