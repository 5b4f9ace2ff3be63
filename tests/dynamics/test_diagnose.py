"""What decided a query: built cases in which it is known, and sums written out."""

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, trained_net, y
from reference import reference
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from torch.utils.data import TensorDataset

from skdal import DynamicALSampler
from skdal.dynamics import (
    approximation_ratio,
    diagnose,
    effective_rank,
    nearest_cosine,
    spreading,
    which_term,
)
from skdal.exceptions import (
    EmptyPoolError,
    InvalidDataError,
    InvalidParameterError,
    NonFiniteScoreError,
    NotFittedError,
)
from skdal.samplers import BADGESampler, MarginSampler

NET = trained_net()


def fitted(net=NET, **settings):
    return DynamicALSampler(FrozenEstimator(net), **settings).fit(X, y)


def gradients(net, rows):
    """Return the gradients (n, P) of samples under their predicted labels."""
    found = [reference(net, row[None]).gradient for row in rows]
    return np.stack(
        [torch.cat([g.flatten() for g in one.values()]).numpy() for one in found]
    )


def test_every_number():
    sampler = fitted()
    picks = sampler.query(POOL, 8)
    found = diagnose(sampler, POOL, picks)
    g, g_S = gradients(NET, POOL), reference(NET, X, y).gradient
    dot = g @ torch.cat([part.flatten() for part in g_S.values()]).numpy()
    sq_norm = (g**2).sum(1)
    np.testing.assert_allclose(found["sq_norm"], sq_norm, rtol=1e-9)
    np.testing.assert_allclose(found["dot"], dot, rtol=1e-9, atol=1e-12)
    terms = sq_norm[picks].sum(), np.abs(2 * dot[picks]).sum()
    assert found["norm_share"] == pytest.approx(terms[0] / sum(terms))
    assert (dot < 0).any()
    assert found["norm_share_pool"] == pytest.approx(
        sq_norm.sum() / (sq_norm.sum() + np.abs(2 * dot).sum())
    )
    assert found["correlation"] == pytest.approx(np.corrcoef(sq_norm, dot)[0, 1])
    gram = g[picks] @ g[picks].T
    values = np.linalg.eigvalsh(gram)[::-1]
    np.testing.assert_allclose(found["eigenvalues"], values, atol=1e-9 * values[0])
    shares = np.clip(values / values.sum(), 1e-300, 1)
    assert found["effective_rank"] == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=1e-6
    )
    assert found["approximation_ratio"] == pytest.approx(
        approximation_ratio(NET, X, y, POOL[picks]), rel=1e-9
    )
    unit = g[picks] / np.linalg.norm(g[picks], axis=1)[:, None]
    np.testing.assert_allclose(
        found["nearest_cosine"], (unit @ unit.T - 9 * np.eye(8)).max(1), rtol=1e-9
    )
    margins = MarginSampler(FrozenEstimator(NET)).fit(X, y).query(POOL, 8)
    assert found["overlap"]["margin"] == len(set(margins) & set(picks)) / 8
    longest = np.argsort(-sq_norm)[:8]
    assert found["overlap"]["gradient length"] == len(set(longest) & set(picks)) / 8
    labels = NET.predict(POOL)
    assert found["classes_pool"].tolist() == np.bincount(labels, minlength=3).tolist()
    assert (
        found["classes_picked"].tolist()
        == np.bincount(labels[picks], minlength=3).tolist()
    )
    assert (found["n_pool"], found["n_instances"], found["gamma"]) == (41, 8, 2.0)


def test_it_tells_of_plain_gradient_length():
    sampler = fitted(gamma=0.0)
    found = diagnose(sampler, POOL, sampler.query(POOL, 8))
    assert found["overlap"]["gradient length"] == 1
    assert found["norm_share"] == 1
    assert found["rank_correlation"] == pytest.approx(1)
    assert any(
        "100% of the picks are those of gradient length alone: gamma is 0" in said
        for said in found["findings"]
    )


def test_it_tells_of_the_inner_product_alone():
    sampler = fitted(gamma=np.inf)
    found = diagnose(sampler, POOL, sampler.query(POOL, 8))
    assert found["overlap"]["dot"] == 1
    assert found["norm_share"] == 0
    assert any("inner product alone" in said for said in found["findings"])


def test_it_tells_of_a_batch_that_repeats_itself():
    sampler, pool = fitted(), np.concatenate([POOL, np.repeat(POOL[:1], 9, axis=0)])
    found = diagnose(sampler, pool, [0, *range(41, 50)])
    assert found["effective_rank"] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found["nearest_cosine"], 1, rtol=1e-9)
    assert any(
        "repeats itself: 10 gradients span about 1.0 directions" in said
        for said in found["findings"]
    )
    assert any(
        "10 of 10 picks have a gradient within a cosine" in said
        for said in found["findings"]
    )


def test_a_saturated_net_in_single_precision_has_an_effective_rank():
    """Whose smallest eigenvalues are so small that their shares vanish."""
    eigenvalues = np.array([1e-40, 1e-42, 2e5, 1e5], dtype=np.float32)
    with np.errstate(invalid="raise", divide="raise"):
        assert effective_rank(eigenvalues) == pytest.approx(
            np.exp(np.log(3) - 2 / 3 * np.log(2)), rel=1e-5
        )


def test_it_tells_of_one_class():
    labels = NET.predict(POOL)
    rarest = min(set(labels), key=list(labels).count)
    picks = np.flatnonzero(labels == rarest)
    assert 1 < len(picks) < len(POOL) / 2
    said = diagnose(fitted(), POOL, picks)["findings"]
    assert (
        f"{len(picks)} of {len(picks)} picks are predicted to be of class {rarest}."
        in said
    )


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"interaction": -0.01},
        {"interaction": -0.01, "update_size": 2},
        {"gamma": 0},
        {"gamma": np.inf},
    ],
)
def test_what_would_spread_it_does(params):
    sampler = fitted(**params)
    pool = np.concatenate([POOL, np.repeat(POOL[sampler.query(POOL, 1)], 9, axis=0)])
    picks = sampler.query(pool, 10)
    found = diagnose(sampler, pool, picks)
    (said,) = [said for said in found["findings"] if "repeats itself" in said]
    pair = re.search(
        r"with an update_size below 10: interaction=(-\S+), update_size=(\d+)\.$", said
    )
    interaction, update_size = float(pair[1]), int(pair[2])
    assert update_size == 2
    spread = fitted(**params | {"interaction": interaction, "update_size": update_size})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        others = spread.query(pool, 10)
    assert set(others) != set(picks)
    assert diagnose(spread, pool, others)["effective_rank"] > found["effective_rank"]


def test_an_interaction_that_had_an_effect_is_doubled_at_least():
    gram, sampler = np.ones((10, 10)), fitted(interaction=-8.0, update_size=3)
    assert "interaction=-16, update_size=2." in spreading(sampler, gram, np.ones(10))
    sampler.set_params(update_size=10)  # it had none
    assert "interaction=-8, update_size=2." in spreading(sampler, gram, np.ones(10))


def test_gradients_that_cancel_are_not_spread_by_interaction():
    signs = np.repeat([1.0, -1.0], 10)
    said = spreading(fitted(), np.outer(signs, signs), np.ones(20))
    assert (
        said
        == "They cancel rather than add up, so an interaction would not spread it; BADGESampler "
        "does."
    )


def test_badge_spreads_what_interaction_does_not():
    images, digits = load_digits(return_X_y=True)
    data, labels = (images / 16).astype("float32"), digits.astype("int64")
    settings = {"lr": 0.01, "max_epochs": 100, "batch_size": 128}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make_net(torch.nn.Linear(64, 10), **settings).fit(
            data[:100], labels[:100]
        )
    samplers = [
        cls(FrozenEstimator(net), random_state=0)
        for cls in (DynamicALSampler, BADGESampler)
    ]
    picks = [
        sampler.fit(data[:100], labels[:100]).query(data[100:], 100)
        for sampler in samplers
    ]
    found, other = [diagnose(samplers[0], data[100:], one) for one in picks]
    assert any("BADGESampler does." in said for said in found["findings"])
    assert other["effective_rank"] > found["effective_rank"]


@pytest.mark.parametrize("penalty", ["auto", None, 0.3])
def test_the_direction_is_the_samplers_own(penalty):
    net = trained_net(optimizer__weight_decay=0.1)
    sampler = fitted(net, penalty=penalty)
    found = diagnose(sampler, POOL, [1, 5])
    delta = found["sq_norm"] + 2 * found["dot"]
    np.testing.assert_allclose(delta, sampler.score_samples(POOL), rtol=1e-12)
    others = [
        diagnose(fitted(net, penalty=other), POOL, [1, 5])["dot"]
        for other in {"auto", None, 0.3} - {penalty}
    ]
    assert all(np.abs(other - found["dot"]).max() > 0.1 for other in others)


def test_every_copy_is_in_the_figure():
    """Though cosines of copies come out above 1 by rounding."""
    vectors = np.repeat(np.random.default_rng(0).normal(size=(40, 7)), 2, axis=0)
    cosines = nearest_cosine(vectors @ vectors.T)
    assert cosines.max() == 1
    assert np.isfinite(cosines).all()


def test_a_negative_gamma_turns_the_inner_product_around():
    sampler = fitted(gamma=-1e6)
    found = diagnose(sampler, POOL, sampler.query(POOL, 8))
    assert found["overlap"]["dot"] == 1
    assert found["correlation"] == pytest.approx(
        -np.corrcoef(found["sq_norm"], found["dot"])[0, 1]
    )


@pytest.mark.parametrize(
    ("overlaps", "share", "gamma", "said"),
    [
        (
            (1.0, 0.2),
            0.8,
            2.0,
            "100% of the picks are those of gradient length alone: the labeled set's",
        ),
        (
            (0.9, 0.2),
            0.2,
            2.0,
            "90% of the picks are those of gradient length alone: the inner product is",
        ),
        (
            (0.2, 0.95),
            0.1,
            2.0,
            "95% of the picks are those of the inner product alone: the gradient's length has",
        ),
        (
            (0.2, 0.95),
            0.7,
            2.0,
            "95% of the picks are those of the inner product alone: the gradient's length is",
        ),
        (
            (0.9, 1.0),
            0.3,
            2.0,
            "90% of the picks are those of either term alone: the two rank alike.",
        ),
        (
            (1.0, 1.0),
            1.0,
            0.0,
            "100% of the picks are those of gradient length alone: gamma is 0.",
        ),
        (
            (1.0, 1.0),
            0.0,
            np.inf,
            "100% of the picks are those of the inner product alone: gamma is infinite.",
        ),
    ],
)
def test_one_cause_is_given_at_most(overlaps, share, gamma, said):
    found = {
        "overlap": dict(zip(("gradient length", "dot"), overlaps)),
        "norm_share": share,
        "gamma": gamma,
    }
    assert which_term(found).startswith(said)


class Focal(torch.nn.Module):
    """A loss of which skorch knows no probabilities."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs, labels):
        losses = torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
        losses = (1 - torch.exp(-losses)) ** 2 * losses
        return losses if self.reduction == "none" else losses.mean()


def test_a_net_without_probabilities(tmp_path):
    net = make_net(torch.nn.Linear(X.shape[1], 3).double(), criterion=Focal).fit(X, y)
    sampler = fitted(net)
    found = diagnose(
        sampler, POOL, sampler.query(POOL, 8), figure=tmp_path / "page.png"
    )
    assert np.isnan([found["overlap"][name] for name in ("margin", "entropy")]).all()
    assert found["overlap"]["gradient length"] >= 0
    assert (
        found["findings"][-1]
        == "Margin and entropy are not compared: the net gives no probabilities."
    )


def test_one_pick():
    sampler = fitted()
    found = diagnose(sampler, POOL, sampler.query(POOL, 1))
    assert found["effective_rank"] == pytest.approx(1)
    assert found["approximation_ratio"] == pytest.approx(1)
    assert np.isnan(found["nearest_cosine"]).all()


def test_one_pick_without_a_gradient_among_others():
    net = copy.deepcopy(NET)
    net.module_.head.weight.data *= 1e4  # some are sure beyond rounding
    sampler = DynamicALSampler(FrozenEstimator(net)).fit(X, y)
    found = diagnose(sampler, POOL, np.arange(20))
    zero = found["sq_norm"][:20] == 0
    assert zero.any()
    assert np.isfinite(found["nearest_cosine"][~zero]).all() == (np.sum(~zero) > 1)


def test_nothing_changes_and_datasets_are_taken():
    sampler, rng = fitted(), torch.random.get_rng_state()
    NET.module_.train()
    pool = TensorDataset(torch.tensor(POOL))
    found = diagnose(sampler, POOL, [3, 1])
    assert diagnose(sampler, pool, [3, 1])["approximation_ratio"] == pytest.approx(
        found["approximation_ratio"]
    )
    assert NET.module_.training
    assert (torch.random.get_rng_state() == rng).all()


def test_most_of_a_pool_is_no_choice():
    assert not any(
        "alone" in said for said in diagnose(fitted(), POOL, np.arange(38))["findings"]
    )


def test_a_net_without_gradients():
    net = copy.deepcopy(NET)
    torch.nn.init.zeros_(net.module_.head.weight)
    net.module_.head.bias.data = torch.tensor([800.0, 0, 0], dtype=torch.float64)
    found = diagnose(DynamicALSampler(FrozenEstimator(net)).fit(X, 0 * y), POOL, [1, 2])
    assert np.isnan(found["effective_rank"])
    assert np.isnan(found["correlation"])


def test_the_page(tmp_path):
    sampler = fitted(gamma=np.inf)
    picks = sampler.query(POOL, 8)
    diagnose(sampler, POOL, picks, figure=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_a_trained_sampler_and_the_last_layer():
    sampler = DynamicALSampler(make_net(), layers="last", random_state=0).fit(X, y)
    found = diagnose(sampler, POOL, sampler.query(POOL, 5))
    delta = found["sq_norm"] + 2 * found["dot"]
    np.testing.assert_allclose(delta, sampler.score_samples(POOL), rtol=1e-9)


SAMPLER = fitted()
BAD = {
    "another sampler": (
        lambda: diagnose(MarginSampler(FrozenEstimator(NET)).fit(X, y), POOL, [0]),
        *(InvalidParameterError, "DynamicALSampler; got MarginSampler"),
    ),
    "unfitted": (
        lambda: diagnose(DynamicALSampler(make_net()), POOL, [0]),
        NotFittedError,
        "call fit",
    ),
    "a folder that is not there": (
        lambda: diagnose(SAMPLER, POOL, [0], figure="nowhere/page.png"),
        *(InvalidParameterError, "folder that exists.*nowhere/page.png"),
    ),
    "no name": (
        lambda: diagnose(SAMPLER, POOL, [0], figure=5),
        InvalidParameterError,
        "name of a file.*got 5",
    ),
    "an empty pool": (
        lambda: diagnose(SAMPLER, POOL[:0], [0]),
        EmptyPoolError,
        "X_pool is empty",
    ),
    "pixels too large": (
        lambda: diagnose(
            SAMPLER, np.where(POOL == POOL[5], 1e200 * POOL, POOL), [1, 5]
        ),
        *(NonFiniteScoreError, "scores are NaN or infinite, at pool positions 2, 5"),
    ),
    "no format": (
        lambda: diagnose(SAMPLER, POOL, [0], figure="page.doc"),
        InvalidParameterError,
        "ending in one of",
    ),
    "a pool of another width": (
        lambda: diagnose(SAMPLER, POOL[:, :1], [0]),
        InvalidDataError,
        "have shape",
    ),
    "outside": (
        lambda: diagnose(SAMPLER, POOL, [0, 41]),
        InvalidDataError,
        "from 0 to 40.*got 0 to 41",
    ),
    "twice": (
        lambda: diagnose(SAMPLER, POOL, [3, 3]),
        InvalidDataError,
        "1 of them twice",
    ),
    "none": (
        lambda: diagnose(SAMPLER, POOL, []),
        InvalidDataError,
        r"positions in the pool, \(b,\)",
    ),
    "a mask": (
        lambda: diagnose(SAMPLER, POOL, np.ones(41, bool)),
        InvalidDataError,
        "type bool",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, said = BAD[name]
    with pytest.raises(error, match=said):
        call()
