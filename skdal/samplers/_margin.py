"""Smallest margin."""

import numpy as np

from skdal.adapters import predict_proba
from skdal.base import ScoreSampler


class MarginSampler(ScoreSampler):
    """Ask first where the two most probable classes are closest: score -(p_first - p_second).

    Parameters
    ----------
    estimator, warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    References
    ----------
    Roth and Small, "Margin-based active learning for structured output spaces", ECML 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.samplers import MarginSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> sampler = MarginSampler(LogisticRegression(max_iter=500)).fit(X[::10], y[::10])
    >>> bool(sampler.score_samples(X).max() <= 0)
    True
    """

    def _score_samples(self, trained, X):
        proba = predict_proba(trained.classifier, X, verbose=self.verbose)
        if proba.shape[1] == 1:
            return np.zeros(len(proba))  # one class: no second to be close to
        second, first = np.partition(proba, -2, axis=1)[:, -2:].T
        return second - first
