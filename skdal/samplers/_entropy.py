"""Largest predictive entropy."""

from scipy.special import entr

from skdal.adapters import predict_proba
from skdal.base import ScoreSampler


class EntropySampler(ScoreSampler):
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

    def _score_samples(self, trained, X):
        return entr(predict_proba(trained.classifier, X, verbose=self.verbose)).sum(
            axis=1
        )
