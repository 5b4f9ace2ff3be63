"""One pass over a pool: a work on every shard, wherever an executor runs it, and a reducer of what
comes of it.
"""

from __future__ import annotations

import dataclasses
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skdal.base._task import ShardTask
from skdal.exceptions import (
    InvalidDataError,
    InvalidSampleError,
    TooManyUnreadableError,
)
from skdal.parallel import SerialExecutor
from skdal.pools import (
    SetAside,
    has_keys,
    keys_of,
    max_unreadable,
    may_be_unreadable,
    unit_of,
)
from skdal.utils import count_rows, progress_bar

_SERIAL = SerialExecutor()


class PassResult(NamedTuple):
    """What came of a pass.

    Attributes
    ----------
    value : Reducer
        The reducer, which knows all parts.
    unreadable : list of Unreadable
        Samples of the pool that cannot be read, by position.
    damaged : intp array
        Positions of samples whose score is NaN or infinite, ascending.
    summaries : list
        What the work says of shards, in the order in which they came, without None.
    """

    value: Any
    unreadable: list
    damaged: np.ndarray
    summaries: list


def run_pass(
    work: Any,
    trained: Any,
    X: Any,
    executor: Any,
    reducer: Any,
    *,
    y: Any = None,
    slices: list[slice] | None = None,
    store: Any = None,
    description: str = "samples",
) -> Any:
    """Run a work on all shards of a pool and give what comes of it to a reducer.

    Parameters
    ----------
    work : Work
    trained : Trained
    X : data
    executor : Executor or None
        None: this process.
    reducer : Reducer
    y : array, optional
        Goes to the work, row by row.
    slices : list of slice, optional
        The shards; None: as the executor cuts them.
    store : ScoreStore, optional
        Parts that it holds are not computed again; others are put there.
    description : str
        For the progress bar.

    Returns
    -------
    PassResult

    Raises
    ------
    TooManyUnreadableError
        More samples cannot be read than the pool allows.
    """
    executor = _SERIAL if executor is None else executor
    slices = shards_of(work, trained, X, executor) if slices is None else slices
    run = _Pass(work, trained, X, y, executor, slices, store, reducer, description)
    unreadable = []
    damaged = [np.empty(0, dtype=np.intp)]
    summaries = []
    # Workers are free for the next query when this block is left, whatever happened in it.
    with closing(run.parts()) as parts:
        for part in parts:
            unreadable += part.unreadable
            _check_share(unreadable, X)
            damaged.append(part.damaged)
            summaries.append(part.summary)
            reducer.add(part)
    return PassResult(
        value=reducer,
        unreadable=sorted(unreadable),
        damaged=np.sort(np.concatenate(damaged)),
        summaries=[summary for summary in summaries if summary is not None],
    )


def shards_of(work, trained, X, executor=None):
    """Return the shards of a pool, as an executor cuts it for a work."""
    executor = _SERIAL if executor is None else executor
    X = SetAside(X) if may_be_unreadable(X) else X
    unit = work.unit(trained, X, executor.batch_size)
    return executor.slices(count_rows(X), unit)


def check_any(n_readable: int, n: int, n_instances: int = 1) -> None:
    """Raise if a query has fewer readable samples to choose from than it needs."""
    if n_readable < n_instances:
        raise InvalidDataError(
            f"{n_readable} of {n} samples of the pool can be read, and {n_instances} are asked "
            "for; mend the pool or ask for fewer."
        )


@dataclass(frozen=True)
class _Pass:
    """The shards of a pass, those that a store holds and those that have to be computed."""

    work: Any
    trained: Any
    X: Any
    y: Any
    executor: Any
    slices: list
    store: Any
    reducer: Any
    description: str

    def parts(self):
        """Yield the Part of each shard, with positions in the pool, in the order in which they
        come.
        """
        n_rows = count_rows(self.X)
        verbose = 0 if self._is_whole else self.work.verbose
        unit = unit_of(self.X)
        with progress_bar(n_rows, self.description, verbose, unit=unit) as bar:
            for rows, part in self._stored():
                bar.update(rows.stop - rows.start)
                yield part
            with closing(self._computed()) as computed:
                for rows, part in computed:
                    bar.update(rows.stop - rows.start)
                    yield part

    @property
    def _is_whole(self):
        """Whether one shard is worked on here, which then shows its own progress."""
        return len(self.slices) == 1 and not self.executor.is_remote

    def _stored(self):
        if self.store is None:
            return
        for rows, part in self.store.parts():
            yield rows, part._replace(summary=self.work.summary(part.columns))

    def _computed(self):
        # What a store keeps of a shard is kept whole.
        n_top = self.reducer.n_top if self.store is None else None
        verbose = self.work.verbose if self._is_whole else 0
        work = dataclasses.replace(self.work, verbose=verbose)
        task = ShardTask(work, self.trained, n_top, self.reducer.has_rows)
        missing = self.slices if self.store is None else self.store.missing
        found = self.executor.map(task, self.X, self.y, missing)
        with closing(found), _keys_in_errors(self.X):
            for k, part in found:
                rows = missing[k]
                part = part.of_shard(k, rows.start)
                if self.store is not None:
                    self.store.keep(rows, part)
                yield rows, part


def _check_share(unreadable, X):
    """Raise if more samples of the pool cannot be read than it allows."""
    if not unreadable:
        return
    n_rows = count_rows(X)
    share = max_unreadable(X)
    if len(unreadable) <= share * n_rows:
        return
    first = "; ".join(x.reason for x in sorted(unreadable)[:3])
    raise TooManyUnreadableError(
        f"{len(unreadable)} of {n_rows} samples of the pool cannot be read so far, more than its "
        f"max_unreadable={share:g} allows, such as: {first}. Mend or remove them, or raise "
        "max_unreadable."
    )


@contextmanager
def _keys_in_errors(X):
    """Run a block in which an error about a sample of the pool X is raised with its key, where the
    pool has keys.
    """
    try:
        yield
    except InvalidSampleError as error:
        if error.position is None or not has_keys(X):
            raise
        key = keys_of(X, [error.position])[0]
        raise error.at(error.position, key=key) from error.__cause__
