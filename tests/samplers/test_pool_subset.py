"""PoolSubset: what it sees, and that its sampler chooses from it."""

import numpy as np
import pytest
from common import POOL, X, trained_net, y
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skdal.exceptions import InvalidParameterError, UnsupportedEstimatorError
from skdal.samplers import (
    ALBLSampler,
    BADGESampler,
    CoresetSampler,
    MarginSampler,
    PoolSubset,
)

NET = FrozenEstimator(trained_net())


@pytest.mark.parametrize(
    "sampler", [None, MarginSampler(), CoresetSampler(), BADGESampler()]
)
def test_its_sampler_chooses_from_what_it_sees(sampler):
    subset = PoolSubset(NET, sampler=sampler, subset_size=20, random_state=0).fit(X, y)
    indices, scores = subset.query(POOL, 5, return_scores=True)
    assert len(subset.seen_) == len(set(subset.seen_.tolist())) == 20
    assert set(indices.tolist()) <= set(subset.seen_.tolist())
    if not isinstance(sampler, BADGESampler):  # it draws
        expected = (sampler or subset.sampler_)(
            NET, POOL[subset.seen_], 5, X_labeled=X, y_labeled=y
        )
        assert indices.tolist() == subset.seen_[expected].tolist()
    assert np.isfinite(scores).all()


def test_a_pool_that_is_small_enough_is_seen_whole():
    subset = PoolSubset(NET, sampler=MarginSampler(), subset_size=41).fit(X, y)
    assert (
        subset.query(POOL, 5).tolist()
        == MarginSampler(NET).fit(X, y).query(POOL, 5).tolist()
    )
    assert subset.seen_.tolist() == list(range(41))


def test_every_sample_is_seen_as_often():
    subset, counts = (
        PoolSubset(
            sampler=MarginSampler(),
            subset_size=10,
            random_state=np.random.RandomState(0),
        ),
        np.zeros(41),
    )
    classifier = LogisticRegression().fit(X, y)
    for _ in range(1000):
        subset(classifier, POOL, 1)
        counts[subset.seen_] += 1
    deviation = np.sqrt(1000 * (10 / 41) * (31 / 41))
    assert (np.abs(counts - 10_000 / 41) < 4.5 * deviation).all()


def test_its_sampler_keeps_what_it_learns():
    bandit = ALBLSampler()
    subset = PoolSubset(NET, sampler=bandit, subset_size=20, random_state=0).fit(X, y)
    subset.query(POOL, 3)
    subset.query(POOL, 3)
    assert len(subset.sampler_.history_) == 2
    assert not hasattr(bandit, "history_")  # the caller's own stays as it was


def test_bad_input():
    with pytest.raises(
        InvalidParameterError,
        match="sampler must be None or a sampler.*got LogisticRegression",
    ):
        PoolSubset(NET, sampler=LogisticRegression()).fit(X, y)
    with pytest.raises(
        InvalidParameterError,
        match="subset_size must be an integer of at least 1; got 0",
    ):
        PoolSubset(NET, subset_size=0).fit(X, y)
    with pytest.raises(
        InvalidParameterError, match="n_instances is 9, and subset_size=5"
    ):
        PoolSubset(NET, subset_size=5).fit(X, y).query(POOL, 9)
    with pytest.raises(UnsupportedEstimatorError, match="LogisticRegression"):
        PoolSubset(LogisticRegression()).fit(X, y)
