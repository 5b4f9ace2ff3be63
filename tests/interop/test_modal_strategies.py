"""modAL's own strategies in our loops: the same picks as ours where they are the same, and checked
picks."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from common import (
    POOL,
    Mlp,
    POOL_y,
    X,
    assert_same,
    global_rng,
    make_net,
    snapshot,
    trained_net,
    y,
)
from modAL import uncertainty
from modAL.batch import uncertainty_batch_sampling
from modAL.models import ActiveLearner as ModalActiveLearner
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from skdal import ActiveLearner, DynamicALSampler, dynamical_sampling
from skdal.exceptions import InvalidParameterError, SkdalError
from skdal.interop import ModalSampler
from skdal.samplers import ConfidenceSampler, EntropySampler, MarginSampler, PoolSubset

PAIRS = {
    "uncertainty": (uncertainty.uncertainty_sampling, ConfidenceSampler),
    "margin": (uncertainty.margin_sampling, MarginSampler),
    "entropy": (uncertainty.entropy_sampling, EntropySampler),
}
pairs = pytest.mark.parametrize("strategy, sampler", PAIRS.values(), ids=PAIRS)
CLASSIFIERS = {
    "net": trained_net(),
    "pipeline": make_pipeline(StandardScaler(), make_net()).fit(X, y),
    "classifier": LogisticRegression().fit(X, y),
}


def ask(strategy, classifier, n_instances=5, pool=POOL, **params):
    """Query as a learner would, without training."""
    return ModalSampler(strategy=strategy, **params)(
        classifier, pool, n_instances, X_labeled=X, y_labeled=y
    )


@pairs
@pytest.mark.parametrize("classifier", CLASSIFIERS.values(), ids=CLASSIFIERS)
@pytest.mark.parametrize("n_instances", [1, 2, 7, 40])
def test_uncertainty_is_ours(strategy, sampler, classifier, n_instances):
    found, ours = (
        ask(strategy, classifier, n_instances),
        sampler()(classifier, POOL, n_instances),
    )
    assert sorted(found) == sorted(
        ours
    )  # modAL's order within a batch is that of a partition


@pairs
def test_uncertainty_is_ours_on_many_small_pools(strategy, sampler):
    classifier, rng = CLASSIFIERS["classifier"], np.random.default_rng(0)
    for _ in range(100):
        pool = rng.normal(size=(rng.integers(2, 20), 4)) * 3
        n = int(rng.integers(1, len(pool) + 1))
        assert sorted(ask(strategy, classifier, n, pool)) == sorted(
            sampler()(classifier, pool, n)
        )


def test_fit_and_query():
    sampler = ModalSampler(
        FrozenEstimator(trained_net()), strategy=uncertainty.entropy_sampling
    ).fit(X, y)
    indices, scores = sampler.query(POOL, 5, return_scores=True)
    assert sorted(indices) == sorted(EntropySampler()(trained_net(), POOL, 5))
    assert indices.dtype == np.intp
    assert scores.shape == (5,)  # NaN, but for modAL 0.4.2


def test_the_learner_holds_the_labeled_set():
    ranked = ask(uncertainty_batch_sampling, CLASSIFIERS["classifier"])
    learner = ModalActiveLearner(LogisticRegression(), uncertainty_batch_sampling, X, y)
    assert ranked.tolist() == learner.query(POOL, n_instances=5)[0].tolist()
    assert len(set(ranked)) == 5


def test_in_our_learner():
    learner = ActiveLearner(
        make_net(), ModalSampler(strategy=uncertainty.margin_sampling), X, y
    )
    for n_labeled in (35, 40):
        indices, samples = learner.query(POOL, n_instances=5)
        assert samples.tolist() == POOL[indices].tolist()
        learner.teach(samples, POOL_y[indices])
        assert len(learner.X_training) == n_labeled


@pairs
def test_a_dataset_and_a_float32_net(strategy, sampler):
    """Probabilities are read as by our samplers: from Datasets too, and from float32 in float64."""
    net = trained_net(module__dtype=torch.float32)
    pool = TensorDataset(torch.from_numpy(POOL))
    seen = []

    def watching(learner, X, n_instances=1):
        seen.append(learner.predict_proba(X).dtype)
        return strategy(learner, X, n_instances=n_instances)

    assert sorted(ask(watching, net, pool=pool)) == sorted(sampler()(net, pool, 5))
    assert seen == [np.float64]


def test_our_functions_are_strategies_too():
    net = CLASSIFIERS["net"]
    expected = DynamicALSampler()(net, POOL, 5, X_labeled=X, y_labeled=y)
    assert ask(dynamical_sampling, net).tolist() == expected.tolist()


def test_on_a_part_of_the_pool():
    subset = PoolSubset(
        sampler=ModalSampler(strategy=uncertainty.margin_sampling),
        subset_size=20,
        random_state=0,
    )
    indices = subset(CLASSIFIERS["net"], POOL, 5)
    expected = subset.seen_[MarginSampler()(CLASSIFIERS["net"], POOL[subset.seen_], 5)]
    assert sorted(indices) == sorted(expected)


def constant(learner, X, n_instances=1):
    """Ties everywhere: `shuffled_argmax` draws from numpy's global generator."""
    return np.random.permutation(len(X))[:n_instances]


def test_chance_is_by_the_seed():
    net, before = CLASSIFIERS["net"], global_rng()
    first, again, other = (
        ask(constant, net, random_state=seed).tolist() for seed in (0, 0, 1)
    )
    assert first == again != other
    assert ask(constant, net).tolist() != ask(constant, net).tolist()
    assert_same(global_rng(), before)
    shuffled = partial(uncertainty.uncertainty_sampling, random_tie_break=True)
    assert sorted(ask(shuffled, net)) == sorted(ConfidenceSampler()(net, POOL, 5))


def test_nothing_of_the_nets_changes():
    net = trained_net()
    net.module_.train()
    before = snapshot(net)
    seen = []

    def curious(learner, X, n_instances=1):
        seen.append(learner.estimator.module_.training)
        learner.predict(X)
        learner.estimator.module_.train()
        return learner.predict_proba(X).max(1).argsort()[:n_instances]

    assert ask(curious, net).tolist() == ConfidenceSampler()(net, POOL, 5).tolist()
    assert_same(snapshot(net), before)
    assert seen == [False]


def test_it_runs_once():
    runs = []

    def counted(learner, X, n_instances=1):
        runs.append(n_instances)
        return np.arange(n_instances)

    ModalActiveLearner(
        FrozenEstimator(trained_net()), ModalSampler(strategy=counted), X, y
    ).query(POOL, n_instances=2)
    assert runs == [2]


GIVEN = {
    "a list": ([3, 0], [3, 0], [np.nan] * 2),
    "bare": (np.array([3, 0]), [3, 0], [np.nan] * 2),
    "with scores": ((np.array([3, 0]), np.array([0.2, 0.7])), [3, 0], [0.2, 0.7]),
    "scores in a list": (([3, 0], [2, 7]), [3, 0], [2.0, 7.0]),
    "with samples, as modAL once did": (
        (np.array([3, 0]), POOL[[3, 0]]),
        [3, 0],
        [np.nan] * 2,
    ),
    "with None": ((np.array([3, 0]), None), [3, 0], [np.nan] * 2),
}


@pytest.mark.parametrize("given, indices, scores", GIVEN.values(), ids=GIVEN)
def test_what_a_strategy_may_give(given, indices, scores):
    sampler = ModalSampler(
        FrozenEstimator(trained_net()), strategy=lambda *args, n_instances: given
    ).fit(X, y)
    found = sampler.query(POOL, 2, return_scores=True)
    assert found[0].tolist() == indices
    np.testing.assert_array_equal(found[1], scores)


def test_one_position():
    assert ask(lambda *args, n_instances: 7, CLASSIFIERS["net"], 1).tolist() == [7]
    assert ask(
        lambda *args, n_instances: (np.int64(7), np.float64(0.5)), CLASSIFIERS["net"], 1
    ).tolist() == [7]


WRONG = {
    "twice": ([3, 3], r"more than once, such as \[3\]"),
    "too few": ([3], "1 positions. It was asked for 2"),
    "too many": ([3, 4, 5], "3 positions. It was asked for 2"),
    "above": ([3, 41], r"outside of the pool, such as \[41\].* 0 to 40"),
    "below": ([3, -1], r"outside of the pool, such as \[-1\]"),
    "floats": ([3.0, 4.0], "dtype float64"),
    "a mask": (np.arange(41) < 2, "dtype bool"),
    "samples": (POOL[:2], r"shape \(2, 4\)"),
    "nothing": (None, "dtype object"),
    "two numbers in a tuple": ((3, 5), "1 positions"),
}


@pytest.mark.parametrize("given, message", WRONG.values(), ids=WRONG)
def test_what_a_strategy_may_not_give(given, message):
    def faulty(learner, X, n_instances=1):
        return given

    with pytest.raises(SkdalError, match=f"the query strategy faulty gave .*{message}"):
        ask(faulty, CLASSIFIERS["net"], 2)


@pytest.mark.parametrize("strategy", [None, "entropy", 3])
def test_a_strategy_that_is_none(strategy):
    with pytest.raises(InvalidParameterError, match="strategy must be callable"):
        ask(strategy, CLASSIFIERS["net"])


def test_its_own_errors_come_through():
    def broken(learner, X, n_instances=1):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        ask(broken, CLASSIFIERS["net"])


def test_clone_and_parameters():
    sampler = ModalSampler(
        LogisticRegression(), strategy=uncertainty.margin_sampling, random_state=3
    )
    assert clone(sampler).strategy is uncertainty.margin_sampling
    assert clone(sampler).get_params()["random_state"] == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(sampler).fit(X, y).query(POOL, 3)


def test_a_query_does_not_copy_the_weights_of_a_module_instance(monkeypatch):
    monkeypatch.setattr(
        "skdal.training._start._tensors_of", lambda module: pytest.fail("copied")
    )
    net = make_net(Mlp()).initialize()
    ModalSampler(strategy=uncertainty.margin_sampling)(net, POOL, 3)
