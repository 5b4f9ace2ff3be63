"""Smallest margin."""

from __future__ import annotations

import numpy as np

from skdal.base import ProbabilitySampler


def margin_scores(proba: np.ndarray) -> np.ndarray:
    """Return the negative margin -(p_first - p_second) of class probabilities, 0 for one class.

    Parameters
    ----------
    proba : array (n, K)

    Returns
    -------
    scores : array (n,)
        Higher: ask first.

    Examples
    --------
    >>> import numpy as np
    >>> from skdal.samplers import margin_scores
    >>> margin_scores(np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]])).tolist()
    [-0.25, 0.0]
    """
    proba = np.asarray(proba)
    if proba.shape[1] == 1:
        return np.zeros(len(proba))
    second, first = np.partition(proba, -2, axis=1)[:, -2:].T
    return second - first


class MarginSampler(ProbabilitySampler):
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

    _score = staticmethod(margin_scores)
