"""BADGESampler against explicit embeddings, the exact law of its draws, and what it refuses."""

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, make_sampler, trained_net, y
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import badge, badge_law
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from skdal.exceptions import UnsupportedEstimatorError
from skdal.gradients import gradient_statistics
from skdal.samplers import BADGESampler, kmeans_plusplus
from skdal.utils import query_generator

NET = trained_net(max_epochs=5)


def embeddings(net, X):
    """(p - e_argmax) (x) h, explicitly."""
    with torch.no_grad():
        h = net.module_.eval().body(torch.as_tensor(X))
        p = net.module_.head(h).softmax(1)
    u = p - nn.functional.one_hot(p.argmax(1), p.shape[1])
    return torch.einsum("nk,nd->nkd", u, h).flatten(1).numpy()


@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([2, 4, 1000]),
)
@settings(max_examples=300, deadline=None)
def test_equals_brute_force(seed, n, K, d, grid):
    """On grids there are ties, duplicates and embeddings of length 0; integers keep the distances
    exact."""
    rng = np.random.default_rng(seed)
    u, h = (rng.integers(-grid, grid, (n, size)).astype(float) for size in (K, d))
    n_instances = int(rng.integers(1, n + 1))
    explicit = np.einsum("nk,nd->nkd", u, h).reshape(n, -1)
    expected = badge(explicit, n_instances, np.random.default_rng(seed))
    indices, scores = kmeans_plusplus(
        torch.as_tensor(u), torch.as_tensor(h), n_instances, np.random.default_rng(seed)
    )
    assert indices.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_instances", [1, 2, 9, len(POOL)])
def test_equals_brute_force_on_a_net(n_instances):
    sampler = BADGESampler(FrozenEstimator(NET), random_state=4).fit(X, y)
    indices, scores = sampler.query(POOL, n_instances, return_scores=True)
    expected = badge(embeddings(NET, POOL), n_instances, query_generator(4, len(X)))
    assert indices.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-8)


def test_an_embedding_is_the_gradient_of_the_weight():
    lengths = (embeddings(NET, POOL) ** 2).sum(1)
    np.testing.assert_allclose(
        gradient_statistics(NET, POOL, layers="head.weight").sq_norm,
        lengths,
        rtol=1e-10,
    )


@pytest.mark.slow
def test_picks_follow_the_law():
    """Third picks, given the second, against probability in proportion to squared distance."""
    rng = np.random.default_rng(0)
    u, h = (
        torch.as_tensor(rng.normal(size=(6, 2))),
        torch.as_tensor(rng.normal(size=(6, 3))),
    )
    explicit = torch.einsum("nk,nd->nkd", u, h).flatten(1).numpy()
    counts, n_draws = np.zeros((6, 6)), 20_000
    for _ in range(n_draws):
        _, second, third = kmeans_plusplus(u, h, 3, rng)[0]
        counts[second, third] += 1
    first = int(np.argmax(badge_law(explicit, [])))
    law = badge_law(explicit, [first])[:, None] * np.array(
        [
            badge_law(explicit, [first, i]) if i != first else np.zeros(6)
            for i in range(6)
        ]
    )
    deviation = np.sqrt(n_draws * law * (1 - law))
    assert (counts[law == 0] == 0).all()
    assert (np.abs(counts - n_draws * law) <= 4.5 * deviation + 1e-9).all()


def test_no_duplicates_where_all_is_the_same():
    u, h = torch.ones(50, 4), torch.ones(50, 7)
    found = [
        kmeans_plusplus(u, h, 50, np.random.default_rng(seed)) for seed in range(20)
    ]
    assert all(sorted(indices) == list(range(50)) for indices, _ in found)
    assert all((scores[1:] == 0).all() for _, scores in found)
    assert (
        len({tuple(indices[1:4]) for indices, _ in found}) > 10
    )  # the rest is drawn evenly


def test_duplicates_are_no_distance_apart_in_float32():
    rng = np.random.default_rng(0)
    u, h = (
        torch.as_tensor(
            np.repeat(rng.normal(size=(20, d)), 3, axis=0), dtype=torch.float32
        )
        for d in (10, 300)
    )
    for seed in range(30):
        indices, _ = kmeans_plusplus(u, h, 20, np.random.default_rng(seed))
        assert (
            len(set(indices // 3)) == 20
        )  # no sample and its copy, while there are others


def test_a_thousand_classes_fit():
    """Explicit embeddings of 2,000 samples would take 8 GB in float32."""
    rng = np.random.default_rng(0)
    u, h = torch.randn(2000, 2000), torch.randn(2000, 512)
    assert len(set(kmeans_plusplus(u, h, 10, rng)[0])) == 10


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 4)

    def forward(self, x):
        return self.conv(x[:, None])[..., 0]


def test_a_net_without_a_linear_head():
    net = make_net(Convolutional).fit(X.astype("float32"), y)
    with pytest.raises(
        UnsupportedEstimatorError,
        match="do not come from a Linear.*BADGESampler needs a Linear head",
    ):
        BADGESampler()(net, POOL.astype("float32"), 2)


def test_other_classifiers():
    with pytest.raises(UnsupportedEstimatorError, match="LogisticRegression"):
        make_sampler("badge", LogisticRegression()).fit(X, y)
