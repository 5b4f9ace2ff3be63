"""CoresetSampler against brute force, its representations, and what it refuses."""

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, make_sampler, trained_net, y
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import k_center_greedy
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    NonFiniteScoreError,
    UnsupportedEstimatorError,
)
from skdal.samplers import CoresetSampler, coreset_sampling, k_center

NET = trained_net(max_epochs=5)


def features(classifier, X):
    return X


def hidden(net, X):
    """The input of Mlp's head."""
    with torch.no_grad():
        return net.module_.eval().body(torch.as_tensor(X))


def of_features(pool, labeled, n_instances):
    """Return (indices, scores) with the features themselves as representations."""
    classifier = LogisticRegression().fit(np.arange(4.0)[:, None], [0, 1, 0, 1])
    sampler = CoresetSampler(embedding=features, random_state=0)
    sampler.estimator_, sampler.X_labeled_, sampler.y_labeled_ = (
        classifier,
        labeled,
        np.zeros(len(labeled), int),
    )
    return sampler.query(pool, n_instances, return_scores=True)


@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([2, 5, 1000]),
)
@settings(max_examples=300, deadline=None)
def test_equals_brute_force(seed, n, m, d, grid):
    """On grids there are ties and duplicates; integers keep the distances exact."""
    rng = np.random.default_rng(seed)
    pool, labeled = (
        rng.integers(0, grid, (n, d)).astype(float),
        rng.integers(0, grid, (m, d)).astype(float),
    )
    n_instances = int(rng.integers(1, n + 1))
    indices, scores = of_features(pool, labeled, n_instances)
    picks, distances = k_center_greedy(pool, labeled, n_instances)
    np.testing.assert_allclose(scores, np.maximum(distances, 0), rtol=1e-12)
    assert indices.tolist() == picks


def test_all_the_same():
    indices, scores = of_features(np.ones((6, 2)), np.zeros((1, 2)), 6)
    assert indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert scores[0] == pytest.approx(2**0.5)
    assert scores[1:].tolist() == [0.0] * 5


def test_large_pools_are_cut(monkeypatch):
    rng = np.random.default_rng(0)
    pool, centers = (
        torch.as_tensor(rng.normal(size=(90, 3))),
        torch.as_tensor(rng.normal(size=(70, 3))),
    )
    whole = k_center(pool, centers, 20, rng)
    for name, value in {"_CENTERS": 16, "_PAIRS": 16 * 7, "_VALUES": 5}.items():
        monkeypatch.setattr(f"skdal.samplers._coreset.{name}", value)
    cut = k_center(pool, centers, 20, rng)
    assert [part.tolist() for part in cut] == [part.tolist() for part in whole]
    assert whole[0].tolist() == k_center_greedy(pool.numpy(), centers.numpy(), 20)[0]


def test_far_from_the_origin_in_float32():
    """There the product's rounding is larger than the distances, and decides nothing."""
    rng = np.random.default_rng(0)
    pool, centers = (
        1000 + np.round(rng.normal(size=(n, 4)), 2).astype("float32") for n in (60, 20)
    )
    indices, scores = k_center(torch.as_tensor(pool), torch.as_tensor(centers), 30, rng)
    expected = k_center_greedy(pool.astype(float), centers.astype(float), 30)
    assert indices.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-6)


def test_the_representation_is_the_input_of_the_head():
    sampler = CoresetSampler(FrozenEstimator(NET)).fit(X, y)
    expected = k_center_greedy(hidden(NET, POOL).numpy(), hidden(NET, X).numpy(), 12)
    indices, scores = sampler.query(POOL, 12, return_scores=True)
    assert indices.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-10)


NAMED = {
    "body": lambda x: NET.module_.body(x),
    "body.0": lambda x: NET.module_.body[0](x),
    "head": lambda x: NET.module_(x),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_representation_is_that_of_a_module(name):
    with torch.no_grad():
        NET.module_.eval()
        pool, labeled = (
            NAMED[name](torch.as_tensor(rows)).numpy() for rows in (POOL, X)
        )
    sampler = CoresetSampler(FrozenEstimator(NET), embedding=name).fit(X, y)
    assert sampler.query(POOL, 12).tolist() == k_center_greedy(pool, labeled, 12)[0]


CALLABLES = {
    "array": features,
    "tensor": lambda classifier, X: torch.as_tensor(X),
    "integers": lambda classifier, X: np.round(X * 100).astype(int),
    "images": lambda classifier, X: X.reshape(-1, 2, 2),
    "probabilities": lambda classifier, X: classifier.predict_proba(X),
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_the_representation_is_what_a_callable_gives(kind):
    call = CALLABLES[kind]
    sampler = CoresetSampler(LogisticRegression(), embedding=call).fit(X, y)
    pool, labeled = (
        np.asarray(call(sampler.estimator_, rows)).reshape(len(rows), -1)
        for rows in (POOL, X)
    )
    assert (
        sampler.query(POOL, 8).tolist()
        == k_center_greedy(pool.astype(float), labeled.astype(float), 8)[0]
    )


def test_an_empty_labeled_set_draws_the_first_centre():
    firsts = set()
    for seed in range(40):
        sampler = CoresetSampler(random_state=seed)
        firsts.add(int(sampler(NET, POOL, 1, X_labeled=X[:0], y_labeled=y[:0])[0]))
    assert len(firsts) > 15
    sampler = CoresetSampler(FrozenEstimator(NET), random_state=3)
    sampler.estimator_, sampler.X_labeled_, sampler.y_labeled_ = NET, X[:0], y[:0]
    indices, scores = sampler.query(POOL, 5, return_scores=True)
    assert np.isnan(scores[0])
    rows = hidden(NET, POOL).numpy()
    assert indices[1:].tolist() == k_center_greedy(rows, rows[indices[:1]], 4)[0]
    assert indices.tolist() == sampler.query(POOL, 5).tolist()


class Headless(nn.Module):
    """Ends in a convolution."""

    def __init__(self):
        super().__init__()
        self.unit = nn.Linear(4, 6)
        self.conv = nn.Conv1d(1, 3, 6)

    def forward(self, x):
        return self.conv(self.unit(x)[:, None])[..., 0]


def test_a_net_without_a_head():
    net = make_net(Headless).fit(X.astype("float32"), y)
    sampler = CoresetSampler(FrozenEstimator(net)).fit(X.astype("float32"), y)
    with pytest.raises(
        UnsupportedEstimatorError,
        match="do not come from a Linear.*embedding= the name of one of unit, conv.*callable",
    ):
        sampler.query(POOL.astype("float32"), 2)
    assert (
        len(sampler.set_params(embedding="unit").query(POOL.astype("float32"), 2)) == 2
    )


class Unused(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.spare = nn.Linear(2, 2)


@pytest.mark.parametrize(
    "embedding, error, words",
    [
        (
            "bodi",
            InvalidParameterError,
            "'bodi' does not exist. There are: body, body.0, body.1, .*, head",
        ),
        (
            "",
            InvalidParameterError,
            "embedding must be None, a module's name or a callable",
        ),
        (3, InvalidParameterError, "embedding must be .*got 3"),
        (
            lambda classifier, X: X[:, 0],
            InvalidDataError,
            r"gives \(30,\) for 30 samples|gives \(41,\) for 41",
        ),
        (
            lambda classifier, X: X[:5],
            InvalidDataError,
            r"gives \(5, 4\) for 41 samples",
        ),
        (lambda classifier, X: "no", InvalidDataError, "gives str for 41 samples"),
        (lambda classifier, X: X * np.nan, NonFiniteScoreError, "41 of 41"),
    ],
)
def test_wrong_embeddings(embedding, error, words):
    sampler = (
        CoresetSampler(FrozenEstimator(NET)).fit(X, y).set_params(embedding=embedding)
    )
    with pytest.raises(error, match=words):
        sampler.query(POOL, 2)


def test_labeled_samples_that_are_damaged():
    damaged = X.copy()
    damaged[[3, 7]] = np.nan
    with pytest.raises(
        InvalidDataError,
        match="2 of 30 labeled samples are NaN or infinite, first at position 3",
    ):
        CoresetSampler()(NET, POOL, 2, X_labeled=damaged, y_labeled=y)


def test_a_module_that_does_not_run():
    net = make_net(Unused).fit(X.astype("float32"), y)
    sampler = CoresetSampler(FrozenEstimator(net), embedding="spare").fit(
        X.astype("float32"), y
    )
    with pytest.raises(InvalidParameterError, match="'spare' does not run"):
        sampler.query(POOL.astype("float32"), 2)


def test_other_classifiers_need_a_callable():
    with pytest.raises(
        UnsupportedEstimatorError, match="LogisticRegression.*embedding=, a callable"
    ):
        make_sampler("coreset", LogisticRegression(), embedding=None).fit(X, y)


def test_as_a_function():
    expected = CoresetSampler(FrozenEstimator(NET)).fit(X, y).query(POOL, 5)
    assert (
        coreset_sampling(NET, POOL, 5, X_labeled=X, y_labeled=y).tolist()
        == expected.tolist()
    )
