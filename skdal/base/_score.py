"""The base of samplers that rank the pool by a score of each sample by itself."""

from abc import abstractmethod

import numpy as np

from skdal.adapters import warn_of_one_class
from skdal.base._base import BaseSampler
from skdal.base._shards import ShardCall, check_any, parts_of, shards_of
from skdal.base._stored import open_store
from skdal.base._table import Best, Table
from skdal.utils import (
    count_rows,
    exclusive,
    preserved_rng,
    query_generator,
    refuse_non_finite,
)


class ScoreSampler(BaseSampler):
    """Base of the samplers that rank the pool by a score of each sample by itself.

    A sample's score depends on the trained classifier, the labeled set and the sample alone, so a
    pool may be scored in any pieces.
    """

    def score_samples(self, X):
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
        with exclusive():
            trained = self._trained()
            trained, X, _ = self._prepared(trained, X)
            return self._checked_scores(trained, X)

    def best(self, X, n_instances=1):
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
            (n_instances,): "score", and for dynamicAL its terms "sq_norm" and "dot" and the predicted "label".
        """
        with exclusive():
            trained = self._trained()
            trained, X, n_instances = self._prepared(trained, X, n_instances)
            return self._best(
                trained,
                X,
                n_instances,
                query_generator(self.random_state, trained.n_labeled),
            )

    def _select(self, trained, X, n_instances, rng):
        best = self._best(trained, X, n_instances, rng)
        return best.positions, best.columns["score"]

    def _best(self, trained, X, n_top, rng=None):
        """Return the `Best` samples of a pool, with their columns."""
        best = Best(n_top)
        self._reduce(trained, X, best, rng, n_top)
        check_any(len(best.positions), count_rows(X), n_top)
        return best

    def _table(self, trained, X, rng=None):
        """Return the columns (n_pool,) of all samples; NaN or -1 for those that cannot be read."""
        table = Table(count_rows(X))
        self._reduce(trained, X, table, rng)
        return table.columns

    def _checked_scores(self, trained, X):
        return self._table(trained, X)["score"]

    def _reduce(self, trained, X, into, rng, n_top=None):
        warn_of_one_class(trained.classifier)
        with preserved_rng():
            shared = self._shared(trained, rng)
            call = ShardCall(self, trained, "_score_columns", shared, n_top, "_summary")
            store = open_store(self, trained, X, shared, shards_of(self, trained, X))
            if store is not None:
                call = ShardCall(
                    self, trained, "_score_columns", shared
                )  # what is kept is kept whole
            damaged, summaries = [], []
            with parts_of(self, call, X, store=store, description="scores") as parts:
                for part in parts:
                    into.add(part.positions, part.columns)
                    damaged.append(part.damaged)
                    summaries.append(
                        part.summary if store is None else self._summary(part.columns)
                    )
            if store is not None:
                store.finish(getattr(self, "unreadable_", []))
        refuse_non_finite(np.sort(np.concatenate(damaged)), count_rows(X))
        self._look_back(
            trained, [summary for summary in summaries if summary is not None]
        )

    def _summary(self, columns):
        """Return what to know of the columns of a whole shard, of which a query keeps the best samples; None: nothing.

        Parameters
        ----------
        columns : dict of str to array (n,)
            As `_score_columns` gives them; empty where no sample can be read.
        """

    def _look_back(self, trained, summaries):
        """Look back on a pass over the pool, say to warn of what it shows.

        Parameters
        ----------
        trained : Trained
        summaries : list
            Of the shards, in the order in which they came, without those that are None.
        """

    def _shared(self, trained, rng):
        """Return what is the same for all shards of the pool, a dict of arguments for `_score_columns`.

        Parameters
        ----------
        trained : Trained
        rng : numpy.random.Generator or None
            Of the query; None where `score_samples` asks.
        """
        return {}

    def _score_columns(self, trained, X, **shared):
        """Return a dict of arrays (n,) for some samples: "score", and whatever else belongs beside it."""
        return {
            "score": np.asarray(
                self._score_samples(trained, X, **shared), dtype=np.float64
            )
        }

    @abstractmethod
    def _score_samples(self, trained, X):
        """Return the scores (n,) of some samples of the pool in float64, higher first; see `_select`."""
