"""Least confidence."""

from __future__ import annotations

import numpy as np

from skdal.base import ProbabilitySampler


def confidence_scores(proba: np.ndarray) -> np.ndarray:
    """Return 1 - max_k p_k of class probabilities.

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
    >>> from skdal.samplers import confidence_scores
    >>> confidence_scores(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
    [0.5, 0.0]
    """
    return 1 - np.max(proba, axis=1)


class ConfidenceSampler(ProbabilitySampler):
    """Ask first where the most probable class is least probable: score 1 - max_k p_k.

    Parameters
    ----------
    estimator, warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    References
    ----------
    Wang and Shang, "A new active labeling method for deep learning", IJCNN 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.samplers import ConfidenceSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> sampler = ConfidenceSampler(LogisticRegression(max_iter=500)).fit(X[::10], y[::10])
    >>> sampler.query(X, n_instances=3).shape
    (3,)
    """

    _score = staticmethod(confidence_scores)
