"""Monte-Carlo dropout: disagreement among thinned networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skdal.adapters import (
    check_net,
    has_dropout,
    over_dropout_passes,
)
from skdal.base import ModuleWork, ScoreSampler
from skdal.exceptions import UnsupportedEstimatorError
from skdal.utils import is_positive_integer, query_generator


@dataclass(frozen=True, kw_only=True)
class DropoutWork(ModuleWork):
    """Scores by thinned networks.

    Parameters
    ----------
    criterion, n_passes
        As in `MCDropoutSampler`.
    seed : int
        Of the masks.
    """

    criterion: str
    n_passes: int
    seed: int

    def __call__(self, trained, X):
        """Return the column "score" (n,), float64."""
        scores = over_dropout_passes(
            trained.classifier,
            X,
            self.n_passes,
            self.seed,
            CRITERIA[self.criterion],
            verbose=self.verbose,
        )
        return {"score": scores}


@dataclass(eq=False, repr=False, kw_only=True)
class MCDropoutSampler(ScoreSampler):
    r"""Ask first where thinned networks, drawn by the net's own dropout, are least sure (MC
    dropout).

    With class probabilities :math:`p_t` of pass t of T, their mean :math:`\bar p` and entropy H in
    nats:

    ===================== ==========================================================
    "bald"                :math:`H(\bar p) - \frac1T \sum_t H(p_t)`
    "entropy"             :math:`H(\bar p)`
    "variation_ratio"     :math:`1 - \max_k \frac1T \#\{t : \arg\max p_t = k\}`
    ===================== ==========================================================

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net with dropout layers; see `BaseSampler`.
    criterion : {"bald", "entropy", "variation_ratio"}, default="bald"
        The score.
    n_passes : int, default=20
        T.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    Notes
    -----
    Only dropout layers are stochastic; batch-norm and all else stay in eval mode. A pass is one
    thinned network, with the same masks for every sample, so a pool may be scored in any pieces.
    They are drawn from `random_state` and the size of the labeled set, or at each `fit` where
    `random_state` is None. Where dropout sits only at the module's end, as in torchvision's vgg11
    or mobilenet, what comes before runs once instead of T times.

    References
    ----------
    Gal, Islam and Ghahramani, "Deep Bayesian active learning with image data", ICML 2017.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn.datasets import load_digits
    >>> from skdal.samplers import MCDropoutSampler
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.astype("float32") / 16
    >>> module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
    >>> net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, train_split=None,
    ...                           verbose=0)
    >>> sampler = MCDropoutSampler(net, random_state=0).fit(X[:100], y[:100])
    >>> bool(sampler.score_samples(X[100:]).min() >= 0)
    True
    """

    criterion: str = "bald"
    n_passes: int = 20

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Train as `BaseSampler.fit` does."""
        super().fit(X, y, **fit_params)
        # For random_state=None.
        self._own_seed = int(np.random.default_rng().integers(2**32))
        return self

    def _work(self, trained, rng):
        return DropoutWork(
            criterion=self.criterion,
            n_passes=self.n_passes,
            seed=self._seed(trained, rng),
        )

    def _seed(self, trained, rng):
        if rng is None and self.random_state is None:
            return self._own_seed
        if rng is None:
            rng = query_generator(self.random_state, trained.n_labeled)
        return int(rng.integers(2**32))

    def _check_estimator(self, estimator):
        check_net(estimator)

    def _check_trial(self, trial):
        if not has_dropout(trial.module):
            raise UnsupportedEstimatorError(
                f"the net's module ({type(trial.module).__name__}) has no dropout layer with p "
                "> 0; MCDropoutSampler needs one. Add torch.nn.Dropout."
            )

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "criterion": (
                lambda v: isinstance(v, str) and v in CRITERIA,
                f"one of {', '.join(CRITERIA)}",
            ),
            "n_passes": (is_positive_integer, "an integer of at least 1"),
        }


def bald(proba):
    """Return H(mean p) - mean H(p) over passes of proba (T, n, K), which rounding may not make
    negative.
    """
    return (entropy(proba) - torch.special.entr(proba).sum(2).mean(0)).clamp_min(0)


def entropy(proba):
    """Return H(mean p)."""
    return torch.special.entr(proba.mean(0)).sum(1)


def variation_ratio(proba):
    """Return the share of passes that do not vote for the class of most votes."""
    votes = (
        torch.nn.functional.one_hot(proba.argmax(2), proba.shape[2]).double().mean(0)
    )
    return 1 - votes.amax(1)


CRITERIA = {"bald": bald, "entropy": entropy, "variation_ratio": variation_ratio}
