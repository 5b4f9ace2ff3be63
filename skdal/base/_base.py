"""The base of every sampler: a scikit-learn meta-estimator and a modAL query strategy at once."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skdal.adapters import (
    NetView,
    Trained,
    aligned,
    as_fitted,
    check_classifier,
    check_inputs,
    check_net_rows,
    check_pool,
    final_estimator,
    is_frozen,
    is_net,
    resolve,
    routed,
    unfrozen,
    wants_scores,
    warn_of_random_transforms,
)
from skdal.base._delegate import ClassifierDelegate
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
    warn_caller,
)


class Selection(NamedTuple):
    """What a query chose.

    Attributes
    ----------
    indices : intp array (n_instances,)
        Positions in the pool, best first.
    scores : float64 array (n_instances,)
        Of the picks at the moment of picking; NaN where the sampler has none.
    unreadable : list of Unreadable
        Samples of the pool that cannot be read.
    """

    indices: np.ndarray
    scores: np.ndarray
    unreadable: list | tuple = ()


@dataclass(eq=False, repr=False)
class BaseSampler(ClassifierDelegate, MetaEstimatorMixin, BaseEstimator):
    """Base of the samplers: fit, query, and the call signature of modAL's query strategies.

    Parameters
    ----------
    estimator : classifier, optional
        A skorch NeuralNetClassifier, bare or last in a Pipeline; for samplers that need only
        probabilities any scikit-learn classifier. `fit` trains a clone of it; FrozenEstimator(net)
        is used as it is. Not needed where the sampler is only called as a query strategy.
    warm_start : bool, default=True
        Later fits continue the net from its current weights, whatever the net's own `warm_start`
        says. False: every fit starts from a fresh clone. Classifiers that are not nets are
        refitted. A cold start reached higher accuracies in our records, see :ref:`warm-or-cold`.
    reset_optimizer : bool, default=True
        Rebuild the optimizer before a net continues: weights stay, moments go.
    verbose : int, default=0
        1 shows a progress bar with samples a second.
    random_state : None, int or RandomState, default=None
        An int: training runs in a forked generator seeded from (random_state, number of fits), a
        query draws from (random_state, size of the labeled set).
    executor : Executor, optional
        Where the shards of the pool are worked on, such as `skdal.parallel.RayExecutor()`. None:
        here.

    Attributes
    ----------
    estimator_ : classifier
        The trained classifier.
    X_labeled_, y_labeled_ : data
        The labeled set of the last fit.
    n_fits_ : int
        Number of fits so far.
    unreadable_ : list of Unreadable
        Samples that the last query set aside since the pool could not read them: (position, key,
        reason).
    """

    estimator: Any = None
    _: KW_ONLY
    warm_start: bool = True
    reset_optimizer: bool = True
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None
    executor: Executor | None = None

    # --- training ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Train the classifier on the labeled set and bind the labeled set.

        Parameters
        ----------
        X : data (n_labeled, ...)
            All labeled samples, not only the new ones.
        y : array-like (n_labeled,), optional
            Their labels; None for a torch Dataset that holds them.
        **fit_params
            For the estimator's `fit`; where scikit-learn's metadata routing is enabled, only what
            it has requested.

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
                f"{type(self).__name__} has no estimator to train; pass one, as in "
                f"{type(self).__name__}(net)."
            )
        self._check(self.estimator)
        fit_params = routed(self, "fit", fit_params)
        n_fits = getattr(self, "n_fits_", 0)
        is_same = getattr(self, "_trained_from", None) is self.estimator
        go_on = self.warm_start and is_same
        if go_on and is_net(self.estimator_) and not is_frozen(self.estimator_):
            X = aligned(
                X,
                self.X_labeled_,
                self.estimator_,
                names=("the labeled set", "that of the last fit"),
            )
        with forked_rng(self.random_state, n_fits):
            if go_on and is_net(self.estimator_):
                estimator = self.estimator_
            else:
                estimator = self._fresh_estimator()
            train(
                estimator,
                X,
                y,
                go_on=go_on,
                reset_optimizer=self.reset_optimizer,
                check_trial=self._check_trial,
                **fit_params,
            )
        self.estimator_ = estimator
        self._trained_from = self.estimator
        self.X_labeled_ = X
        self.y_labeled_ = y
        self.n_fits_ = n_fits + 1
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
        if not self._is_given_frozen and self._is_given_trained:
            warn_caller(
                f"the net passed to {type(self).__name__} is trained already; a clone of it "
                "starts anew, from fresh weights or from those that a module instance has "
                "now. To use the net as it is, pass sklearn.frozen.FrozenEstimator(net)."
            )
        return clone(self.estimator)

    @property
    def _is_given_frozen(self):
        last = self.estimator
        if isinstance(last, Pipeline):
            last = last.steps[-1][1]
        return isinstance(last, FrozenEstimator)

    @property
    def _is_given_trained(self):
        if not is_net(self.estimator):
            return False
        return getattr(final_estimator(self.estimator), "initialized_", False)

    # --- querying ---------------------------------------------------------------------------------

    def query(
        self, X: Any, n_instances: int = 1, *, return_scores: bool = False
    ) -> Any:
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
            With `return_scores`: of the picks at the moment of picking, NaN where the sampler has
            none.
        """
        with self._reading():
            indices, scores = self._query(self._trained(), X, n_instances)
        return (indices, scores) if return_scores else indices

    def query_keys(self, X: Any, n_instances: int = 1) -> list:
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

    def __call__(
        self,
        classifier: Any,
        X: Any,
        n_instances: int = 1,
        *,
        X_labeled: Any = None,
        y_labeled: Any = None,
    ) -> Any:
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
        with self._reading():
            trained = resolve(classifier, X_labeled, y_labeled)
            indices, scores = self._query(trained, X, n_instances)
        return (indices, scores) if wants_scores(classifier) else indices

    @contextmanager
    def _reading(self):
        """Run a block that reads a net: one at a time, and the global generators are as found
        afterwards.
        """
        with exclusive(), preserved_rng():
            yield

    def _query(self, trained, X, n_instances):
        """Return (indices, scores) of what any caller's query chooses."""
        trained, X, n_instances = self._prepared(trained, X, n_instances)
        rng = query_generator(self.random_state, trained.n_labeled)
        selection = self._selected(trained, X, n_instances, rng)
        self._set_unreadable(X, selection.unreadable)
        return selection.indices, selection.scores

    def _selected(self, trained, X, n_instances, rng):
        """Return the Selection of `_select`."""
        selection = Selection(*self._select(trained, X, n_instances, rng))
        return selection._replace(
            indices=np.asarray(selection.indices, dtype=np.intp),
            scores=np.asarray(selection.scores, dtype=np.float64),
        )

    def _set_unreadable(self, X, unreadable):
        if may_be_unreadable(X) or hasattr(self, "unreadable_"):
            self.unreadable_ = list(unreadable)

    def _prepared(self, trained, X, n_instances=1):
        """Return (trained, X, n_instances) for whatever looks at a pool, checked before anything
        expensive.
        """
        self._check(trained.classifier)
        n_instances = check_n_instances(n_instances, count_rows(X))
        classifier = trained.classifier
        labeled = as_fitted(trained.X, classifier, "the labeled set")
        X = as_fitted(aligned(X, labeled, classifier), classifier, "the pool")
        trained = trained._replace(X=labeled)
        return *self._check_pool(trained, X), n_instances

    def _check_pool(self, trained, X):
        """Return `trained` and the pool with items of Datasets that all read alike; raise if they
        do not fit together.

        What items are is decided here, once for a query.
        """
        view = None
        if self._gets_items(trained.classifier):
            view = NetView(unfrozen(trained.classifier))
            check_net_rows(X)
            check_inputs(X)
            X, X_labeled = view.settled(X, trained.X, trained.y, look_at=_readable(X))
            trained = trained._replace(X=X_labeled)
        seen = _readable(X)
        check_pool(seen, trained.X, view=view)
        warn_of_random_transforms(seen)
        return trained, X

    @staticmethod
    def _gets_items(classifier):
        """Tell whether a classifier is a net that gets samples as they are, with no step of a
        Pipeline before it.
        """
        net = unfrozen(classifier)
        return is_net(net) and final_estimator(net) is net

    def _trained(self):
        if not hasattr(self, "estimator_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit(X, y) with the labeled "
                "set first."
            )
        return Trained(self.estimator_, self.X_labeled_, self.y_labeled_)

    @abstractmethod
    def _select(self, trained, X, n_instances, rng):
        """Return (indices, scores) of `n_instances` samples of X, best first, or a `Selection`.

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


def _readable(X):
    """Return a pool in which readable samples stand in for those that cannot be read."""
    return SetAside(X) if may_be_unreadable(X) else X
