"""ALBLSampler: its weights against runs by hand, what it remembers, and what it refuses."""

import pickle

import numpy as np
import pytest
import torch
from common import POOL, POOL_y, X, trained_net, y
from reference import exp4p
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch.utils.data import TensorDataset

from skdal import ActiveLearner
from skdal.base import BaseSampler
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    MissingLabeledDataError,
    UnsupportedEstimatorError,
)
from skdal.samplers import (
    ALBLSampler,
    CoresetSampler,
    MarginSampler,
    PoolSubset,
    RandomSampler,
)
from skdal.utils import rows_digest


class Ranking(BaseSampler):
    """Always the same order."""

    def __init__(self, order=(), estimator=None, random_state=None):
        super().__init__(estimator, random_state=random_state)
        self.order = order

    def _select(self, trained, X, n_instances, rng):
        return np.array(self.order)[:n_instances], np.arange(n_instances, 0.0, -1)


UP, DOWN = Ranking(tuple(range(41))), Ranking(tuple(range(40, -1, -1)))


def always(label):
    """A classifier that predicts one label, whatever it is trained on."""
    return FrozenEstimator(
        DummyClassifier(strategy="constant", constant=label).fit(X, y)
    )


def answer(sampler, indices, X_labeled, y_labeled, labels=POOL_y):
    X_all, y_all = (
        np.concatenate([X_labeled, POOL[indices]]),
        np.concatenate([y_labeled, labels[indices]]),
    )
    sampler.fit(X_all, y_all)
    return X_all, y_all


# --- against runs by hand -------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"delta": 0.5, "p_min": 0.2, "horizon": 7}])
@pytest.mark.parametrize("seed", range(5))
def test_weights_of_batches(params, seed):
    sampler = ALBLSampler(
        always(1), samplers=[UP, DOWN], random_state=seed, **params
    ).fit(X, y)
    w, p_rows, X_all, y_all = np.ones(2), np.ones(30), X, y
    p_min = params.get("p_min", 1 / 20)
    for n in (3, 5, 2, 4):
        indices = sampler.query(POOL, n)
        q = (1 - 2 * p_min) * w / w.sum() + p_min
        np.testing.assert_allclose(sampler.history_[-1]["q"], q, rtol=1e-12)
        (arm,) = sampler.history_[-1]["arms"]
        assert indices.tolist() == list([UP, DOWN][arm].order[:n])
        X_all, y_all = answer(sampler, indices, X_all, y_all)
        p_rows = np.concatenate([p_rows, np.full(n, q[arm])])
        reward = np.mean((y_all == 1) / p_rows)
        w = exp4p(w, q, q[arm], [arm == 0, arm == 1], reward, **params)
    sampler.query(POOL, 1)
    np.testing.assert_allclose(sampler.weights_, w, rtol=1e-12)
    np.testing.assert_allclose(sampler.probabilities_, p_rows, rtol=1e-12)
    assert sampler.history_[-1]["reward"] == pytest.approx(reward)
    assert sampler.history_[0]["reward"] is None


@pytest.mark.parametrize("seed", range(5))
def test_weights_of_samples(seed):
    near = Ranking((0, 2, 1, *range(3, 41)))
    sampler = ALBLSampler(
        always(2), samplers=[UP, near, DOWN], per="sample", random_state=seed
    ).fit(X, y)
    indices = sampler.query(POOL, 6)
    q = np.full(3, 1 / 3)
    arms, taken, p, advised = sampler.history_[-1]["arms"], [], [], []
    for arm, index in zip(arms, indices):
        best = [
            next(i for i in ranking.order if i not in taken)
            for ranking in (UP, near, DOWN)
        ]
        assert best[arm] == index
        advised.append([i == index for i in best])
        p.append(q[advised[-1]].sum())
        taken.append(index)
    X_all, y_all = answer(sampler, indices, X, y)
    sampler.query(POOL, 1)
    rows = np.concatenate([np.ones(30), p])
    reward, w = np.mean((y_all == 2) / rows), np.ones(3)
    for i in range(6):
        w = exp4p(w, q, p[i], advised[i], reward)
    np.testing.assert_allclose(sampler.probabilities_, rows, rtol=1e-12)
    np.testing.assert_allclose(sampler.weights_, w, rtol=1e-12)


def test_the_paper_s_arms_by_default():
    sampler = ALBLSampler(FrozenEstimator(trained_net()), random_state=0).fit(X, y)
    drawn = set()
    for seed in range(20):
        picks = clone(sampler).set_params(random_state=seed).fit(X, y).query(POOL, 4)
        drawn.add(tuple(picks.tolist()))
    coreset = CoresetSampler(FrozenEstimator(trained_net())).fit(X, y).query(POOL, 4)
    assert len(drawn) == 2
    assert tuple(coreset.tolist()) in drawn


# --- what it remembers ----------------------------------------------------------------------------


def test_order_of_a_batch_is_free():
    first, second = (
        ALBLSampler(always(1), samplers=[UP, DOWN], random_state=0).fit(X, y)
        for _ in range(2)
    )
    indices = first.query(POOL, 5)
    second.query(POOL, 5)
    answer(first, indices, X, y)
    answer(second, indices[::-1], X, y)
    first.query(POOL, 1), second.query(POOL, 1)
    assert first.weights_.tolist() == second.weights_.tolist()


def test_update_tells_the_order():
    kwargs = {
        "samplers": [UP, DOWN, Ranking((0, *range(40, 0, -1)))],
        "per": "sample",
        "random_state": 1,
    }
    plain, told = (ALBLSampler(always(1), **kwargs).fit(X, y) for _ in range(2))
    indices = plain.query(POOL, 6)
    told.query(POOL, 6)
    shuffled = indices[[3, 0, 5, 1, 2, 4]]
    told.update(shuffled, POOL_y[shuffled])
    answer(plain, indices, X, y)
    answer(told, shuffled, X, y)
    plain.query(POOL, 1), told.query(POOL, 1)
    order = [30 + i for i in (3, 0, 5, 1, 2, 4)]
    assert told.probabilities_[30:].tolist() == plain.probabilities_[order].tolist()
    np.testing.assert_allclose(told.weights_, plain.weights_, rtol=1e-12)


def test_a_part_of_the_answers():
    sampler = ALBLSampler(
        always(1), samplers=[UP, DOWN], per="sample", random_state=0
    ).fit(X, y)
    indices = sampler.query(POOL, 6)
    answer(sampler, indices[:2], X, y)
    sampler.query(POOL, 1)
    assert len(sampler.probabilities_) == 32


def test_a_query_without_answers_teaches_nothing():
    sampler = ALBLSampler(always(1), samplers=[UP, DOWN], random_state=0).fit(X, y)
    assert sampler.query(POOL, 3).tolist() == sampler.query(POOL, 3).tolist()
    assert sampler.weights_.tolist() == [1, 1]


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_the_state_is_plain_and_goes_on(tmp_path, per):
    def make():
        return ALBLSampler(always(1), samplers=[UP, DOWN], per=per, random_state=0)

    sampler, X_all, y_all = make().fit(X, y), X, y
    assert sampler.state_dict() == {}
    for n in (3, 4):
        indices = sampler.query(POOL, n)
        sampler.update(indices, POOL_y[indices])
        torch.save(sampler.state_dict(), tmp_path / "state.pt")
        twin = make()
        twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        X_all, y_all = answer(sampler, indices, X_all, y_all)
        assert (twin.fit(X_all, y_all).query(POOL, 5) == sampler.query(POOL, 5)).all()
        assert twin.history_ == sampler.history_
        np.testing.assert_array_equal(twin.weights_, sampler.weights_)
        sampler.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        sampler.query(POOL, 1)
    sampler.load_state_dict({})
    assert not hasattr(sampler, "weights_")


def test_clone_forgets_and_pickle_keeps():
    sampler = ALBLSampler(always(1), samplers=[UP, DOWN], random_state=0).fit(X, y)
    X_all, y_all = answer(sampler, sampler.query(POOL, 4), X, y)
    sampler.query(POOL, 1)
    twin = pickle.loads(pickle.dumps(sampler))
    assert not hasattr(clone(sampler), "weights_")
    X_all, y_all = (
        np.concatenate([X_all, POOL[:1]]),
        np.concatenate([y_all, POOL_y[:1]]),
    )
    assert (
        sampler.fit(X_all, y_all).query(POOL, 9).tolist()
        == twin.fit(X_all, y_all).query(POOL, 9).tolist()
    )
    assert sampler.weights_.tolist() == twin.weights_.tolist() != [1, 1]


class Broken(Ranking):
    def _select(self, *args):
        raise OSError("broken on purpose")


@pytest.mark.parametrize("fault", ["arm", "digest"])
def test_a_query_that_fails_changes_nothing(fault, monkeypatch):
    sampler = ALBLSampler(always(1), samplers=[UP, DOWN], random_state=0).fit(X, y)
    answer(sampler, sampler.query(POOL, 2), X, y)
    before = {key: value for key, value in vars(sampler).items() if key != "samplers"}
    if fault == "arm":
        sampler.samplers = [Broken(), Broken()]
    else:
        monkeypatch.setattr("skdal.samplers._albl._Asked", Broken()._select)
    with pytest.raises(OSError, match="broken on purpose"):
        sampler.query(POOL, 2)
    after = {key: value for key, value in vars(sampler).items() if key != "samplers"}
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in before)


def test_in_a_learner_with_a_dataset():
    sampler = ALBLSampler(random_state=0)
    data = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    pool = TensorDataset(torch.as_tensor(POOL), torch.as_tensor(POOL_y))
    learner = ActiveLearner(trained_net(), sampler, data)
    for _ in range(3):
        _, samples = learner.query(pool, n_instances=4)
        learner.teach(samples)
    learner.query(pool, n_instances=4)
    assert len(sampler.history_) == 4
    assert len(sampler.probabilities_) == 42


def test_random_numbers_of_the_arms_are_the_bandit_s():
    picks = [
        ALBLSampler(
            always(1), samplers=[RandomSampler(), RandomSampler()], random_state=7
        )
        .fit(X, y)
        .query(POOL, 5)
        .tolist()
        for _ in range(2)
    ]
    assert picks[0] == picks[1]


# --- bad input ------------------------------------------------------------------------------------


def fitted(**params):
    sampler = ALBLSampler(
        always(1), **{"samplers": [UP, DOWN], "random_state": 0, **params}
    ).fit(X, y)
    return sampler, sampler.query(POOL, 4)


CHANGED = {
    "shrunk": (
        lambda i: (X[:-1], y[:-1]),
        "had 30 samples at the last query and has 29 now",
    ),
    "another row": (
        lambda i: (np.concatenate([X[:5], X[:1], X[6:], POOL[i]]), np.r_[y, POOL_y[i]]),
        "first 30 samples",
    ),
    "another label": (
        lambda i: (np.r_[X, POOL[i]], np.r_[(y + 1) % 3, POOL_y[i]]),
        "first 30 samples",
    ),
    "put in front": (
        lambda i: (np.r_[POOL[i], X], np.r_[POOL_y[i], y]),
        "first 30 samples.*appended",
    ),
}


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("per", ["batch", "sample"])
def test_a_labeled_set_that_changed(change, per):
    sampler, indices = fitted(per=per)
    make, words = CHANGED[change]
    before = sampler.weights_.tolist()
    with pytest.raises(InvalidDataError, match=words):
        sampler.fit(*make(indices)).query(POOL, 2)
    assert sampler.weights_.tolist() == before
    answer(sampler, indices, X, y)
    sampler.query(POOL, 2)


def test_more_rows_than_asked_for():
    sampler, indices = fitted(per="sample")
    with pytest.raises(InvalidDataError, match="5 new samples, and 4 were asked for"):
        answer(sampler, [*indices, 20], X, y)
        sampler.query(POOL, 2)


@pytest.mark.parametrize(
    "widen",
    {
        "float64": lambda x: x.astype("float32"),
        "longer texts": lambda x: np.array([["a"] for _ in x]),
        "int64 to float": lambda x: np.arange(len(x))[:, None],
    }.items(),
    ids=lambda item: item[0],
)
def test_appending_may_widen_the_samples(widen):
    narrow = widen[1](X)
    digest = rows_digest(narrow)
    wider = np.concatenate(
        [
            narrow,
            {"U": np.array([["long"]])}.get(
                narrow.dtype.kind, np.full((1, narrow.shape[1]), 0.5)
            ),
        ]
    )
    assert wider.dtype != narrow.dtype
    assert rows_digest(wider, len(X), like=digest) == digest
    wider[3] = wider[4] if narrow.dtype.kind != "U" else "b"
    assert rows_digest(wider, len(X), like=digest) != digest


def test_labels_in_a_column():
    kwargs = {"samplers": [UP, DOWN], "random_state": 0}
    flat, column = (
        ALBLSampler(always(1), **kwargs).fit(X, labels) for labels in (y, y)
    )
    for sampler, shape in ((flat, -1), (column, (-1, 1))):
        sampler.y_labeled_ = y.reshape(shape)
        indices = sampler.query(POOL, 3)
        sampler.X_labeled_ = np.concatenate([X, POOL[indices]])
        sampler.y_labeled_ = np.concatenate([y, POOL_y[indices]]).reshape(shape)
        sampler.query(POOL, 1)
    assert column.history_[-1]["reward"] == flat.history_[-1]["reward"]


def test_the_arms_stay_as_they_are():
    arm = PoolSubset(sampler=MarginSampler(), subset_size=20)
    sampler = ALBLSampler(
        LogisticRegression(), samplers=[arm, arm], random_state=0
    ).fit(X, y)
    sampler.query(POOL, 3)
    assert not hasattr(arm, "seen_")


def test_update_may_be_corrected_and_waits_for_its_answers():
    sampler = ALBLSampler(
        always(1), samplers=[UP, DOWN], per="sample", random_state=1
    ).fit(X, y)
    indices = sampler.query(POOL, 4)
    sampler.update(indices[:2], POOL_y[indices[:2]])
    sampler.update(indices[::-1], POOL_y[indices[::-1]])
    answer(sampler, indices[::-1], X, y)
    sampler.query(POOL, 1)
    sampler.update(sampler._asked.picks, [0])
    assert len(sampler.query(POOL, 1)) == 1


def test_update_refuses():
    sampler = ALBLSampler(always(1), samplers=[UP, DOWN], random_state=0).fit(X, y)
    with pytest.raises(InvalidDataError, match="none is open"):
        sampler.update([0], [1])
    indices = sampler.query(POOL, 4)
    for wrong in ([20], [indices[0], indices[0]], indices[:2]):
        with pytest.raises(InvalidDataError, match="picks of the last query"):
            sampler.update(
                wrong,
                [1] * (3 if len(wrong) == 2 and wrong[0] != wrong[1] else len(wrong)),
            )
    sampler.update(indices, (POOL_y[indices] + 1) % 3)
    answer(sampler, indices, X, y)
    with pytest.raises(InvalidDataError, match="update told of 4 answers"):
        sampler.query(POOL, 2)


def test_another_number_of_arms():
    sampler, indices = fitted()
    answer(sampler, indices, X, y)
    with pytest.raises(
        InvalidParameterError, match="has learned of 2 samplers and now has 3"
    ):
        sampler.set_params(samplers=[UP, DOWN, UP]).query(POOL, 2)


@pytest.mark.parametrize(
    "params, words",
    [
        ({"samplers": []}, "samplers must be None or a list of samplers"),
        ({"samplers": UP}, "samplers must be"),
        ({"samplers": [UP, ALBLSampler()]}, "samplers must be .*no bandits"),
        ({"samplers": [UP, MarginSampler]}, "samplers must be .*instances"),
        (
            {"samplers": [LogisticRegression(), UP]},
            "samplers must be .*got .LogisticRegression",
        ),
        ({"per": "round"}, 'per must be "batch" or "sample"'),
        ({"delta": 0}, "delta must be a number between 0 and 1; got 0"),
        (
            {"p_min": 0.6},
            "p_min must be None, or above 0 and at most 1 over the number of samplers; got 0.6",
        ),
        ({"horizon": 0}, "horizon must be an integer of at least 1"),
    ],
)
def test_wrong_parameters(params, words):
    with pytest.raises(InvalidParameterError, match=words):
        ALBLSampler(always(1), **{"samplers": [UP, DOWN], **params}).fit(X, y)


def test_an_arm_that_cannot_work_with_the_classifier():
    with pytest.raises(
        UnsupportedEstimatorError, match="CoresetSampler.*LogisticRegression"
    ):
        ALBLSampler(LogisticRegression()).fit(X, y)


def test_without_a_labeled_set():
    with pytest.raises(
        MissingLabeledDataError, match="ALBLSampler needs the labeled set"
    ):
        ALBLSampler()(trained_net(), POOL, 3)
