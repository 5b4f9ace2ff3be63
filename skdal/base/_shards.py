"""A sampler's work on a pool, shard by shard, wherever an executor runs it."""

import copy
import dataclasses
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from skdal.adapters import PackedEstimator, Trained, packed
from skdal.base._table import Best, cut
from skdal.exceptions import (
    GatherTooLargeError,
    InvalidDataError,
    InvalidSampleError,
    TooManyUnreadableError,
)
from skdal.parallel import SerialExecutor
from skdal.pools import (
    NothingReadableError,
    SetAside,
    has_keys,
    keys_of,
    max_unreadable,
    may_be_unreadable,
    unit_of,
)
from skdal.utils import count_rows, preserved_rng, progress_bar, refuse_non_finite

_SERIAL = SerialExecutor()


class PackedTrained(NamedTuple):
    """A `Trained` on its way."""

    classifier: PackedEstimator
    X: Any
    y: Any

    def on(self, device, batch_size):
        """Return it in a worker."""
        return Trained(self.classifier.on(device, batch_size), self.X, self.y)


class Part(NamedTuple):
    """What came of a shard.

    Attributes
    ----------
    positions : intp array (m,)
        Of its samples that are given back, in the pool.
    columns : dict of str to array or tensor (m, ...)
    unreadable : list of Unreadable
        Samples that were set aside.
    damaged : intp array
        Positions of samples whose score is NaN or infinite.
    summary : object
        What the sampler says of all its samples, of which the best may be all that is given back.
    """

    positions: np.ndarray
    columns: dict
    unreadable: list
    damaged: np.ndarray
    summary: Any = None

    def shifted(self, start):
        """Return the part of a shard that begins at `start`."""
        unreadable = [x._replace(position=x.position + start) for x in self.unreadable]
        return self._replace(
            positions=self.positions + start,
            unreadable=unreadable,
            damaged=self.damaged + start,
        )


@dataclasses.dataclass(frozen=True)
class Call:
    """A method of a sampler as a task for executors; see `Executor.map`.

    Attributes
    ----------
    sampler : BaseSampler
    trained : Trained
    method : str
        `method(trained, X, **shared)`, with labels `method(trained, X, y, **shared)`.
    shared : dict
        What is the same for all shards.
    """

    sampler: Any
    trained: Trained
    method: str
    shared: dict = dataclasses.field(default_factory=dict)
    is_remote: bool = dataclasses.field(default=False, kw_only=True)

    @property
    def common(self):
        """What the tasks of a query have in common."""
        return self.trained

    def packed_common(self):
        """Return what of that travels; its `on(device, batch_size)` gives it back in a worker."""
        return PackedTrained(
            packed(self.trained.classifier), self.trained.X, self.trained.y
        )

    def packed(self):
        """Return what travels besides: no estimators and data of the sampler, and not its executor."""
        sampler = copy.copy(self.sampler)
        for name in ("estimator_", "_trained_from", "X_labeled_", "y_labeled_"):
            vars(sampler).pop(name, None)
        sampler.estimator, sampler.executor, sampler.verbose = None, None, 0
        return dataclasses.replace(self, sampler=sampler, trained=None, is_remote=True)

    def on(self, common, batch_size):
        """Return what runs in a worker."""
        sampler = copy.copy(self.sampler)
        if batch_size is not None and "batch_size" in sampler.get_params(deep=False):
            sampler.batch_size = batch_size
        return dataclasses.replace(self, sampler=sampler, trained=common)

    def __call__(self, X, y=None):
        """Return what the method gives for a shard."""
        given = (self.trained, X) if y is None else (self.trained, X, y)
        with preserved_rng():
            found = getattr(self.sampler, self.method)(*given, **self.shared)
        return _on_cpu(found) if self.is_remote else found


def _on_cpu(columns):
    return {
        name: x.cpu() if isinstance(x, torch.Tensor) else x
        for name, x in columns.items()
    }


@dataclasses.dataclass(frozen=True)
class ShardCall(Call):
    """A method that gives a dict of columns (n, ...) for the n samples of a shard.

    Attributes
    ----------
    n_top : int or None
        Only so many samples of highest score are given back.
    summarize : str or None
        A method of the sampler: what `summarize(columns)` says of all the samples is given back, too.
    """

    n_top: int | None = None
    summarize: str | None = None

    def __call__(self, X, y=None):
        """Return the Part of a shard; positions are those in the shard."""
        n = count_rows(X)
        pool = SetAside(X) if may_be_unreadable(X) else X
        try:
            columns = super().__call__(pool, y)
        except NothingReadableError:
            columns = {}
        unreadable = pool.unreadable() if pool is not X else []
        positions = np.arange(n)
        if unreadable:
            positions = np.setdiff1d(positions, [x.position for x in unreadable])
            columns = {name: column[positions] for name, column in columns.items()}
        if self.n_top is not None:
            columns = _on_cpu(columns)
        damaged = (
            positions[~np.isfinite(np.asarray(columns["score"]))]
            if "score" in columns
            else positions[:0]
        )
        summary = (
            getattr(self.sampler, self.summarize)(columns) if self.summarize else None
        )
        return Part(*cut(positions, columns, self.n_top), unreadable, damaged, summary)


class Aside:
    """The samples of a query that were set aside so far, the sampler's `unreadable_`; too many of them end it.

    Parameters
    ----------
    sampler : BaseSampler
    X : data
        The pool.
    """

    def __init__(self, sampler, X):
        self._sampler, self.found, self._n_rows, self._share = (
            sampler,
            [],
            count_rows(X),
            max_unreadable(X),
        )
        if hasattr(sampler, "unreadable_"):
            sampler.unreadable_ = []

    def add(self, unreadable):
        """Add those of a shard.

        Raises
        ------
        TooManyUnreadableError
            There are more than the pool allows.
        """
        if not unreadable:
            return
        self.found = self._sampler.unreadable_ = sorted(self.found + unreadable)
        if len(self.found) > self._share * self._n_rows:
            first = "; ".join(x.reason for x in self.found[:3])
            raise TooManyUnreadableError(
                f"{len(self.found)} of {self._n_rows} samples of the pool cannot be read so far, more than its "
                f"max_unreadable={self._share:g} allows, such as: {first}. Mend or remove them, or raise "
                "max_unreadable."
            )


def parts_of(
    sampler, call, X, y=None, *, slices=None, store=None, description="samples"
):
    """Return an iterator over the Part of each shard of a pool, positions in the pool, in the order in which they come.

    It is a context manager: when the block is left, whatever happened there, workers are free for the next query.

    Parameters
    ----------
    sampler : BaseSampler
        Its executor runs the call.
    call : ShardCall
    X : data
    y : array, optional
        Goes to the call, row by row.
    slices : list of slice, optional
        The shards; None: as the executor cuts them.
    store : ScoreStore, optional
        Parts that it holds are not computed again; others are put there.
    description : str
        For the progress bar.
    """
    return closing(_parts(sampler, call, X, y, slices, store, description))


def _parts(sampler, call, X, y, slices, store, description):
    executor = _SERIAL if sampler.executor is None else sampler.executor
    n_rows = count_rows(X)
    slices = shards_of(sampler, call.trained, X) if slices is None else slices
    aside, missing = Aside(sampler, X), slices
    is_whole = len(slices) == 1 and not executor.is_remote
    with progress_bar(
        n_rows, description, sampler.verbose and not is_whole, unit=unit_of(X)
    ) as bar:
        if store is not None:
            for part in store.parts():
                aside.add(part.unreadable)
                yield part
            missing = store.missing
            bar.update(n_rows - sum(rows.stop - rows.start for rows in missing))
        if not is_whole:
            quiet = copy.copy(sampler)
            quiet.verbose = 0
            call = dataclasses.replace(call, sampler=quiet)
        with closing(executor.map(call, X, y, missing)) as found, _keys_in_errors(X):
            for k, part in found:
                rows = missing[k]
                part = part.shifted(rows.start)
                if store is not None:
                    store.keep(rows, part)
                aside.add(part.unreadable)
                bar.update(rows.stop - rows.start)
                yield part


@contextmanager
def _keys_in_errors(X):
    """Run a block in which an error about a sample of the pool X is raised with its key, where the pool has keys."""
    try:
        yield
    except InvalidSampleError as error:
        if error.position is None or not has_keys(X):
            raise
        raise error.at(
            error.position, key=keys_of(X, [error.position])[0]
        ) from error.__cause__


def shards_of(sampler, trained, X):
    """Return the shards of a pool, as the sampler's executor cuts it."""
    executor = _SERIAL if sampler.executor is None else sampler.executor
    X = SetAside(X) if may_be_unreadable(X) else X
    return executor.slices(
        count_rows(X), sampler._unit(trained, X, executor.batch_size)
    )


def gathered(sampler, call, X, n_instances=1):
    """Return (positions, columns) of all readable samples, of which there have to be `n_instances`."""
    executor = _SERIAL if sampler.executor is None else sampler.executor
    n, total, is_there = count_rows(X), None, np.zeros(count_rows(X), dtype=bool)
    with parts_of(sampler, call, X, description="embeddings") as parts:
        for part in parts:
            if total is None and part.columns:
                _check_gather(
                    n, part.columns, executor.gather_limit, type(sampler).__name__
                )
            if len(part.positions) == n:
                return part.positions, part.columns
            if total is None and part.columns:
                total = {
                    name: x.new_empty(n, *x.shape[1:])
                    for name, x in part.columns.items()
                }
            for name, x in part.columns.items():
                total[name][part.positions] = x
            is_there[part.positions] = True
    check_any(is_there.sum(), n, n_instances)
    return np.flatnonzero(is_there), total if is_there.all() else {
        name: x[is_there] for name, x in total.items()
    }


def candidates(sampler, call, X, n_candidates, n_instances=1):
    """Return (positions, columns) of the readable samples of highest score, by position."""
    best, damaged = Best(n_candidates), []
    with parts_of(
        sampler,
        dataclasses.replace(call, n_top=n_candidates),
        X,
        description="candidates",
    ) as parts:
        for part in parts:
            best.add(
                part.positions,
                {name: np.asarray(x) for name, x in part.columns.items()},
            )
            damaged.append(part.damaged)
    refuse_non_finite(np.sort(np.concatenate(damaged)), count_rows(X))
    check_any(len(best.positions), count_rows(X), n_instances)
    order = np.argsort(best.positions)
    return best.positions[order], {
        name: torch.from_numpy(x[order]) for name, x in best.columns.items()
    }


def _check_gather(n, columns, limit, asker):
    numbers = sum(n * x[0].numel() for x in columns.values())
    if limit is not None and numbers > limit:
        raise GatherTooLargeError(
            f"{asker} would gather {numbers:.3g} numbers of {n} samples here, above gather_limit={limit:.3g} of the "
            "executor. Pass n_candidates=, so that only the samples of highest score are looked at, or raise the limit."
        )


def check_any(n_readable, n, n_instances=1):
    """Raise if a query has fewer readable samples to choose from than it needs."""
    if n_readable < n_instances:
        raise InvalidDataError(
            f"{n_readable} of {n} samples of the pool can be read, and {n_instances} are asked for; mend the pool or "
            "ask for fewer."
        )
