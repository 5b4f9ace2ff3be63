"""Work: what a pass over a pool does with the samples of a shard."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdal.adapters import (
    default_batch_size,
    final_estimator,
    is_net,
    proba_batch_size,
)


@dataclass(frozen=True, kw_only=True)
class Work(ABC):
    """Base of the works: small values that a sampler makes, that travel to workers, and that are
    called there.

    A subclass is a frozen dataclass. Its fields hold what all shards need besides the trained
    classifier; stored scores are found again by the fields and by the code of the class.

    Parameters
    ----------
    verbose : int, default=0
        1 shows a progress bar for the samples of a shard.
    """

    verbose: int = 0

    @abstractmethod
    def __call__(self, trained: Any, X: Any) -> Any:
        """Return a dict of arrays or tensors (n, ...) for the n samples of a shard; "score" ranks
        them.

        Parameters
        ----------
        trained : Trained
            The classifier and its labeled set.
        X : data (n, ...)
            Where a pass is given labels, they come as a third argument.
        """

    def unit(self, trained: Any, X: Any, batch_size: int | None = None) -> int:
        """Return the mini-batch length at whose multiples shards are cut, so that scores repeat bit
        for bit.

        Parameters
        ----------
        trained : Trained
        X : data
            The pool.
        batch_size : int or None
            Of the executor; it wins over any other.
        """
        if not is_net(trained.classifier):
            return batch_size or 1
        return batch_size or proba_batch_size(final_estimator(trained.classifier))

    def summary(self, columns: Any) -> Any:
        """Return what to know of all samples of a shard, of which a query keeps only the best; None
        for nothing.

        Parameters
        ----------
        columns : dict of str to array (n,)
            What the work gave for the samples that can be read; empty where there are none.
        """
        return None

    def with_batch_size(self, batch_size: int | None) -> Any:
        """Return the work with mini-batches of that length, where it has a length of its own and
        one is given.
        """
        has_own = any(x.name == "batch_size" for x in dataclasses.fields(self))
        if batch_size is None or not has_own:
            return self
        changes: dict[str, Any] = {"batch_size": batch_size}
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class ModuleWork(Work):
    """Base of the works that read mini-batches of a net's module themselves."""

    def unit(self, trained: Any, X: Any, batch_size: int | None = None) -> int:
        """Return the mini-batch length that the module is read in; see `Work.unit`."""
        return batch_size or default_batch_size(X, trained.classifier)


@dataclass(frozen=True, kw_only=True)
class FunctionWork(Work):
    """A function `(trained, X) -> scores (n,)`, or a dict of columns, as a work."""

    function: Callable[..., Any]

    def __call__(self, trained, X):
        """Return the columns that the function gives."""
        found = self.function(trained, X)
        if isinstance(found, dict):
            return found
        return {"score": np.asarray(found, dtype=np.float64)}


def as_work(work: Any, verbose: int) -> Any:
    """Return a Work that shows a progress bar for `verbose` above 0; a function becomes one."""
    if not isinstance(work, Work):
        return FunctionWork(function=work, verbose=verbose)
    return dataclasses.replace(work, verbose=verbose)
