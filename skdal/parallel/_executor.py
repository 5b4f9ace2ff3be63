"""What an executor is, and the one that works in this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skdal.utils import (
    check_parameters,
    count_rows,
    integer_from,
    optional,
    positions_from,
    row_slices,
    take_rows,
)

_SHARD_BATCHES = 32  # mini-batches of a shard where no size is given
# what stands for a mini-batch where samples are worked one by one, as classifiers that are not nets
# do
_ROWS = 1024
# of a shard that stays here and is not stored; its scores are all that memory grows with
_WHOLE_BATCHES = 128


class Executor(ABC):
    """Base of the executors: the shards of a pool, and where their scores are kept.

    Parameters
    ----------
    shard_size : int, optional
        Samples of a shard, rounded up to whole mini-batches, so that scores are the same bit for
        bit wherever it is cut (on CPUs, with the same number of threads).
    scores_dir : str or Path, optional
        Folder in which the scores of each shard are kept as Parquet. A query that was cut short
        goes on from there; scores of another net, labeled set, pool or sampler are never taken for
        its own.

    Attributes
    ----------
    is_remote : bool
        Whether tasks leave this process.
    batch_size : int or None
        Samples per mini-batch in the workers; None: as the sampler has it.
    gather_limit : int or None
        Numbers that samplers which look at all representations at once may gather; None: no limit.
    """

    is_remote = False
    batch_size: int | None = None
    gather_limit: int | None = None

    def __init__(
        self, *, shard_size: int | None = None, scores_dir: str | Path | None = None
    ) -> None:
        self.shard_size = shard_size
        check_parameters(self, {"shard_size": optional(integer_from(1))})
        self.scores_dir = None if scores_dir is None else Path(scores_dir)

    def slices(self, n_rows: int, unit: int) -> list[slice]:
        """Return the shards of `n_rows` samples: consecutive slices of whole mini-batches of
        `unit`.
        """
        if self.shard_size is not None:
            return list(row_slices(n_rows, -(-self.shard_size // unit) * unit))
        return list(row_slices(n_rows, _SHARD_BATCHES * (unit if unit > 1 else _ROWS)))

    def shutdown(self) -> None:  # noqa: B027 there may be nothing
        """Let go of what was started for the work."""

    @abstractmethod
    def map(self, task: Any, X: Any, y: Any, slices: list[slice]) -> Iterator:
        """Yield (k, task(rows of X, rows of y)) for the k-th of the slices, each once, in any
        order.

        Parameters
        ----------
        task : object
            `task(X, y)` works on a shard. What travels is `task.packed_common()`, once for all
            tasks with the same object `task.common`, and `task.packed()`; what runs in a worker is
            `task.on(common, batch_size)`, with what the former's `on(device, batch_size)` gives
            there. An InvalidSampleError of it is raised with the position in X.
        X : data
        y : array or None
        slices : list of slice
        """


class SerialExecutor(Executor):
    """Work in this process, one shard after the other, as samplers do without an executor.

    Parameters
    ----------
    shard_size : int, optional
        Samples of a shard, rounded up to whole mini-batches. None: 128 mini-batches, or with
        `scores_dir` 32.
    scores_dir : str or Path, optional
        Folder in which the scores of each shard are kept as Parquet, so that a query that was cut
        short goes on from there. Needs the extra `skdal[ray]`, for pyarrow.

    Examples
    --------
    >>> from skdal.parallel import SerialExecutor
    >>> [(rows.start, rows.stop) for rows in SerialExecutor(shard_size=100).slices(300, unit=64)]
    [(0, 128), (128, 256), (256, 300)]
    """

    def slices(self, n_rows: int, unit: int) -> list[slice]:
        """Return the shards of `n_rows` samples: consecutive slices of whole mini-batches of
        `unit`.
        """
        if self.shard_size is None and self.scores_dir is None:
            return list(
                row_slices(n_rows, _WHOLE_BATCHES * (unit if unit > 1 else _ROWS))
            )
        return super().slices(n_rows, unit)

    def map(self, task: Any, X: Any, y: Any, slices: list[slice]) -> Iterator:
        """Yield (k, task(rows of X, rows of y)) for the k-th of the slices, in order."""
        for k, rows in enumerate(slices):
            part = X if rows == slice(0, count_rows(X)) else take_rows(X, rows)
            with positions_from(rows.start):
                found = task(part, None if y is None else y[rows])
            yield k, found

    def __repr__(self):
        return f"SerialExecutor(shard_size={self.shard_size}, scores_dir={self.scores_dir})"
