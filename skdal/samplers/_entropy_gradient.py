"""Norm of the gradient of the predictive entropy."""

from dataclasses import dataclass

import numpy as np

from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.samplers._gradient import GradientSampler, GradientWork


@dataclass(frozen=True, kw_only=True)
class EntropyGradientWork(GradientWork):
    """Lengths of the gradient of the predictive entropy."""

    def __call__(self, trained, X):
        """Return the column "score" (n,)."""
        statistics = self.statistics(trained, X, loss=predictive_entropy)
        return {"score": np.sqrt(statistics.sq_norm)}


@dataclass(eq=False, repr=False, kw_only=True)
class EntropyGradientSampler(GradientSampler):
    r"""Ask first where the predictive entropy has the longest gradient (entropy gradient norm).

    .. math:: \| \nabla_\theta H(p(x; \theta)) \|, \qquad H(p) = -\sum_k p_k \ln p_k

    over the net's class probabilities, in eval mode. It needs no label, where the gradient length
    takes the predicted one.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net, bare or last in a Pipeline; see `BaseSampler`.
    layers, backend, batch_size
        As in `skdal.gradients.gradient_statistics`.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    References
    ----------
    Wang et al., "Boosting active learning via improving test performance", AAAI 2022.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn.datasets import load_digits
    >>> from skdal.samplers import EntropyGradientSampler
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.astype("float32") / 16
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=64, module__out_features=10,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> bool(EntropyGradientSampler(net).fit(X[:100], y[:100]).score_samples(X[100:]).min() >= 0)
    True
    """

    def _work(self, trained, rng):
        return EntropyGradientWork(**self._engine_params())

    def _check_trial(self, trial):
        refuse_cross_sample_layers(
            trial.module
        )  # losses of the net's own do not matter


def predictive_entropy(proba):
    """Return -sum_k p_k ln p_k (n,), with a finite gradient where a probability underflows to 0."""
    return -(proba * proba.clamp_min(1e-300).log()).sum(1)
