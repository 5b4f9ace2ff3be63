"""The base of every sampler: a scikit-learn meta-estimator and a modAL query strategy at once.

Read this first. A sampler's author writes one hook: `_score_samples` for a `ScoreSampler`, `_select`
for anything else (an `EmbeddingSampler` has representations to select by). Both get a `Trained`
(classifier and labeled set) and a pool that is checked.
"""

import copy
import warnings
from abc import abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from skdal.adapters import (
    Trained,
    as_rows,
    check_classifier,
    check_net_rows,
    check_pool,
    final_estimator,
    is_net,
    last_hidden,
    module_output,
    resolve,
    wants_scores,
    warn_of_random_transforms,
)
from skdal.exceptions import InvalidDataError, InvalidParameterError, NotFittedError, UnsupportedEstimatorError
from skdal.training import train
from skdal.utils import (
    check_finite_scores,
    check_n_instances,
    check_parameters,
    count_rows,
    forked_rng,
    is_boolean,
    is_count,
    is_random_state,
    preserved_rng,
    query_generator,
)


def _estimator_has(method):
    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class BaseSampler(MetaEstimatorMixin, BaseEstimator):
    """Base of the samplers: fit, query, and the call signature of modAL's query strategies.

    Parameters
    ----------
    estimator : classifier, optional
        A skorch NeuralNetClassifier, bare or last in a Pipeline; for samplers that need only
        probabilities any scikit-learn classifier. `fit` trains a clone of it; FrozenEstimator(net)
        is used as it is. Not needed where the sampler is only called as a query strategy.
    warm_start : bool, default=True
        Later fits continue the net from its current weights, whatever the net's own `warm_start`
        says. False: every fit starts from a fresh clone. Classifiers that are no nets are refitted.
    reset_optimizer : bool, default=True
        Rebuild the optimizer before a net continues: weights stay, moments go.
    verbose : int, default=0
        1 shows a progress bar with samples a second.
    random_state : None, int or RandomState, default=None
        An int: training runs in a forked generator seeded from (random_state, number of fits), a
        query draws from (random_state, size of the labeled set).

    Attributes
    ----------
    estimator_ : classifier
        The trained classifier.
    X_labeled_, y_labeled_ : data
        The labeled set of the last fit.
    n_fits_ : int
        Number of fits so far.
    """

    def __init__(self, estimator=None, *, warm_start=True, reset_optimizer=True, verbose=0, random_state=None):
        self.estimator = estimator
        self.warm_start = warm_start
        self.reset_optimizer = reset_optimizer
        self.verbose = verbose
        self.random_state = random_state

    # --- training ---------------------------------------------------------------------------------

    def fit(self, X, y=None, **fit_params):
        """Train the classifier on the labeled set and bind the labeled set.

        Parameters
        ----------
        X : data (n_labeled, ...)
            All labeled samples, not only the new ones.
        y : array-like (n_labeled,), optional
            Their labels; None for a torch Dataset that holds them.
        **fit_params
            For the estimator's `fit`.

        Returns
        -------
        self
            As it was before, should training fail or be interrupted.
        """
        check_parameters(self, self._parameter_checks())
        if self.estimator is None:
            raise InvalidParameterError(
                f"{type(self).__name__} has no estimator to train; pass one, as in {type(self).__name__}(net)."
            )
        self._check(self.estimator)
        go_on = self.warm_start and getattr(self, "_trained_from", None) is self.estimator
        n_fits = getattr(self, "n_fits_", 0)
        with forked_rng(self.random_state, n_fits):
            estimator = self.estimator_ if go_on and is_net(self.estimator_) else self._fresh_estimator()
            train(
                estimator,
                X,
                y,
                go_on=go_on,
                reset_optimizer=self.reset_optimizer,
                check_module=self._check_module,
                **fit_params,
            )
        self.estimator_, self._trained_from = estimator, self.estimator
        self.X_labeled_, self.y_labeled_, self.n_fits_ = X, y, n_fits + 1
        return self

    def _check(self, estimator):
        """Raise if the parameters are wrong or the sampler does not work with an estimator."""
        check_parameters(self, self._parameter_checks())
        self._check_estimator(estimator)

    def _check_estimator(self, estimator):
        check_classifier(estimator)

    def _check_module(self, module):
        """Raise if the sampler will not be able to score with a net's module."""

    def _fresh_estimator(self):
        last = self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator
        frozen = isinstance(last, FrozenEstimator)
        if not frozen and is_net(self.estimator) and getattr(final_estimator(self.estimator), "initialized_", False):
            warnings.warn(
                f"the net passed to {type(self).__name__} is trained already, and a clone of it starts anew from fresh "
                "weights. To use it as it is, pass sklearn.frozen.FrozenEstimator(net).",
                UserWarning,
                stacklevel=3,
            )
        return clone(self.estimator)

    # --- querying ---------------------------------------------------------------------------------

    def query(self, X, n_instances=1, *, return_scores=False):
        """Choose the samples of the pool whose labels to ask for.

        Parameters
        ----------
        X : data (n_pool, ...)
            The pool of unlabeled samples.
        n_instances : int, default=1
            How many to label, from 1 to n_pool.
        return_scores : bool, default=False
            Also return the scores.

        Returns
        -------
        indices : intp array (n_instances,)
            Positions in X, best first, unique; ties by lower position.
        scores : float64 array (n_instances,)
            With `return_scores`: of the picks at the moment of picking, NaN where the sampler has none.
        """
        indices, scores = self._query(self._trained(), X, n_instances)
        return (indices, scores) if return_scores else indices

    def __call__(self, classifier, X, n_instances=1, *, X_labeled=None, y_labeled=None):
        """Choose samples as a modAL query strategy; trains nothing.

        Parameters
        ----------
        classifier : modAL learner, fitted sampler, or fitted classifier
            A learner's `X_training` and `y_training` are the labeled set.
        X : data (n_pool, ...)
            The pool.
        n_instances : int, default=1
            How many to label.
        X_labeled, y_labeled : data, optional
            The labeled set, where the classifier does not hold it.

        Returns
        -------
        indices : intp array (n_instances,)
            Positions in X, best first. (indices, scores) for modAL learners that unpack both.
        """
        indices, scores = self._query(resolve(classifier, X_labeled, y_labeled), X, n_instances)
        return (indices, scores) if wants_scores(classifier) else indices

    def _query(self, trained, X, n_instances):
        self._check(trained.classifier)
        n_instances = check_n_instances(n_instances, count_rows(X))
        self._check_pool(trained, X)
        rng = query_generator(self.random_state, trained.n_labeled)
        with preserved_rng():
            indices, scores = self._select(trained, X, n_instances, rng)
        return np.asarray(indices, dtype=np.intp), np.asarray(scores, dtype=np.float64)

    def _check_pool(self, trained, X):
        if is_net(trained.classifier):
            check_net_rows(X)
        check_pool(X, trained.X)
        warn_of_random_transforms(X)

    def _trained(self):
        if not hasattr(self, "estimator_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit(X, y) with the labeled set first."
            )
        return Trained(self.estimator_, self.X_labeled_, self.y_labeled_)

    @abstractmethod
    def _select(self, trained, X, n_instances, rng):
        """Return (indices, scores) of `n_instances` samples of X, best first.

        Parameters
        ----------
        trained : Trained
            `classifier` is trained; `labeled_set(asker)` gives (X, y) or raises.
        X : data
            The pool, of at least `n_instances` samples.
        n_instances : int
        rng : numpy.random.Generator
            The only source of chance.
        """

    def _parameter_checks(self):
        """Return a predicate and the words for what is allowed, by constructor parameter."""
        return {
            "warm_start": (is_boolean, "True or False"),
            "reset_optimizer": (is_boolean, "True or False"),
            "verbose": (is_count, "0 or a positive integer"),
            "random_state": (is_random_state, "None, an integer from 0 to 2**32 - 1 or a numpy RandomState"),
        }

    # --- the classifier's own methods -------------------------------------------------------------

    @available_if(_estimator_has("predict"))
    def predict(self, X):
        """Predict labels with the trained classifier."""
        return self._trained().classifier.predict(X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities (n_samples, n_classes) with the trained classifier."""
        return self._trained().classifier.predict_proba(X)

    @available_if(_estimator_has("score"))
    def score(self, X, y=None):
        """Return the trained classifier's score, for classifiers the accuracy."""
        return self._trained().classifier.score(X, y)

    @property
    def classes_(self):
        """Class labels of the trained classifier."""
        return self._trained().classifier.classes_

    @property
    def n_features_in_(self):
        """Number of features that the trained classifier saw, where it tells."""
        return self._trained().classifier.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features that the trained classifier saw, where it tells."""
        return self._trained().classifier.feature_names_in_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            own = copy.deepcopy(get_tags(self.estimator))
            tags.estimator_type, tags.classifier_tags = own.estimator_type, own.classifier_tags
            tags.target_tags, tags.input_tags = own.target_tags, own.input_tags
            tags.array_api_support = False
        return tags


class ScoreSampler(BaseSampler):
    """Base of the samplers that rank the pool by a score of each sample by itself.

    A sample's score depends on the trained classifier, the labeled set and the sample alone, so a
    pool may be scored in any pieces.
    """

    def score_samples(self, X):
        """Score each sample of the pool.

        Parameters
        ----------
        X : data (n_pool, ...)
            The pool.

        Returns
        -------
        scores : float64 array (n_pool,)
            Higher: ask first.
        """
        check_parameters(self, self._parameter_checks())
        check_n_instances(1, count_rows(X))
        trained = self._trained()
        self._check_pool(trained, X)
        return self._checked_scores(trained, X)

    def _select(self, trained, X, n_instances, rng):
        scores = self._checked_scores(trained, X)
        indices = highest(scores, n_instances)
        return indices, scores[indices]

    def _checked_scores(self, trained, X):
        with preserved_rng():
            return check_finite_scores(self._score_samples(trained, X))

    @abstractmethod
    def _score_samples(self, trained, X):
        """Return the scores (n_pool,) of X in float64, higher first; see `_select`."""


class EmbeddingSampler(BaseSampler):
    """Base of the samplers that look at representations of samples and choose a batch as a whole.

    Parameters
    ----------
    embedding : None, str or callable, default=None
        The representation. None: the input of the last Linear to run, the net's head. A string: the
        output of the module of that name, flattened. A callable `(classifier, X) -> (n, d)`.
    estimator, warm_start, reset_optimizer, verbose, random_state
        As in `BaseSampler`.
    """

    def __init__(
        self, estimator=None, *, embedding=None, warm_start=True, reset_optimizer=True, verbose=0, random_state=None
    ):
        super().__init__(
            estimator,
            warm_start=warm_start,
            reset_optimizer=reset_optimizer,
            verbose=verbose,
            random_state=random_state,
        )
        self.embedding = embedding

    def _embeddings(self, classifier, X, *, labeled=False):
        """Return the representations (n, d) of the pool, or of labeled samples, a tensor on the net's device."""
        if self.embedding is None:
            found = last_hidden(classifier, X, verbose=self.verbose)
        elif isinstance(self.embedding, str):
            found = module_output(classifier, X, self.embedding, verbose=self.verbose)
        else:
            found = as_rows(self.embedding(classifier, X), count_rows(X))
        sums = np.asarray(found.sum(1).cpu(), dtype=np.float64)
        damaged = np.flatnonzero(~np.isfinite(sums))
        if not labeled:
            check_finite_scores(sums)
        elif damaged.size:
            raise InvalidDataError(
                f"the representations of {damaged.size} of {len(sums)} labeled samples are NaN or infinite, first at "
                f"position {damaged[0]}. Look for NaN or infinite values in these samples or in the weights of the net."
            )
        return found

    def _check_estimator(self, estimator):
        super()._check_estimator(estimator)
        if not callable(self.embedding) and not is_net(estimator):
            raise UnsupportedEstimatorError(
                f"{type(self).__name__} takes representations from a skorch net; got "
                f"{type(final_estimator(estimator)).__name__}. For other classifiers pass embedding=, a callable "
                "(classifier, X) -> (n, d), such as `lambda classifier, X: X` for the features themselves."
            )

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "embedding": (
                lambda v: v is None or callable(v) or isinstance(v, str) and v,
                "None, a module's name or a callable (classifier, X) -> (n, d)",
            ),
        }


def highest(scores, n_instances):
    """Return the positions of the highest scores, best first, ties by lower position."""
    return np.argsort(-scores, kind="stable")[:n_instances]
