"""modAL's ActiveLearner for today's scikit-learn, nets that train on, and torch Datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
from modAL.models import ActiveLearner as ModalActiveLearner
from sklearn.base import BaseEstimator, clone

from skdal.adapters import (
    aligned,
    answering,
    as_fitted,
    check_labels,
    check_pool,
    classes_of,
    estimator_router,
    is_fitted,
    is_net,
    module_of,
    routed,
    to_predict_on,
    with_tags_of,
)
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    MissingLabeledDataError,
)
from skdal.samplers import dynamical_sampling
from skdal.samplers._functions import check_trial_of
from skdal.training import StartingWeights, train
from skdal.utils import (
    concat_rows,
    count_rows,
    exclusive,
    is_torch_dataset,
    take_rows,
    turns,
)


class ActiveLearner(ModalActiveLearner):
    """An estimator, its labeled set and a query strategy: the loop of active learning.

    A subclass of modAL's with the same calls, which works on scikit-learn 1.8 and later, keeps
    training a net from its current weights, and takes torch Datasets.

    Parameters
    ----------
    estimator : classifier
        Trained in place: a skorch net, scikit-learn classifier, Pipeline, or FrozenEstimator.
    query_strategy : callable, default=dynamical_sampling
        A function or sampler of this library, of modAL, or `f(learner, X_pool, **kwargs) ->
        indices`.
    X_training, y_training : data, optional
        The labeled set to start from; y None for a torch Dataset that holds the labels.
    bootstrap_init : bool, default=False
        Train at first on as many samples drawn from it with replacement.
    on_transformed : bool, default=False
        For strategies of modAL that use `transform_without_estimating`.
    warm_start : bool, default=True
        A net that is initialized trains on from its current weights. False: from scratch each time.
    reset_optimizer : bool, default=True
        Rebuild the optimizer before a net trains on.
    **fit_kwargs
        For the estimator's `fit` at the first training.

    Attributes
    ----------
    X_training, y_training : data
        The labeled set so far.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal import ActiveLearner
    >>> from skdal.samplers import margin_sampling
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500), margin_sampling, X[::10], y[::10])
    >>> indices, samples = learner.query(X, n_instances=5)
    >>> learner.teach(samples, y[indices])
    >>> len(learner.X_training)
    20
    """

    def __init__(
        self,
        estimator: Any,
        query_strategy: Any = dynamical_sampling,
        X_training: Any = None,
        y_training: Any = None,
        bootstrap_init: bool = False,
        on_transformed: bool = False,
        *,
        warm_start: bool = True,
        reset_optimizer: bool = True,
        **fit_kwargs: Any,
    ) -> None:
        if not callable(query_strategy):
            raise InvalidParameterError(
                "query_strategy must be callable, such as skdal.dynamical_sampling; got "
                f"{query_strategy!r}."
            )
        self.estimator = estimator
        self.query_strategy = query_strategy
        self.X_training = None
        self.y_training = None
        self.bootstrap_init = bootstrap_init
        self.on_transformed = on_transformed
        self.warm_start = warm_start
        self.reset_optimizer = reset_optimizer
        self._fit_kwargs = fit_kwargs
        self._start = self._starting_weights(estimator)
        self._sample = None
        if X_training is not None:
            self.fit(X_training, y_training, bootstrap=bootstrap_init, **fit_kwargs)

    def _starting_weights(self, estimator):
        return StartingWeights(estimator)

    def fit(
        self, X: Any, y: Any = None, bootstrap: bool = False, **fit_kwargs: Any
    ) -> Any:
        """Train on X and y, which become the labeled set.

        Parameters
        ----------
        X : data (n_samples, ...)
            Labeled samples; a torch Dataset may hold the labels too.
        y : array-like (n_samples,), optional
            Their labels.
        bootstrap : bool, default=False
            Train on as many samples drawn from them with replacement.
        **fit_kwargs
            For the estimator's `fit`.

        Returns
        -------
        self
            As it was before, should training fail or be interrupted.
        """
        self._check_labeled(X, y)
        if self.warm_start and is_net(self.estimator):
            X = self._aligned(X, "the labeled set", "the one so far")
        with exclusive():
            self._train(X, y, bootstrap, fit_kwargs)
            self.X_training = X
            self.y_training = y
        return self

    def teach(
        self,
        X: Any,
        y: Any = None,
        bootstrap: bool = False,
        only_new: bool = False,
        **fit_kwargs: Any,
    ) -> None:
        """Append X and y to the labeled set and train on.

        Parameters
        ----------
        X, y : data
            The new samples and their labels; a Dataset is appended to a Dataset.
        bootstrap : bool, default=False
            Train on as many samples drawn with replacement.
        only_new : bool, default=False
            Train on the new samples alone; the labeled set still grows.
        **fit_kwargs
            For the estimator's `fit`.
        """
        with exclusive():
            X = self._aligned(X)
            X_all, y_all = self._with_new(X, y)
            self._train(
                *((X, y) if only_new else (X_all, y_all)), bootstrap, fit_kwargs
            )
            self.X_training = X_all
            self.y_training = y_all

    def query(self, X_pool: Any, *query_args: Any, **query_kwargs: Any) -> Any:
        """Ask the query strategy which samples of the pool to label.

        Parameters
        ----------
        X_pool : data (n_pool, ...)
            The pool of unlabeled samples.
        *query_args, **query_kwargs
            For the query strategy, such as `n_instances=10`.

        Returns
        -------
        indices : array (n_instances,)
            Positions in `X_pool`.
        samples : data
            `X_pool[indices]`; for a torch Dataset a Subset.
        """
        with exclusive():
            in_order = self._aligned(X_pool, "the pool")
            self._note(in_order)
            result = self.query_strategy(self, in_order, *query_args, **query_kwargs)
        indices = (
            result[0] if isinstance(result, tuple) else result
        )  # modAL 0.4.2.1's own return scores too
        return indices, take_rows(X_pool, np.atleast_1d(indices))

    def predict(self, X: Any, **predict_kwargs: Any) -> Any:
        """Predict labels with the estimator, whose `predict` gets the keyword arguments."""
        return self._of_estimator("predict", X, **predict_kwargs)

    def predict_proba(self, X: Any, **predict_proba_kwargs: Any) -> np.ndarray:
        """Predict class probabilities (n_samples, n_classes) with the estimator."""
        return self._of_estimator("predict_proba", X, **predict_proba_kwargs)

    def score(self, X: Any, y: Any = None, **score_kwargs: Any) -> float:
        """Return the estimator's score, for classifiers the accuracy."""
        return self._of_estimator("score", X, y, **score_kwargs)

    def _of_estimator(self, method, X, *labels, **params):
        params = routed(self, method, params)
        X = to_predict_on(X, self.estimator, self.X_training)
        self._note(X)
        with exclusive(), turns(module_of(self.estimator)):
            return getattr(answering(self.estimator), method)(X, *labels, **params)

    def get_metadata_routing(self) -> Any:
        """Return the MetadataRouter by which scikit-learn passes metadata through a learner to its
        estimator.
        """
        return estimator_router(self)

    def _train(self, X, y, bootstrap, fit_kwargs):
        if bootstrap:
            n = count_rows(X)
            drawn = np.random.choice(n, n, replace=True)
            X = take_rows(X, drawn)
            y = None if y is None else take_rows(y, drawn)
            of_samples = {
                name: value for name, value in fit_kwargs.items() if _has_rows(value, n)
            }
            fit_kwargs = fit_kwargs | {
                name: take_rows(value, drawn) for name, value in of_samples.items()
            }
        train(
            self.estimator,
            X,
            y,
            go_on=self.warm_start,
            reset_optimizer=self.reset_optimizer,
            start=self._start,
            check_trial=check_trial_of(self.query_strategy),
            **routed(self, "fit", fit_kwargs),
        )

    def _with_new(self, X, y):
        """Return the labeled set with X and y appended."""
        self._check_labeled(X, y)
        if self.X_training is None:
            return X, y
        X = self._aligned(X)
        check_pool(X, self.X_training)
        if (y is None) != (self.y_training is None):
            raise MissingLabeledDataError(
                "pass y to every fit and teach, or to none (torch Datasets that hold the labels)."
            )
        return concat_rows(self.X_training, X), None if y is None else concat_rows(
            self.y_training, y
        )

    def _aligned(self, X, name="the new samples", of="the labeled set"):
        if self.X_training is None and self.warm_start and is_net(self.estimator):
            return as_fitted(
                X, self.estimator, name
            )  # its earlier steps stay as fitted
        return aligned(X, self.X_training, self.estimator, names=(name, of))

    # The three steps that modAL's Committee calls on its learners.

    def _add_training_data(self, X, y):
        self.X_training, self.y_training = self._with_new(X, y)

    def _fit_to_known(self, bootstrap=False, **fit_kwargs):
        self._train(self.X_training, self.y_training, bootstrap, fit_kwargs)
        return self

    def _fit_on_new(self, X, y, bootstrap=False, **fit_kwargs):
        self._train(self._aligned(X), y, bootstrap, fit_kwargs)
        return self

    def _check_labeled(self, X, y):
        if not count_rows(X):
            raise InvalidDataError(
                "X holds no sample; pass at least one labeled sample."
            )
        if y is None and not is_torch_dataset(X):
            raise MissingLabeledDataError(
                "y is None; pass a label for each sample of X."
            )
        if y is not None and is_net(self.estimator):
            check_labels(y, count_rows(X))
        elif y is not None and count_rows(y) != count_rows(X):
            raise InvalidDataError(
                f"X has {count_rows(X)} samples and y has {count_rows(y)} labels."
            )

    def __repr__(self):
        strategy = getattr(self.query_strategy, "__name__", self.query_strategy)
        n_labeled = 0 if self.X_training is None else count_rows(self.X_training)
        return (
            f"{type(self).__name__}({self.estimator!r}, query_strategy={strategy}, "
            f"n_labeled={n_labeled})"
        )

    @property
    def classes_(self) -> np.ndarray:
        """Class labels of the trained estimator, one for each column of `predict_proba`.

        The outputs of a net tell them. Of a net that was trained elsewhere they are skorch's, of
        its latest labels alone, until the learner has samples to give it: a labeled set, a pool, or
        what it was asked to predict.
        """
        known = self._sample if self.X_training is None else self.X_training
        if known is None or not is_fitted(self.estimator):
            return self.estimator.classes_
        return classes_of(self.estimator, known)

    def _note(self, X):
        """Keep a sample, which tells how many outputs a net has that was trained elsewhere."""
        if self.X_training is None and self._sample is None and is_net(self.estimator):
            self._sample = take_rows(X, slice(0, 1))

    def __sklearn_is_fitted__(self):
        return is_fitted(self.estimator)

    def __sklearn_tags__(self):
        return with_tags_of(self.estimator, super().__sklearn_tags__())

    def __sklearn_clone__(self):
        """Return an untrained learner without data."""
        strategy = self.query_strategy
        estimator = clone(self.estimator)
        self._start.give(estimator)
        return type(self)(
            estimator,
            clone(strategy) if isinstance(strategy, BaseEstimator) else strategy,
            bootstrap_init=self.bootstrap_init,
            on_transformed=self.on_transformed,
            warm_start=self.warm_start,
            reset_optimizer=self.reset_optimizer,
            **self._fit_kwargs,
        )


def _has_rows(value, n):
    """Tell whether a fit parameter has a row for each of n samples, such as sample_weight."""
    is_container = hasattr(value, "__len__") and not isinstance(
        value, (str, bytes, dict)
    )
    return is_container and len(value) == n
