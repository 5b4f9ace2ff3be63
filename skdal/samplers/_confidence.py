"""Least confidence."""

from skdal.adapters import predict_proba
from skdal.base import ScoreSampler


class ConfidenceSampler(ScoreSampler):
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

    def _score_samples(self, trained, X):
        return 1 - predict_proba(trained.classifier, X, verbose=self.verbose).max(
            axis=1
        )
