"""A work on one shard, here or in a worker: the task that executors run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from skdal.adapters import PackedEstimator, Trained, packed
from skdal.base._reducers import highest
from skdal.base._work import Work
from skdal.pools import NothingReadableError, SetAside, may_be_unreadable
from skdal.utils import count_rows, preserved_rng


class Part(NamedTuple):
    """What came of a shard.

    Attributes
    ----------
    shard : int
        Which one it is.
    positions : intp array (m,)
        Of the samples that are given back, in the pool.
    columns : dict of str to array or tensor (m, ...)
    unreadable : list of Unreadable
        Samples that cannot be read.
    damaged : intp array
        Positions of samples whose score is NaN or infinite.
    summary : object
        What the work says of all samples of the shard.
    """

    shard: int
    positions: np.ndarray
    columns: dict
    unreadable: list
    damaged: np.ndarray
    summary: Any = None

    def of_shard(self, index: int, start: Any) -> Any:
        """Return the part as that of the shard `index`, which begins at `start`."""
        unreadable = [x._replace(position=x.position + start) for x in self.unreadable]
        return self._replace(
            shard=index,
            positions=self.positions + start,
            unreadable=unreadable,
            damaged=self.damaged + start,
        )


class PackedTrained(NamedTuple):
    """A `Trained` on its way to a worker."""

    classifier: PackedEstimator
    X: Any
    y: Any

    def on(self, device, batch_size):
        """Return the `Trained` in a worker."""
        return Trained(self.classifier.on(device, batch_size), self.X, self.y)


@dataclass(frozen=True)
class ShardTask:
    """A work with the trained classifier that it reads; see `Executor.map`.

    Attributes
    ----------
    work : Work
    trained : Trained or None
        None on the way to a worker.
    n_top : int or None
        Only so many samples of highest score are given back.
    has_rows : bool
        Whether the work gives a row for each sample; samples that cannot be read are then set
        aside.
    is_remote : bool
        Whether this runs in a worker.
    """

    work: Work
    trained: Trained | None
    n_top: int | None = None
    has_rows: bool = True
    is_remote: bool = False

    @property
    def common(self):
        """What the tasks of a query have in common."""
        return self.trained

    def packed_common(self):
        """Return what of that travels; its `on(device, batch_size)` gives it back in a worker."""
        classifier = packed(self.trained.classifier)
        return PackedTrained(classifier, self.trained.X, self.trained.y)

    def packed(self):
        """Return what travels besides."""
        return dataclasses.replace(self, trained=None, is_remote=True)

    def on(self, common, batch_size):
        """Return the task that runs in a worker."""
        work = self.work.with_batch_size(batch_size)
        return dataclasses.replace(self, work=work, trained=common)

    def __call__(self, X, y=None):
        """Return the Part of a shard; positions are those in the shard."""
        n = count_rows(X)
        sets_aside = self.has_rows and may_be_unreadable(X)
        pool = SetAside(X) if sets_aside else X
        try:
            columns = self._columns(pool, y)
        except NothingReadableError:
            columns = {}
        unreadable = pool.unreadable() if sets_aside else []
        positions = np.arange(n)
        if unreadable:
            positions = np.setdiff1d(positions, [x.position for x in unreadable])
            columns = {name: column[positions] for name, column in columns.items()}
        damaged = positions[_not_finite(columns)] if self.has_rows else positions[:0]
        summary = self.work.summary(columns)
        positions, columns = _top(positions, columns, self.n_top)
        return Part(0, positions, columns, unreadable, damaged, summary)

    def _columns(self, X, y):
        labels = () if y is None else (y,)
        with preserved_rng():
            columns = self.work(self.trained, X, *labels)
        if self.is_remote or self.n_top is not None:
            return {name: _on_cpu(column) for name, column in columns.items()}
        return columns


def _not_finite(columns):
    """Return a mask (n,), or an empty slice where there are no scores."""
    if "score" not in columns:
        return slice(0, 0)
    return ~np.isfinite(np.asarray(columns["score"]))


def _top(positions, columns, n_top):
    """Return (positions, columns) of the `n_top` highest scores, or of all for None."""
    if n_top is None or len(positions) <= n_top or "score" not in columns:
        return positions, columns
    best = highest(np.asarray(columns["score"]), n_top)
    return positions[best], {name: column[best] for name, column in columns.items()}


def _on_cpu(column):
    return column.cpu() if isinstance(column, torch.Tensor) else column
