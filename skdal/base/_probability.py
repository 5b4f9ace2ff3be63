"""The base of samplers that need nothing but class probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdal.adapters import iter_proba
from skdal.base._score import ScoreSampler
from skdal.base._work import Work


@dataclass(frozen=True, kw_only=True)
class ProbabilityWork(Work):
    """Scores of class probabilities, of which few are held at once.

    Parameters
    ----------
    score : callable
        Gives scores (n,) for probabilities (n, K).
    """

    score: Callable[[np.ndarray], Any]

    def __call__(self, trained, X):
        """Return the column "score" (n,), float64."""
        pieces = iter_proba(trained.classifier, X, verbose=self.verbose)
        scores = [np.asarray(self.score(proba), dtype=np.float64) for proba in pieces]
        return {"score": np.concatenate(scores)}


class ProbabilitySampler(ScoreSampler):
    """Base of the samplers that need nothing but class probabilities; they take any classifier that
    has them.

    A sampler's author sets `_score`, a static method: it gives scores (n,), higher is asked first,
    for class probabilities (n, K) in float64.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.base import ProbabilitySampler
    >>> class LeastLikely(ProbabilitySampler):
    ...     @staticmethod
    ...     def _score(proba):
    ...         return -proba.max(axis=1)
    >>> X, y = load_iris(return_X_y=True)
    >>> LeastLikely(LogisticRegression(max_iter=500)).fit(X[::10], y[::10]).query(X).shape
    (1,)
    """

    @staticmethod
    def _score(proba):
        """Return the scores (n,) of class probabilities (n, K), higher first."""
        raise NotImplementedError

    def _work(self, trained, rng):
        return ProbabilityWork(score=self._score)
