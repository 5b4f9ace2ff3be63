"""Strategies of other libraries with an executor: it computes what they read, and the picks stay
the same."""

import logging
import os
import pickle
import random
import threading

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, trained_net, y
from helpers_parallel import Rows
from modAL import uncertainty
from modAL.batch import uncertainty_batch_sampling
from needs import needs
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from skdal.exceptions import InvalidParameterError, UnreadableSampleError
from skdal.interop import ModalSampler, SkactivemlSampler, SkactivemlStrategy
from skdal.parallel import SerialExecutor
from skdal.samplers import MarginSampler, PoolSubset

theirs = needs("skactiveml.pool")


class Watched(SerialExecutor):
    """Works here and keeps what it was asked for."""

    def __init__(self, **params):
        super().__init__(**params)
        self.asked = []

    def map(self, task, X, y, slices):
        self.asked.append((type(task.work).__name__, len(slices)))
        yield from super().map(task, X, y, slices)


CLASSIFIERS = {
    "net": trained_net(),
    "pipeline": make_pipeline(StandardScaler(), make_net()).fit(X, y),
    "classifier": LogisticRegression().fit(X, y),
}
MODAL = {
    "entropy": uncertainty.entropy_sampling,
    "margin": uncertainty.margin_sampling,
    "batch": uncertainty_batch_sampling,
}
ACTIVEML = {
    "UncertaintySampling": theirs.UncertaintySampling(),
    "Badge": theirs.Badge(clf_embedding_flag_name="return_embeddings"),
    "DropQuery": theirs.DropQuery(clf_embedding_flag_name="return_embeddings"),
    "Clue": theirs.Clue(predict_dict={"return_embeddings": True}),
}
SAMPLERS = {
    **{
        f"modAL {key}": ModalSampler(strategy=strategy, random_state=0)
        for key, strategy in MODAL.items()
    },
    **{
        key: SkactivemlSampler(strategy=strategy, random_state=0)
        for key, strategy in ACTIVEML.items()
    },
}
samplers = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def ask(sampler, classifier, executor=None, pool=POOL, n_instances=5):
    sampler = clone(sampler).set_params(executor=executor)
    return sampler(classifier, pool, n_instances, X_labeled=X, y_labeled=y).tolist()


def on_classifiers(test):
    """Run a test for every sampler and classifier that it can read."""
    pairs = {
        f"{key}-{kind}": (sampler, classifier)
        for key, sampler in SAMPLERS.items()
        for kind, classifier in CLASSIFIERS.items()
        if kind != "classifier"
        or key.startswith("modAL")
        or key == "UncertaintySampling"  # embeddings are of nets
    }
    return pytest.mark.parametrize("sampler, classifier", pairs.values(), ids=pairs)(
        test
    )


@on_classifiers
def test_picks_are_the_same_in_shards(sampler, classifier):
    watched = clone(sampler).set_params(executor=Watched(shard_size=16))
    found = watched(classifier, POOL, 5, X_labeled=X, y_labeled=y).tolist()
    assert found == ask(sampler, classifier)
    asked = dict(watched.executor.asked)
    assert max(asked.values()) >= 2
    assert ("Hidden" in asked) == ("return_embeddings" in str(sampler.strategy))


@pytest.mark.slow
@on_classifiers
def test_picks_are_the_same_on_ray(sampler, classifier, two_workers):
    assert ask(sampler, classifier, two_workers) == ask(sampler, classifier)


class TellsProcess(LogisticRegression):
    """Is surer of itself in another process."""

    def predict_proba(self, X):
        first = 0.5 if os.getpid() == self.trained_by_ else 0.75
        return np.tile([first, 1 - first], (len(X), 1))

    def fit(self, X, y):
        self.trained_by_ = os.getpid()
        return super().fit(X, y)


@pytest.mark.slow
def test_probabilities_are_computed_in_the_workers(two_workers):
    seen = []

    def watching(learner, X, n_instances=1):
        seen.append(learner.predict_proba(X))
        return np.random.permutation(len(X))[:n_instances]

    watching.lock = (
        threading.Lock()
    )  # a strategy does not travel, so it may hold what cannot be pickled
    classifier = TellsProcess().fit(X, y)
    sampler = ModalSampler(strategy=watching, random_state=0)
    assert ask(sampler, classifier, two_workers) == ask(sampler, classifier)
    assert [float(proba[0, 0]) for proba in seen] == [0.75, 0.5]
    assert [proba.shape for proba in seen] == [(41, 2)] * 2


@pytest.mark.slow
def test_datasets_and_parts_of_pools_on_ray(two_workers):
    net = CLASSIFIERS["net"]
    modal = SAMPLERS["modAL margin"]
    pool = TensorDataset(torch.from_numpy(POOL))
    assert ask(modal, net, two_workers, pool) == ask(modal, net)
    subset = PoolSubset(
        sampler=clone(modal).set_params(executor=two_workers),
        subset_size=20,
        random_state=0,
    )
    here = PoolSubset(sampler=clone(modal), subset_size=20, random_state=0)
    assert subset(net, POOL, 5).tolist() == here(net, POOL, 5).tolist()


@pytest.mark.slow
def test_a_sampler_of_ours_in_scikit_activeml_on_ray(two_workers):
    everything, labels = (
        np.concatenate([X, POOL]),
        np.concatenate([y, np.full(len(POOL), np.nan)]),
    )
    picks = [
        SkactivemlStrategy(MarginSampler(executor=executor)).query(
            everything, labels, CLASSIFIERS["net"], batch_size=5
        )
        for executor in (None, two_workers)
    ]
    assert picks[0].tolist() == picks[1].tolist()


@samplers
def test_clones_and_pickles_keep_the_executor(sampler):
    sampler = clone(sampler).set_params(executor=SerialExecutor(shard_size=16))
    for again in (clone(sampler), pickle.loads(pickle.dumps(sampler))):
        assert again.get_params()["executor"].shard_size == 16
        assert ask(again, CLASSIFIERS["net"], again.executor) == ask(
            sampler, CLASSIFIERS["net"]
        )


class Draws(SerialExecutor):
    """Draws from all global generators while it works."""

    def map(self, task, X, y, slices):
        for found in super().map(task, X, y, slices):
            random.random()
            np.random.random()
            torch.rand(1)
            yield found


def test_a_strategy_draws_the_same():
    def by_chance(learner, X, n_instances=1):
        learner.predict_proba(X)
        keys = (
            np.random.random(len(X))
            + torch.rand(len(X)).numpy()
            + random.random() * np.arange(len(X))
        )
        return np.argsort(keys)[:n_instances]

    sampler = ModalSampler(strategy=by_chance, random_state=0)
    found = [
        ask(sampler, CLASSIFIERS["net"], executor)
        for executor in (None, Draws(shard_size=16))
    ]
    assert found[0] == found[1]


def test_an_unreadable_sample_is_named():
    sampler = SAMPLERS["modAL margin"]
    for executor in (None, SerialExecutor(shard_size=16)):
        with pytest.raises(
            UnreadableSampleError,
            match="sample 9 of the pool cannot be read .row 9 is damaged.*ModalSam",
        ):
            ask(sampler, CLASSIFIERS["net"], executor, Rows(POOL, [9]))


def test_nothing_is_kept_in_scores_dir(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "skdal"):
        ask(
            SAMPLERS["modAL margin"],
            CLASSIFIERS["net"],
            SerialExecutor(scores_dir=tmp_path),
        )
    assert (
        "ModalSampler looks at all samples at once; nothing is kept in scores_dir"
        in caplog.text
    )
    assert list(tmp_path.iterdir()) == []


@samplers
def test_what_is_no_executor(sampler):
    with pytest.raises(
        InvalidParameterError,
        match="executor must be None or an executor of skdal.parallel",
    ):
        ask(sampler, CLASSIFIERS["net"], "ray")
