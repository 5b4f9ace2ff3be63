"""scikit-activeml's query strategies as samplers."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone

from skdal.base import BaseSampler
from skdal.exceptions import (
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
    MissingLabeledDataError,
)
from skdal.interop._activeml import (
    SingleAnnotatorPoolQueryStrategy,
    TrainedClassifier,
    require_activeml,
)
from skdal.interop._guest import Reader, as_guest
from skdal.interop._picks import checked_picks
from skdal.utils import count_rows, is_torch_dataset

_CLASSIFIER_NAMES = {
    "clf": "fit_clf",
    "estimator": "fit_estimator",
}  # with the flag that trains it
_OURS = {
    "X",
    "y",
    "candidates",
    "batch_size",
    "return_utilities",
    *_CLASSIFIER_NAMES,
    *_CLASSIFIER_NAMES.values(),
}


@dataclass(eq=False, repr=False, kw_only=True)
class SkactivemlSampler(BaseSampler):
    """Ask for what a single-annotator pool strategy of scikit-activeml asks for.

    The strategy gets labeled set and pool as one X, y with missing labels for the pool, and the
    trained classifier with `fit_clf=False`. The score of a pick is its utility at the moment of
    picking.

    Parameters
    ----------
    estimator : classifier, optional
        See `BaseSampler`.
    strategy : SingleAnnotatorPoolQueryStrategy
        Such as `skactiveml.pool.TypiClust()`. Every query uses a clone of it: what a strategy keeps
        of one query (`ProbCover` its distances) goes by the order of samples, which changes from
        round to round. Its `missing_label` has to fit the labels: numbers go with the default NaN,
        strings with None. Strategies that ask the classifier for embeddings get the net's last
        hidden layer with `clf_embedding_flag_name="return_embeddings"` (`Clue`:
        `predict_dict={"return_embeddings": True}`).
    query_params : dict, optional
        More arguments of `strategy.query`, such as `ensemble` or `discriminator`.
    warm_start, reset_optimizer, verbose, random_state
        As in `BaseSampler`. Chance is by the strategy's own `random_state`; by this one where that
        is None.
    executor : Executor, optional
        Where class probabilities, labels and embeddings of the trained classifier are computed,
        shard by shard, when the strategy asks for them. Its own arithmetic, and classifiers in
        `query_params`, run here. None: all of it here.

    Examples
    --------
    >>> import pytest; _ = pytest.importorskip("skactiveml")
    >>> from skactiveml.pool import UncertaintySampling
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.interop import SkactivemlSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = UncertaintySampling(method="entropy")
    >>> sampler = SkactivemlSampler(LogisticRegression(max_iter=500), strategy=strategy)
    >>> indices, scores = sampler.fit(X[::10], y[::10]).query(X, n_instances=3, return_scores=True)
    >>> bool(scores[0] >= scores[1] >= scores[2])
    True
    """

    strategy: Any
    query_params: dict | None = None

    def _select(self, trained, X, n_instances, rng):
        strategy = self._strategy()
        n_labeled = trained.n_labeled
        samples, labels = _joined(trained, X, strategy.missing_label)
        reader = Reader(
            trained.classifier, type(self).__name__, self.executor, self.verbose
        )
        arguments = _arguments(
            strategy, lambda: TrainedClassifier(reader, X, strategy.missing_label)
        )
        with as_guest(trained.classifier, rng):
            picks, utilities = strategy.query(
                samples,
                labels,
                **arguments | (self.query_params or {}),
                batch_size=n_instances,
                return_utilities=True,
            )
        picks = np.asarray(picks) - n_labeled
        indices, _ = checked_picks(
            picks, n_instances, count_rows(X), type(strategy).__name__
        )
        return indices, utilities[np.arange(n_instances), indices + n_labeled]

    def _strategy(self):
        strategy = clone(self.strategy)
        missing = _required(strategy) - _OURS - set(self.query_params or {})
        if missing:
            raise InvalidParameterError(
                f"{type(strategy).__name__}.query needs {', '.join(sorted(missing))}, and a "
                "trained classifier is all "
                "there is. Pass it in query_params={...}, or use another strategy."
            )
        return strategy

    def _check_estimator(self, estimator):
        require_activeml(type(self).__name__)
        super()._check_estimator(estimator)

    def _parameter_checks(self):
        require_activeml(type(self).__name__)
        return super()._parameter_checks() | {
            "strategy": (
                lambda v: isinstance(v, SingleAnnotatorPoolQueryStrategy),
                "an instance of a SingleAnnotatorPoolQueryStrategy, such as "
                "skactiveml.pool.UncertaintySampling()",
            ),
            "query_params": (
                lambda v: v is None or isinstance(v, dict) and not _OURS & set(v),
                f"None or a dict without {', '.join(sorted(_OURS))}",
            ),
        }


def _parameters(strategy):
    """Return the parameters of a strategy's query by name, those of the strategy that it wraps
    included.
    """
    found = dict(inspect.signature(strategy.query).parameters)
    wrapped = getattr(strategy, "query_strategy", None)
    return found if wrapped is None else _parameters(wrapped) | found


def _required(strategy):
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name
        for name, p in _parameters(strategy).items()
        if p.default is p.empty and p.kind in named
    }


def _arguments(strategy, make_classifier):
    """Return the classifier under the name that a strategy has for it, and that it is not to be
    trained.
    """
    found = _parameters(strategy)
    arguments = {}
    for name, flag in _CLASSIFIER_NAMES.items():
        arguments |= {name: make_classifier()} if name in found else {}
        arguments |= {flag: False} if flag in found else {}
    return arguments


def _joined(trained, pool, missing_label):
    """Return X of labeled set and pool, and y with missing labels for the pool."""
    samples = _as_array(pool)
    if not trained.n_labeled:
        return samples, np.full(
            len(samples), missing_label, dtype=object if missing_label is None else None
        )
    if trained.y is None:
        _as_array(trained.X)  # says what is wrong with a Dataset
        raise MissingLabeledDataError(
            "the labeled set has no labels; pass y to fit, or y_labeled= with X_labeled=."
        )
    return np.concatenate([_as_array(trained.X), samples]), _labels(
        trained.y, len(samples), missing_label
    )


def _as_array(X):
    if is_torch_dataset(X) or isinstance(X, Mapping) or sparse.issparse(X):
        raise InvalidDataError(
            f"scikit-activeml takes arrays; got {type(X).__name__}. Pass an array that holds "
            "all samples, or use a sampler of skdal.samplers, which reads it in mini-batches."
        )
    return X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)


def _labels(y, n_pool, missing_label):
    labels = np.asarray(_as_array(y).tolist())
    if missing_label is None:
        return np.array([*labels.tolist(), *[None] * n_pool], dtype=object)
    if (labels.dtype.kind in "US") != isinstance(missing_label, str):
        raise InvalidLabelsError(
            f"labels such as {labels[:3].tolist()} and the strategy's "
            f"missing_label={missing_label!r} are of different "
            "kinds. Create the strategy with missing_label=None, or with a value of the labels' "
            "kind that is none."
        )
    if missing_label in labels.tolist():
        raise InvalidLabelsError(
            f"the strategy's missing_label={missing_label!r} is one of the labels; create it with "
            "a value that is none."
        )
    return np.concatenate([labels, np.full(n_pool, missing_label)])
