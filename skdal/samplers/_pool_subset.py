"""A wrapper that lets any sampler see a random part of the pool."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from skdal.base import BaseSampler, Selection
from skdal.exceptions import InvalidParameterError, InvalidSampleError
from skdal.samplers._dynamical import DynamicALSampler
from skdal.utils import count_rows, is_positive_integer, take_rows


@dataclass(eq=False, repr=False, kw_only=True)
class PoolSubset(BaseSampler):
    """Let a sampler choose from a random part of the pool, drawn anew for each query.

    The habit of the literature for pools that are too large to score: cost no longer grows with the
    pool, and near-duplicates are seen less often together.

    Parameters
    ----------
    estimator : classifier, optional
        One that the sampler can work with; see `BaseSampler`.
    sampler : sampler, optional
        Chooses; None: `DynamicALSampler()`. Its own estimator is not used, and its random numbers
        come from this sampler's `random_state`.
    subset_size : int, default=10_000
        Samples that it sees; at least `n_instances`. A pool that is no larger is seen whole, in its
        order.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    Attributes
    ----------
    sampler_ : sampler
        A clone of `sampler`, made at the first query; it keeps what it learns from round to round.
    seen_ : intp array
        Positions in the pool that the last query saw, ascending.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.samplers import MarginSampler, PoolSubset
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = LogisticRegression(max_iter=500)
    >>> subset = PoolSubset(classifier, sampler=MarginSampler(), subset_size=200, random_state=0)
    >>> indices = subset.fit(X[:100], y[:100]).query(X[100:], n_instances=5)
    >>> len(subset.seen_), set(indices.tolist()) <= set(subset.seen_.tolist())
    (200, True)
    """

    sampler: BaseSampler | None = None
    subset_size: int = 10_000

    keeps_state_over_rounds = True

    def _select(self, trained, X, n_instances, rng):
        if n_instances > self.subset_size:
            raise InvalidParameterError(
                f"n_instances is {n_instances}, and subset_size={self.subset_size} lets the "
                "sampler see fewer samples; enlarge subset_size or ask for fewer."
            )
        n = count_rows(X)
        seen = np.arange(n)
        if n > self.subset_size:
            seen = np.sort(rng.choice(n, self.subset_size, replace=False))
        part = X if len(seen) == n else take_rows(X, seen)
        sampler = self._inner()
        try:
            selection = sampler._selected(trained, part, n_instances, rng)
        except InvalidSampleError as error:
            if error.of != "the pool" or error.position is None:
                raise
            raise error.at(int(seen[error.position])) from error.__cause__
        self.sampler_ = sampler
        self.seen_ = seen
        unreadable = [
            x._replace(position=int(seen[x.position])) for x in selection.unreadable
        ]
        return Selection(seen[selection.indices], selection.scores, unreadable)

    def _inner(self):
        """Return what was asked before, with today's parameters, or a clone."""
        wanted = self._sampler()
        known = getattr(self, "sampler_", None)
        inner = known if type(known) is type(wanted) else clone(wanted)
        inner.set_params(**wanted.get_params(deep=False))
        inner.verbose = max(wanted.verbose, self.verbose)
        inner.executor = self.executor if wanted.executor is None else wanted.executor
        return inner

    def _sampler(self):
        return DynamicALSampler() if self.sampler is None else self.sampler

    def _check_estimator(self, estimator):
        self._sampler()._check(estimator)

    def _check_trial(self, trial):
        self._sampler()._check_trial(trial)

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "sampler": (
                lambda v: v is None or isinstance(v, BaseSampler),
                "None or a sampler (an instance)",
            ),
            "subset_size": (is_positive_integer, "an integer of at least 1"),
        }
