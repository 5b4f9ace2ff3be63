"""Largest predictive entropy."""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from skdal.base import ProbabilitySampler


def entropy_scores(proba: np.ndarray) -> np.ndarray:
    """Return the entropy -sum_k p_k ln p_k of class probabilities, in nats.

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
    >>> from skdal.samplers import entropy_scores
    >>> entropy_scores(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4).tolist()
    [0.6931, 0.0]
    """
    return entr(proba).sum(axis=1)


class EntropySampler(ProbabilitySampler):
    """Ask first where the class probabilities are most spread: score -sum_k p_k ln p_k, in nats.

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
    >>> from skdal.samplers import EntropySampler
    >>> X, y = load_iris(return_X_y=True)
    >>> sampler = EntropySampler(LogisticRegression(max_iter=500)).fit(X[::10], y[::10])
    >>> bool(sampler.score_samples(X).min() >= 0)
    True
    """

    _score = staticmethod(entropy_scores)
