"""modAL's query strategies as samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skdal.base import BaseSampler
from skdal.interop._guest import Reader, as_guest
from skdal.interop._picks import checked_picks
from skdal.learner import ActiveLearner
from skdal.training import StartingWeights
from skdal.utils import count_rows


@dataclass(eq=False, repr=False, kw_only=True)
class ModalSampler(BaseSampler):
    """Ask for what a query strategy written for modAL asks for.

    The strategy is called as `strategy(learner, X, n_instances=...)`, where the learner holds the
    trained classifier and the labeled set. It gives positions in X, or (positions, scores) as
    strategies for modAL 0.4.2 do; both are checked. The order of the picks and the meaning of the
    scores are the strategy's own.

    Parameters
    ----------
    estimator : classifier, optional
        See `BaseSampler`.
    strategy : callable
        Such as `modAL.uncertainty.entropy_sampling`; `functools.partial` sets its other arguments.
        It may read the learner (`predict_proba`, `predict`, `estimator`, `X_training`,
        `y_training`) and must not train it.
    warm_start, reset_optimizer, verbose, random_state
        As in `BaseSampler`. A strategy that draws from the global generators of numpy, python or
        torch gets them seeded for the query, and they are as found afterwards.
    executor : Executor, optional
        Where class probabilities are computed, shard by shard, when the strategy calls the
        learner's `predict_proba(X)`, as modAL's own strategies do. Whatever else it does runs here:
        its own arithmetic, the learner's `predict` and `estimator`, and `predict_proba` with more
        arguments. None: all of it here.

    Examples
    --------
    >>> from modAL.batch import uncertainty_batch_sampling
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.interop import ModalSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(max_iter=500)
    >>> sampler = ModalSampler(classifier, strategy=uncertainty_batch_sampling)
    >>> sampler.fit(X[::10], y[::10]).query(X, n_instances=3).shape
    (3,)
    """

    strategy: Callable[..., Any]

    def _select(self, trained, X, n_instances, rng):
        reader = Reader(
            trained.classifier, type(self).__name__, self.executor, self.verbose
        )
        learner = _Learner(trained.classifier, self.strategy)
        learner.reader = reader
        learner.X_training = trained.X
        learner.y_training = trained.y
        with as_guest(trained.classifier, rng):
            found = self.strategy(learner, X, n_instances=n_instances)
        return checked_picks(found, n_instances, count_rows(X), _name(self.strategy))

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "strategy": (
                callable,
                "callable as strategy(learner, X, n_instances=...), such as a function of modAL",
            ),
        }


class _Learner(ActiveLearner):
    """What a strategy sees, which trains nothing; probabilities are those that our own samplers
    see, in float64.
    """

    def _starting_weights(self, estimator):
        return StartingWeights(None)

    def predict_proba(self, X, **kwargs):
        return super().predict_proba(X, **kwargs) if kwargs else self.reader.proba(X)


def _name(strategy):
    return getattr(strategy, "__name__", None) or repr(strategy)
