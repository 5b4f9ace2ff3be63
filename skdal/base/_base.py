"""The base of every sampler: a scikit-learn meta-estimator and a modAL query strategy at once."""

import logging
import warnings
from abc import abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from skdal.adapters import (
    NetView,
    Trained,
    aligned,
    answering,
    check_classifier,
    check_inputs,
    check_net_rows,
    check_pool,
    classes_of,
    estimator_router,
    final_estimator,
    is_frozen,
    is_net,
    module_of,
    proba_batch_size,
    resolve,
    routed,
    unfrozen,
    wants_scores,
    warn_of_random_transforms,
    with_tags_of,
)
from skdal.base._shards import ShardCall, candidates, gathered
from skdal.exceptions import InvalidParameterError, NotFittedError
from skdal.parallel import Executor
from skdal.pools import SetAside, keys_of, may_be_unreadable
from skdal.training import train
from skdal.utils import (
    check_n_instances,
    check_parameters,
    count_rows,
    exclusive,
    forked_rng,
    is_boolean,
    is_count,
    is_random_state,
    preserved_rng,
    query_generator,
    turns,
)

logger = logging.getLogger("skdal")


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
    executor : Executor, optional
        Where the shards of the pool are worked on, such as `skdal.parallel.RayExecutor()`. None: here.

    Attributes
    ----------
    estimator_ : classifier
        The trained classifier.
    X_labeled_, y_labeled_ : data
        The labeled set of the last fit.
    n_fits_ : int
        Number of fits so far.
    unreadable_ : list of Unreadable
        Samples that the last query set aside since the pool could not read them: (position, key, reason).
    """

    def __init__(
        self,
        estimator=None,
        *,
        warm_start=True,
        reset_optimizer=True,
        verbose=0,
        random_state=None,
        executor=None,
    ):
        self.estimator = estimator
        self.warm_start = warm_start
        self.reset_optimizer = reset_optimizer
        self.verbose = verbose
        self.random_state = random_state
        self.executor = executor

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
            For the estimator's `fit`; where scikit-learn's metadata routing is enabled, only what it has requested.

        Returns
        -------
        self
            As it was before, should training fail or be interrupted.
        """
        with exclusive():
            return self._fit(X, y, fit_params)

    def _fit(self, X, y, fit_params):
        check_parameters(self, self._parameter_checks())
        if self.estimator is None:
            raise InvalidParameterError(
                f"{type(self).__name__} has no estimator to train; pass one, as in {type(self).__name__}(net)."
            )
        self._check(self.estimator)
        fit_params = routed(self, "fit", fit_params)
        go_on = (
            self.warm_start and getattr(self, "_trained_from", None) is self.estimator
        )
        n_fits = getattr(self, "n_fits_", 0)
        if go_on and is_net(self.estimator_) and not is_frozen(self.estimator_):
            X = aligned(
                X,
                self.X_labeled_,
                self.estimator_,
                names=("the labeled set", "that of the last fit"),
            )
        with forked_rng(self.random_state, n_fits):
            estimator = (
                self.estimator_
                if go_on and is_net(self.estimator_)
                else self._fresh_estimator()
            )
            train(
                estimator,
                X,
                y,
                go_on=go_on,
                reset_optimizer=self.reset_optimizer,
                check_trial=self._check_trial,
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

    def _check_trial(self, trial):
        """Raise if the sampler will not be able to score with a net that is about to be trained.

        Parameters
        ----------
        trial : Trial
            Its `module`, and what it does with the first samples.
        """

    def _fresh_estimator(self):
        last = (
            self.estimator.steps[-1][1]
            if isinstance(self.estimator, Pipeline)
            else self.estimator
        )
        frozen = isinstance(last, FrozenEstimator)
        if (
            not frozen
            and is_net(self.estimator)
            and getattr(final_estimator(self.estimator), "initialized_", False)
        ):
            warnings.warn(
                f"the net passed to {type(self).__name__} is trained already; a clone of it starts anew, from fresh "
                "weights or from those that a module instance has now. To use the net as it is, pass "
                "sklearn.frozen.FrozenEstimator(net).",
                UserWarning,
                stacklevel=4,
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
        with exclusive():
            indices, scores = self._query(self._trained(), X, n_instances)
        return (indices, scores) if return_scores else indices

    def query_keys(self, X, n_instances=1):
        """Choose as `query` does, and return the keys of the samples.

        Parameters
        ----------
        X : Dataset (n_pool, ...)
            A pool with keys: one of `skdal.pools` or any Dataset with a method `keys(positions)`.
        n_instances : int, default=1
            How many to label, from 1 to n_pool.

        Returns
        -------
        keys : list (n_instances,)
            Paths, ids or whatever the pool has for keys, best first.

        Raises
        ------
        InvalidDataError
            The pool has no keys.
        """
        keys_of(X, [])  # raises, before anything expensive
        return keys_of(X, self.query(X, n_instances))

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
        with exclusive():
            indices, scores = self._query(
                resolve(classifier, X_labeled, y_labeled), X, n_instances
            )
        return (indices, scores) if wants_scores(classifier) else indices

    def _query(self, trained, X, n_instances):
        trained, X, n_instances = self._prepared(trained, X, n_instances)
        rng = query_generator(self.random_state, trained.n_labeled)
        with preserved_rng():
            indices, scores = self._select(trained, X, n_instances, rng)
        return np.asarray(indices, dtype=np.intp), np.asarray(scores, dtype=np.float64)

    def _prepared(self, trained, X, n_instances=1):
        """Return (trained, X, n_instances) for whatever looks at a pool, checked before anything expensive."""
        self._check(trained.classifier)
        n_instances = check_n_instances(n_instances, count_rows(X))
        X = aligned(X, trained.X, trained.classifier)
        return *self._check_pool(trained, X), n_instances

    def _check_pool(self, trained, X):
        """Return `trained` and the pool with items of Datasets that all read alike; raise if they do not fit together.

        What items are is decided here, once for a query.
        """
        seen = SetAside(X) if may_be_unreadable(X) else X
        net = unfrozen(trained.classifier)
        view = (
            NetView(net) if is_net(net) and final_estimator(net) is net else None
        )  # what it gets is X itself
        if view is not None:
            check_net_rows(X)
            check_inputs(X)
            X, X_labeled = view.settled(X, trained.X, trained.y, look_at=seen)
            trained = trained._replace(X=X_labeled)
            seen = SetAside(X) if may_be_unreadable(X) else X
        check_pool(seen, trained.X, view=view)
        warn_of_random_transforms(seen)
        return trained, X

    def _gathered(
        self, method, trained, X, n_instances=1, *, n_candidates=None, **shared
    ):
        """Return what a method of this sampler gives for all samples of the pool that can be read.

        The executor runs it on the shards, and what it gives comes together here.

        Parameters
        ----------
        method : str
            `method(trained, X, **shared)` gives a dict of name to tensor (n, ...).
        trained : Trained
        X : data
        n_instances : int
            As many samples have to be readable.
        n_candidates : int, optional
            Only so many samples are given back, those of highest "score", which the method then gives, too.
        **shared
            For the method.

        Returns
        -------
        positions : intp array (m,)
            Of the samples in the pool, ascending.
        columns : dict of str to tensor (m, ...)
        """
        call = ShardCall(self, trained, method, shared)
        if getattr(self.executor, "scores_dir", None) is not None:
            logger.warning(
                "%s looks at all samples at once; nothing is kept in scores_dir",
                type(self).__name__,
            )
        if n_candidates is None or n_candidates >= count_rows(X):
            return gathered(self, call, X, n_instances=n_instances)
        return candidates(self, call, X, n_candidates, n_instances)

    def _unit(self, trained, X, batch_size=None):
        """Return the mini-batch length that shards of X are cut at multiples of.

        `batch_size` is that of the executor, None: the sampler's or the net's own.
        """
        own = (
            proba_batch_size(final_estimator(trained.classifier))
            if is_net(trained.classifier)
            else 1
        )
        return batch_size or own

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
            "random_state": (
                is_random_state,
                "None, an integer from 0 to 2**32 - 1 or a numpy RandomState",
            ),
            "executor": (
                lambda v: v is None or isinstance(v, Executor),
                "None or an executor of skdal.parallel (an instance)",
            ),
        }

    # --- the classifier's own methods -------------------------------------------------------------

    def get_metadata_routing(self):
        """Return the MetadataRouter by which scikit-learn passes metadata through a sampler to its estimator."""
        return estimator_router(self)

    @available_if(_estimator_has("predict"))
    def predict(self, X, **params):
        """Predict labels with the trained classifier, whose `predict` gets the parameters."""
        return self._of_classifier("predict", X, **params)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X, **params):
        """Predict class probabilities (n_samples, n_classes) with the trained classifier."""
        return self._of_classifier("predict_proba", X, **params)

    @available_if(_estimator_has("score"))
    def score(self, X, y=None, **params):
        """Return the trained classifier's score, for classifiers the accuracy; `sample_weight` is a parameter of it."""
        return self._of_classifier("score", X, y, **params)

    def _of_classifier(self, method, *data, **params):
        classifier = self._trained().classifier
        params = routed(self, method, params)
        with exclusive(), turns(module_of(classifier)):
            return getattr(answering(classifier), method)(*data, **params)

    @property
    def classes_(self):
        """Class labels (K,) of the trained classifier, one for each column of `predict_proba`."""
        trained = self._trained()
        return classes_of(trained.classifier, trained.X)

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
        return with_tags_of(self.estimator, super().__sklearn_tags__())
