"""DynamicALSampler against brute force: every gradient by itself, in float64."""

import re
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, make_sampler, trained_net, y
from reference import reference, total
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdal.gradients import labeled_gradient

NET = trained_net(max_epochs=5)
LABELED = reference(NET, X, y)
OWN = reference(NET, POOL, direction=LABELED.gradient)


def fitted(**params):
    return make_sampler("dynamical", FrozenEstimator(NET), **params).fit(X, y)


def flat_gradients(net, X, y=None):
    """Return each sample's gradient, a row (n_parameters,) of float64."""
    rows = [
        reference(net, X[i : i + 1], None if y is None else y[i : i + 1]).gradient
        for i in range(len(X))
    ]
    return torch.stack(
        [torch.cat([g.flatten() for g in row.values()]) for row in rows]
    ).numpy()


# --- Eq. 15 ---------------------------------------------------------------------------------------

EQUATION_15 = {
    0: lambda sq_norm, dot: sq_norm,
    1: lambda sq_norm, dot: sq_norm + dot,
    2.0: lambda sq_norm, dot: sq_norm + 2 * dot,
    -0.5: lambda sq_norm, dot: sq_norm - dot / 2,
    np.inf: lambda sq_norm, dot: dot,
}


@pytest.mark.parametrize("gamma", EQUATION_15)
def test_equation_15(gamma):
    expected = EQUATION_15[gamma](total(OWN.sq_norm).numpy(), total(OWN.dot).numpy())
    scores = fitted(gamma=gamma).score_samples(POOL)
    np.testing.assert_allclose(
        scores, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max()
    )


def test_gamma_is_2_by_default():
    assert (
        fitted().score_samples(POOL).tolist()
        == fitted(gamma=2).score_samples(POOL).tolist()
    )


LAYERS = {
    "last": ["head.weight", "head.bias"],
    "head": ["head.weight", "head.bias"],
    "body.0.": ["body.0.weight", "body.0.bias"],
    ("body.1", "head.bias"): ["body.1.weight", "body.1.bias", "head.bias"],
}


@pytest.mark.parametrize("layers", LAYERS)
def test_layers(layers):
    expected = total(OWN.sq_norm, LAYERS[layers]) + 2 * total(OWN.dot, LAYERS[layers])
    scores = fitted(
        layers=list(layers) if isinstance(layers, tuple) else layers
    ).score_samples(POOL)
    np.testing.assert_allclose(
        scores, expected, rtol=1e-10, atol=1e-10 * expected.abs().max()
    )


BACKENDS = ("ghost", "functorch", "backpack", "loop")


@pytest.mark.parametrize(
    "params", [{"backend": name} for name in BACKENDS] + [{"batch_size": 5}]
)
def test_how_it_is_computed_does_not_matter(params):
    expected = fitted().score_samples(POOL)
    np.testing.assert_allclose(
        fitted(**params).score_samples(POOL), expected, rtol=1e-9, atol=1e-12
    )


def test_labels_that_the_labeled_set_lacks():
    some = y != 2
    sampler = make_sampler("dynamical", FrozenEstimator(NET)).fit(X[some], y[some])
    direction = labeled_gradient(NET, X[some], y[some])
    own = reference(NET, POOL, direction=direction)
    expected = total(own.sq_norm) + 2 * total(own.dot)
    np.testing.assert_allclose(
        sampler.score_samples(POOL),
        expected,
        rtol=1e-10,
        atol=1e-10 * expected.abs().max(),
    )


# --- interaction ----------------------------------------------------------------------------------


def chunked(delta, gradients, kappa, update_size, n_instances):
    """Return (indices, scores) by the definition, gradients by the row."""
    indices, scores = [], []
    while len(indices) < n_instances:
        now = delta + kappa * gradients @ gradients[indices].sum(0)
        left = [i for i in np.argsort(-now, kind="stable") if i not in indices]
        chunk = left[: min(update_size, n_instances - len(indices))]
        indices, scores = indices + chunk, scores + now[chunk].tolist()
    return indices, scores


CHUNKS = list(product([2.0, -2.0, 0.7, -30.0, 0.0], [1, 3, 4, 9]))


@pytest.mark.parametrize("kappa, update_size", CHUNKS)
def test_interaction(kappa, update_size):
    delta, gradients = (
        (total(OWN.sq_norm) + 2 * total(OWN.dot)).numpy(),
        flat_gradients(NET, POOL),
    )
    expected, expected_scores = chunked(delta, gradients, kappa, update_size, 10)
    sampler = fitted(interaction=kappa, update_size=update_size)
    indices, scores = sampler.query(POOL, 10, return_scores=True)
    assert indices.tolist() == expected
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_instances", [1, 2, 5, len(POOL)])
def test_exactly_greedy_on_equation_11(n_instances):
    g_S, gradients, greedy = (
        flat_gradients(NET, X, y).sum(0),
        flat_gradients(NET, POOL),
        [],
    )
    while len(greedy) < n_instances:
        so_far = g_S + gradients[greedy].sum(0)
        dynamics = np.square(so_far + gradients).sum(
            1
        )  # ||g_S + sum over Q of g||^2, Q with one more
        dynamics[greedy] = -np.inf
        greedy.append(int(dynamics.argmax()))
    assert (
        fitted(interaction=2, update_size=1).query(POOL, n_instances).tolist() == greedy
    )


@pytest.mark.parametrize(
    "n_instances, update_size", [(10, 100), (10, 10), (2, 2), (41, 100)]
)
def test_interaction_without_effect_is_said_and_the_remedy_works(
    n_instances, update_size
):
    with pytest.warns(
        UserWarning,
        match=r"interaction=-30 has no effect on this query.*all are picked in one",
    ) as said:
        picks = fitted(interaction=-30.0, update_size=update_size).query(
            POOL, n_instances
        )
    assert picks.tolist() == fitted().query(POOL, n_instances).tolist()
    remedy = int(re.search(r"such as update_size=(\d+)\.", str(said[0].message))[1])
    assert said[0].filename == __file__
    sampler = fitted(interaction=-30.0, update_size=remedy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        indices = sampler.query(POOL, n_instances)
    delta, gradients = (
        (total(OWN.sq_norm) + 2 * total(OWN.dot)).numpy(),
        flat_gradients(NET, POOL),
    )
    assert (
        indices.tolist()
        == chunked(delta, gradients, -30.0, remedy, n_instances)[0]
        != picks.tolist()
    )


@pytest.mark.parametrize(
    "params", [{"interaction": 0.0}, {"interaction": -1.0, "update_size": 9}]
)
def test_interaction_with_effect_or_none_asked_for_says_nothing(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(**params).query(POOL, 10)
        fitted(interaction=-1.0).query(
            POOL, 1
        )  # one sample has nothing to interact with


def test_interaction_changes_the_batch_but_never_the_scores_of_samples():
    plain, spread = fitted(), fitted(interaction=-30.0, update_size=2)
    assert spread.query(POOL, 8).tolist() != plain.query(POOL, 8).tolist()
    assert spread.score_samples(POOL).tolist() == plain.score_samples(POOL).tolist()


def test_without_a_labeled_set_gamma_0_works():
    indices = make_sampler("dynamical", gamma=0)(NET, POOL, 5)
    assert (
        indices.tolist()
        == np.argsort(-total(OWN.sq_norm).numpy(), kind="stable")[:5].tolist()
    )


# --- criteria and modules -------------------------------------------------------------------------


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)).double()

    def forward(self, x):
        return self.layers(x)


CRITERIA = {
    "skorch's default": {"module": Probabilities, "criterion": nn.NLLLoss},
    "class weights": {
        "criterion__weight": torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    },
    "label smoothing": {"criterion__label_smoothing": 0.1},
    "sum": {"criterion__reduction": "sum"},
}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria(criterion):
    net = trained_net(**CRITERIA[criterion])
    own = reference(net, POOL, direction=reference(net, X, y).gradient)
    expected = total(own.sq_norm) + 2 * total(own.dot)
    scores = (
        make_sampler("dynamical", FrozenEstimator(net)).fit(X, y).score_samples(POOL)
    )
    np.testing.assert_allclose(
        scores, expected, rtol=1e-9, atol=1e-10 * expected.abs().max()
    )


WRAPPED = {
    "compiled": lambda module: torch.compile(module, backend="eager"),
    "DataParallel": nn.DataParallel,
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_wrapped_modules(wrap):
    net = make_net(max_epochs=1).fit(X, y)
    expected = make_sampler("dynamical")(net, POOL, 9, X_labeled=X, y_labeled=y)
    net.module_ = WRAPPED[wrap](net.module_)
    assert (
        make_sampler("dynamical")(net, POOL, 9, X_labeled=X, y_labeled=y).tolist()
        == expected.tolist()
    )
