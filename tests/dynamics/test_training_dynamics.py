"""G, its change by a query, the approximation ratio: squared lengths of sums of gradients."""

import copy

import numpy as np
import pytest
import torch
from cases import NETS, over
from common import POOL, X, make_net, trained_net, y
from reference import reference
from sklearn.frozen import FrozenEstimator
from torch.utils.data import TensorDataset

from skdal import DynamicALSampler
from skdal.dynamics import (
    approximation_ratio,
    diagnose,
    empirical_ntk,
    training_dynamics,
    training_dynamics_change,
)
from skdal.exceptions import (
    EmptyPoolError,
    InvalidDataError,
    InvalidLabelsError,
    NonFiniteScoreError,
    UnsupportedEstimatorError,
)
from skdal.utils import take_rows

SMALL = [case for case in NETS if not case.heavy and case.n == 6]
NET = trained_net()
QUERY = POOL[:7]


def total(gradient):
    return torch.cat([g.flatten() for g in gradient.values()]).double()


@over(SMALL)
def test_against_plain_autograd(problem):
    net, labeled, query = (
        problem.net,
        take_rows(problem.X, slice(0, 4)),
        take_rows(problem.X, slice(4, 6)),
    )
    g_S, own = (
        total(reference(net, labeled, problem.y[:4]).gradient),
        reference(net, query),
    )
    g_Q = total(own.gradient)
    assert training_dynamics(net, labeled, problem.y[:4]) == pytest.approx(
        float(g_S @ g_S), rel=1e-10
    )
    change = training_dynamics_change(net, labeled, problem.y[:4], query)
    together = float((g_S + g_Q) @ (g_S + g_Q) - g_S @ g_S)
    scale = float((g_S + g_Q) @ (g_S + g_Q) + g_S @ g_S)
    assert change == pytest.approx(together, rel=1e-9, abs=1e-11 * scale)


def test_of_one_sample_it_is_eq_15():
    sampler = DynamicALSampler(FrozenEstimator(NET)).fit(X, y)
    for i, score in enumerate(sampler.score_samples(POOL[:5])):
        assert training_dynamics_change(NET, X, y, POOL[i : i + 1]) == pytest.approx(
            score, rel=1e-8
        )
        assert approximation_ratio(NET, X, y, POOL[i : i + 1]) == pytest.approx(
            1, rel=1e-8
        )


def test_the_change_is_a_difference():
    labels = np.arange(7) % 3
    both = np.concatenate([X, QUERY]), np.concatenate([y, labels])
    difference = training_dynamics(NET, *both) - training_dynamics(NET, X, y)
    assert training_dynamics_change(NET, X, y, QUERY, labels) == pytest.approx(
        difference, rel=1e-9
    )
    predicted = NET.predict(QUERY)
    own = training_dynamics_change(NET, X, y, QUERY)
    assert own == pytest.approx(
        training_dynamics_change(NET, X, y, QUERY, predicted), rel=1e-12
    )
    assert own != pytest.approx(
        training_dynamics_change(NET, X, y, QUERY, (predicted + 1) % 3), rel=1e-2
    )


def test_the_ratio_is_eq_14():
    apart = sum(training_dynamics_change(NET, X, y, QUERY[i : i + 1]) for i in range(7))
    together = training_dynamics_change(NET, X, y, QUERY)
    assert approximation_ratio(NET, X, y, QUERY) == pytest.approx(
        apart / together, rel=1e-9
    )


def test_a_query_that_repeats_itself():
    """Of ten times one sample the norm counts a hundred times, and its samples apart ten times."""
    net = copy.deepcopy(NET)
    twins = np.repeat(POOL[:1], 10, axis=0)
    n, d = (training_dynamics(net, POOL[:1], net.predict(POOL[:1])), 0.0)
    d = (training_dynamics_change(net, X, y, POOL[:1]) - n) / 2
    expected = (10 * n + 20 * d) / (100 * n + 20 * d)
    assert approximation_ratio(net, X, y, twins) == pytest.approx(expected, rel=1e-8)


def test_layers_add_up_and_datasets_are_taken():
    parts = [
        training_dynamics(NET, X, y, layers=layers, batch_size=4)
        for layers in ("body", "head")
    ]
    assert sum(parts) == pytest.approx(training_dynamics(NET, X, y), rel=1e-10)
    held = TensorDataset(torch.tensor(X), torch.tensor(y))
    assert training_dynamics(NET, held) == pytest.approx(
        training_dynamics(NET, X, y), rel=1e-12
    )


def test_nothing_to_change():
    net = copy.deepcopy(NET)
    torch.nn.init.zeros_(net.module_.head.weight)
    net.module_.head.bias.data = torch.tensor(
        [800.0, 0, 0], dtype=torch.float64
    )  # all are sure, no gradient is left
    assert np.isnan(approximation_ratio(net, X, np.zeros(len(X), int), QUERY))


LINEAR = make_net(torch.nn.Linear(X.shape[1], 3).double()).initialize()


class Noisy(torch.utils.data.Dataset):
    """Another view of each sample at every look."""

    def __len__(self):
        return len(QUERY)

    def __getitem__(self, i):
        return torch.tensor(QUERY[i]) + torch.randn(QUERY.shape[1], dtype=torch.float64)


def test_a_query_with_random_transforms_is_warned_of():
    for call in (training_dynamics_change, approximation_ratio):
        with pytest.warns(
            UserWarning, match="X_query gives another sample at every look"
        ) as caught:
            call(NET, X, y, Noisy())
        assert __file__ in {warning.filename for warning in caught}
    with pytest.warns(
        UserWarning, match="X2 gives another sample at every look"
    ) as caught:
        empirical_ntk(NET, X, Noisy())
    assert __file__ in {warning.filename for warning in caught}
    sampler = DynamicALSampler(FrozenEstimator(NET)).fit(X, y)
    with pytest.warns(
        UserWarning, match="the pool gives another sample at every look"
    ) as caught:
        diagnose(sampler, Noisy(), [0, 1])
    assert __file__ in {warning.filename for warning in caught}


BAD = {
    "labels": (
        lambda: training_dynamics(NET, X, y + 3),
        InvalidLabelsError,
        r"\[0, 3\)|0 to 2",
    ),
    "no labels": (lambda: training_dynamics(NET, X), InvalidLabelsError, "Pass y"),
    "unfitted": (
        lambda: training_dynamics_change(DynamicALSampler(NET), X, y, QUERY),
        TypeError,
        "DynamicALSampler",
    ),
    "a module": (
        lambda: training_dynamics(NET.module_, X, y),
        UnsupportedEstimatorError,
        r"NeuralNetClassifier\(module",
    ),
    "an empty query": (
        lambda: training_dynamics_change(NET, X, y, QUERY[:0], []),
        EmptyPoolError,
        "X_query is empty",
    ),
    "an empty one of a ratio": (
        lambda: approximation_ratio(NET, X, y, QUERY[:0]),
        EmptyPoolError,
        "X_query is empty",
    ),
    "a query of another width": (
        lambda: approximation_ratio(NET, X, y, QUERY[:, :1]),
        *(InvalidDataError, r"X_query have shape .1,., those of X .4,"),
    ),
    "a labeled query of another width": (
        lambda: training_dynamics_change(NET, X, y, QUERY[:, :1], y[: len(QUERY)]),
        *(InvalidDataError, "X_query have shape"),
    ),
    "NaN in the labeled set": (
        lambda: training_dynamics(NET, np.where(X == X[0], np.nan, X), y),
        *(InvalidDataError, "NaN or infinite"),
    ),
    "a labeled set too large": (
        lambda: training_dynamics(LINEAR, 1e200 * X, y),
        InvalidDataError,
        "very large values",
    ),
    "a query too large": (
        lambda: approximation_ratio(LINEAR, X, y, 1e200 * QUERY),
        NonFiniteScoreError,
        "7 of 7 scores are NaN or infinite",
    ),
    "a change too large": (
        lambda: training_dynamics_change(LINEAR, X, y, 1e200 * QUERY, y[: len(QUERY)]),
        *(InvalidDataError, "come out as inf"),
    ),
    "a query of nothing": (
        lambda: approximation_ratio(NET, X, y, QUERY[:0]),
        InvalidDataError,
        "empty",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, said = BAD[name]
    with pytest.raises(error, match=said):
        call()
