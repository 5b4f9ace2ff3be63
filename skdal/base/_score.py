"""The base of samplers that rank the pool by a score of each sample by itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from skdal.adapters import warn_of_one_class
from skdal.base._base import BaseSampler, Selection
from skdal.base._pass import check_any, run_pass, shards_of
from skdal.base._reducers import Best, Table
from skdal.base._stored import open_store
from skdal.base._work import as_work
from skdal.utils import count_rows, query_generator, refuse_non_finite


class ScoreSampler(BaseSampler):
    """Base of the samplers that rank the pool by a score of each sample by itself.

    A sample's score depends on the trained classifier, the labeled set and the sample alone, so a
    pool may be scored in any pieces. A sampler's author writes `_work`, which gives what scores a
    piece.
    """

    def score_samples(self, X: Any) -> np.ndarray:
        """Score each sample of the pool.

        Parameters
        ----------
        X : data (n_pool, ...)
            The pool.

        Returns
        -------
        scores : float64 array (n_pool,)
            Higher: ask first. NaN for a sample that the pool could not read, see `unreadable_`.
        """
        with self._reading():
            trained, X, _ = self._prepared(self._trained(), X)
            result = self._pass_over(trained, X, Table(count_rows(X)))
            self._set_unreadable(X, result.unreadable)
            return result.value.columns["score"]

    def best(self, X: Any, n_instances: int = 1) -> Any:
        """Choose as `query` does, and return all that is known of the samples.

        Parameters
        ----------
        X : data (n_pool, ...)
            The pool.
        n_instances : int, default=1
            How many, from 1 to n_pool.

        Returns
        -------
        Best
            `positions` (n_instances,) in the pool, best first, and `columns`, a dict of arrays
            (n_instances,): "score", and for dynamicAL its terms "sq_norm" and "dot" and the
            predicted "label".
        """
        with self._reading():
            trained, X, n_instances = self._prepared(self._trained(), X, n_instances)
            rng = query_generator(self.random_state, trained.n_labeled)
            result = self._best(trained, X, n_instances, rng)
            self._set_unreadable(X, result.unreadable)
            return result.value

    def _select(self, trained, X, n_instances, rng):
        result = self._best(trained, X, n_instances, rng)
        best = result.value
        return Selection(best.positions, best.columns["score"], result.unreadable)

    def _best(self, trained, X, n_top, rng=None):
        """Return the PassResult of the `Best` samples of a pool."""
        result = self._pass_over(trained, X, Best(n_top), rng)
        check_any(len(result.value.positions), count_rows(X), n_top)
        return result

    def _scores(self, trained, X):
        """Return the scores (n_pool,) of a pool that is prepared."""
        return self._pass_over(trained, X, Table(count_rows(X))).value.columns["score"]

    def _pass_over(self, trained, X, reducer, rng=None):
        """Return the PassResult of the sampler's work on a pool; raise if a score is not finite."""
        warn_of_one_class(trained.classifier)
        work = as_work(self._work(trained, rng), self.verbose)
        slices = shards_of(work, trained, X, self.executor)
        store = open_store(work, trained, X, self.executor, slices)
        result = run_pass(
            work,
            trained,
            X,
            self.executor,
            reducer,
            slices=slices,
            store=store,
            description="scores",
        )
        if store is not None:
            store.finish(result.unreadable)
        refuse_non_finite(result.damaged, count_rows(X))
        self._look_back(trained, result.summaries)
        return result

    @abstractmethod
    def _work(self, trained, rng):
        """Return what scores the samples of a shard.

        Parameters
        ----------
        trained : Trained
            The classifier and its labeled set; what is the same for all shards is made of it here,
            once.
        rng : numpy.random.Generator or None
            The query's source of chance; None where `score_samples` asks.

        Returns
        -------
        callable
            A function `(trained, X) -> scores (n,)`, higher is asked first, such as one of the
            author's module or a `functools.partial` of it; or a `Work`. It travels to workers, so
            it should not hold the sampler.
        """

    def _look_back(self, trained, summaries):
        """Look back on a pass over the pool, say to warn of what it shows.

        Parameters
        ----------
        trained : Trained
        summaries : list
            What `Work.summary` gave for the shards.
        """
