"""skdal.ActiveLearner: modAL's loop, on any scikit-learn, with nets and torch Datasets."""

import pickle
from functools import partial

import modAL.models
import modAL.uncertainty
import numpy as np
import pandas as pd
import pytest
import torch
from common import (
    FOR_CLASSIFIERS,
    FUNCTIONS,
    POOL,
    PROMISES,
    POOL_y,
    X,
    make_net,
    make_sampler,
    trained_net,
    weights,
    y,
)
from lanes import slow_unless
from scipy import sparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.helper import SliceDataset
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from skdal import ActiveLearner, dynamical_sampling

pytestmark = pytest.mark.contract
MODAL = {
    f"modAL's {name}": getattr(modAL.uncertainty, name)
    for name in ("uncertainty_sampling", "margin_sampling", "entropy_sampling")
}
STRATEGIES = [*FUNCTIONS, *PROMISES]
ALL = [*STRATEGIES, *MODAL]
ESTIMATORS = {
    "net": make_net,
    "net in a pipeline": lambda: make_pipeline(StandardScaler(), make_net()),
    "classifier": LogisticRegression,
    "classifier in a pipeline": lambda: make_pipeline(StandardScaler(), GaussianNB()),
}
COMBINATIONS = [
    (estimator, strategy)
    for estimator in ESTIMATORS
    for strategy in ALL
    if "net" in estimator
    or strategy in MODAL
    or strategy.removesuffix("_sampling") in FOR_CLASSIFIERS
]


def make_strategy(name, net=True):
    """Return a strategy by its name, an instance anew, since some remember their learner."""
    params = {} if net else FOR_CLASSIFIERS.get(name.removesuffix("_sampling"), {})
    if name in PROMISES:
        return make_sampler(name, **params)
    function = (FUNCTIONS | MODAL)[name]
    return partial(function, **params) if params else function


# --- the loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator, strategy",
    [slow_unless(e == "net" or s == "margin", e, s) for e, s in COMBINATIONS],
)
def test_loop(estimator, strategy):
    query_strategy = make_strategy(strategy, net="net" in estimator)
    learner, pool, labels = (
        ActiveLearner(ESTIMATORS[estimator](), query_strategy, X, y),
        POOL,
        POOL_y,
    )
    for _ in range(2):
        indices, samples = learner.query(pool, n_instances=2)
        assert samples.tolist() == pool[indices].tolist()
        learner.teach(samples, labels[indices])
        pool, labels = np.delete(pool, indices, axis=0), np.delete(labels, indices)
    assert learner.X_training.shape == (34, 4)
    assert 0 <= learner.score(POOL, POOL_y) <= 1
    assert (
        learner.predict(POOL).shape
        == learner.predict_proba(POOL).argmax(1).shape
        == (41,)
    )


@pytest.mark.parametrize("n_instances", [1, 2, 5])
@pytest.mark.parametrize("strategy", MODAL)
def test_strategies_of_modal_with_their_own_scores(strategy, n_instances):
    estimator = LogisticRegression().fit(X, y)
    indices, samples = ActiveLearner(estimator, MODAL[strategy], X, y).query(
        POOL, n_instances=n_instances
    )
    direct = MODAL[strategy](estimator, POOL, n_instances=n_instances)
    assert (
        indices.tolist()
        == (direct[0] if isinstance(direct, tuple) else direct).tolist()
    )
    assert samples.shape == (n_instances, 4)


def test_the_default_is_dynamical_sampling():
    learner = ActiveLearner(trained_net(), X_training=X, y_training=y)
    assert learner.query_strategy is dynamical_sampling
    assert learner.query(POOL)[0].shape == (1,)


def test_it_is_modals():
    assert issubclass(ActiveLearner, modAL.models.ActiveLearner)


def test_any_callable_is_a_strategy():
    learner = ActiveLearner(
        trained_net(), lambda learner, rows, a, b=0: np.array([a, b])
    )
    assert learner.query(POOL, 7, b=3)[0].tolist() == [7, 3]


def test_parameters_of_the_strategy_go_through_query():
    learner = ActiveLearner(FrozenEstimator(trained_net()), dynamical_sampling, X, y)
    actual, _ = learner.query(POOL, n_instances=6, gamma=0, batch_size=8)
    assert (
        actual.tolist() == make_sampler("dynamical", gamma=0)(learner, POOL, 6).tolist()
    )


def test_without_data_nothing_is_trained():
    learner = ActiveLearner(make_net())
    assert learner.X_training is learner.y_training is None
    assert not learner.estimator.initialized_


def test_teach_may_be_the_first_training():
    learner = ActiveLearner(make_net())
    learner.teach(X, y)
    assert learner.X_training is X
    assert learner.query(POOL)[0].shape == (1,)


def test_fit_forgets():
    learner = ActiveLearner(make_net(), X_training=X, y_training=y)
    assert learner.fit(X[:20], y[:20]) is learner
    assert len(learner.X_training) == len(learner.y_training) == 20


# --- teach ----------------------------------------------------------------------------------------


def pairs(rows, labels):
    return TensorDataset(torch.as_tensor(rows), torch.as_tensor(labels))


FORMS = {
    "arrays": lambda rows, labels: (rows, labels),
    "tensors": lambda rows, labels: (torch.as_tensor(rows), torch.as_tensor(labels)),
    "dicts": lambda rows, labels: ({"x": rows}, labels),
    "CSR matrix": lambda rows, labels: (sparse.csr_matrix(rows), labels),
    "CSR array": lambda rows, labels: (sparse.csr_array(rows), labels),
    "Datasets": lambda rows, labels: (pairs(rows, labels),),
    "Datasets, y": lambda rows, labels: (TensorDataset(torch.as_tensor(rows)), labels),
    "SliceDataset": lambda rows, labels: (SliceDataset(pairs(rows, labels)), labels),
    "lists of labels": lambda rows, labels: (rows, labels.tolist()),
}


@pytest.mark.parametrize("form", FORMS)
def test_teach_appends(form):
    learner, expected = (
        ActiveLearner(make_net(), random_sampling, warm_start=False) for _ in range(2)
    )
    learner.fit(*FORMS[form](X[:20], y[:20]))
    learner.teach(*FORMS[form](X[20:], y[20:]))
    torch.manual_seed(0)
    learner.teach(*FORMS[form](POOL, POOL_y))
    torch.manual_seed(0)
    expected.fit(np.concatenate([X, POOL]), np.concatenate([y, POOL_y]))
    assert weights(learner.estimator) == weights(expected.estimator)


def random_sampling(learner, rows):
    return np.arange(1)


def test_teach_appends_frames():
    frame = pd.DataFrame(X, columns=list("abcd"))
    learner = ActiveLearner(
        GaussianNB(), random_sampling, frame[:20], pd.Series(y[:20])
    )
    learner.teach(frame[20:], pd.Series(y[20:]))
    assert learner.X_training.equals(frame)
    assert learner.y_training.tolist() == y.tolist()


def test_teach_appends_strings():
    learner = ActiveLearner(
        GaussianNB(), random_sampling, X, np.array(["a", "b"])[y % 2]
    )
    learner.teach(POOL, np.array(["b", "longer"])[POOL_y % 2])
    assert learner.estimator.classes_.tolist() == ["a", "b", "longer"]


def test_datasets_are_neither_copied_nor_read():
    learner = ActiveLearner(make_net(), random_sampling, pairs(X[:20], y[:20]))
    learner.teach(pairs(X[20:], y[20:]))
    assert isinstance(learner.X_training, ConcatDataset)
    indices, samples = learner.query(pairs(POOL, POOL_y))
    assert isinstance(samples, Subset)
    assert samples[0][0].tolist() == POOL[indices[0]].tolist()


def test_only_new():
    learner = ActiveLearner(GaussianNB(), random_sampling, X, y)
    learner.teach(POOL[POOL_y < 2], POOL_y[POOL_y < 2], only_new=True)
    assert learner.estimator.classes_.tolist() == [0, 1]
    assert len(learner.X_training) == len(learner.y_training) == 30 + (POOL_y < 2).sum()


BOOTSTRAPS = {
    "init": lambda: ActiveLearner(
        GaussianNB(), random_sampling, X, y, bootstrap_init=True
    ),
    "fit": lambda: ActiveLearner(GaussianNB(), random_sampling).fit(
        X, y, bootstrap=True
    ),
    "teach": lambda: taught(ActiveLearner(GaussianNB(), random_sampling)),
}


def taught(learner):
    learner.teach(X, y, bootstrap=True)
    return learner


@pytest.mark.parametrize("where", BOOTSTRAPS)
def test_bootstrap(where):
    np.random.seed(0)
    learner = BOOTSTRAPS[where]()
    np.random.seed(0)
    drawn = np.random.choice(len(X), len(X), replace=True)
    assert (
        learner.estimator.theta_.tolist()
        == GaussianNB().fit(X[drawn], y[drawn]).theta_.tolist()
    )
    assert learner.X_training is X


class Weighted(GaussianNB):
    """Keeps what it was trained with."""

    def fit(self, X, y, sample_weight=None, name=None):
        self.seen_ = X, sample_weight, name
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("kind", [np.asarray, list, pd.Series])
def test_bootstrap_draws_weights_with_their_samples(kind):
    learner = ActiveLearner(Weighted(), random_sampling)
    learner.fit(X, y, bootstrap=True, sample_weight=kind(np.abs(X[:, 0])), name="run")
    rows, weight, name = learner.estimator.seen_
    assert np.asarray(weight).tolist() == np.abs(rows[:, 0]).tolist()
    assert name == "run"


def test_bootstrap_of_datasets():
    learner = ActiveLearner(
        make_net(), random_sampling, pairs(X, y), bootstrap_init=True
    )
    assert len(learner.X_training) == 30
    assert (
        sum(
            batch["train_batch_size"]
            for batch in learner.estimator.history[0]["batches"]
        )
        == 30
    )


def test_fit_parameters():
    learner = ActiveLearner(make_net(), random_sampling, X, y, epochs=1)
    learner.teach(POOL, POOL_y, epochs=3)
    assert len(learner.estimator.history) == 4


# --- a scikit-learn estimator ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "strategy", [dynamical_sampling, make_sampler("dynamical", gamma=3.0)]
)
def test_a_clone_is_untrained_and_holds_no_data(strategy):
    params = {
        "bootstrap_init": True,
        "on_transformed": True,
        "warm_start": False,
        "reset_optimizer": False,
    }
    learner = ActiveLearner(make_net(lr=0.7), strategy, X, y, **params, epochs=1)
    copy = clone(learner)
    assert copy.X_training is copy.y_training is None
    assert not copy.estimator.initialized_
    assert copy.estimator.lr == 0.7
    assert {name: getattr(copy, name) for name in params} == params
    assert getattr(copy.query_strategy, "gamma", 3.0) == 3.0
    assert len(copy.fit(X, y, epochs=1).estimator.history) == 1


@pytest.mark.parametrize("strategy", PROMISES)
def test_the_strategy_of_a_clone_starts_anew(strategy):
    learner = ActiveLearner(make_net(), make_strategy(strategy), X, y)
    learner.query(POOL)
    copy = clone(learner).query_strategy
    assert copy.get_params(deep=False).keys() == vars(copy).keys()


@pytest.mark.parametrize("strategy", ALL)
def test_repr(strategy):
    shown = (
        PROMISES[strategy].cls.__name__
        if strategy in PROMISES
        else strategy.removeprefix("modAL's ")
    )
    for labeled in ((), (X, y)):
        learner = ActiveLearner(GaussianNB(), make_strategy(strategy), *labeled)
        assert repr(learner).startswith("ActiveLearner(GaussianNB(")
        assert shown in repr(learner)


def test_repr_is_short():
    learner = ActiveLearner(GaussianNB(), dynamical_sampling, X, y)
    assert (
        repr(learner)
        == "ActiveLearner(GaussianNB(), query_strategy=dynamical_sampling, n_labeled=30)"
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pickle(strategy):
    learner = ActiveLearner(make_net(), make_strategy(strategy), X, y)
    copy = pickle.loads(pickle.dumps(learner))
    assert copy.query(POOL, 1)[1].shape == (1, 4)
    copy.teach(POOL, POOL_y)
    assert (len(copy.X_training), len(learner.X_training)) == (71, 30)


@pytest.mark.parametrize("on_transformed", [False, True])
def test_on_transformed(on_transformed):
    def strategy(learner, rows):
        return np.argsort(
            (
                learner.transform_without_estimating(rows)
                if learner.on_transformed
                else rows
            )[:, 0]
        )[:1]

    estimator = make_pipeline(Negated(), GaussianNB())
    learner = ActiveLearner(estimator, strategy, X, y, on_transformed=on_transformed)
    assert learner.query(POOL)[0] == (
        POOL[:, 0].argmax() if on_transformed else POOL[:, 0].argmin()
    )


class Negated(StandardScaler):
    def transform(self, rows):
        return -super().transform(rows)


def test_a_query_trains_nothing():
    learner = ActiveLearner(make_net(), dynamical_sampling, X, y)
    before = weights(learner.estimator)
    learner.query(POOL, n_instances=4)
    assert weights(learner.estimator) == before
