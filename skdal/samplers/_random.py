"""Random sampling: the baseline that every other one has to beat."""

import numpy as np

from skdal.base import BaseSampler
from skdal.utils import count_rows


class RandomSampler(BaseSampler):
    """Ask for labels of samples drawn uniformly without replacement.

    Parameters
    ----------
    estimator, warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.samplers import RandomSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> sampler = RandomSampler(LogisticRegression(max_iter=500), random_state=0)
    >>> sampler = sampler.fit(X[::10], y[::10])
    >>> len(sampler.query(X, n_instances=5))
    5
    """

    def _select(self, trained, X, n_instances, rng):
        indices = rng.choice(count_rows(X), size=n_instances, replace=False)
        return indices, np.full(n_instances, np.nan)
