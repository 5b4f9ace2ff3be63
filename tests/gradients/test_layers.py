"""Which parameters count: all, the last module's, or those named."""

import pytest
import torch
from cases import Apply, Case, floats, frozen, mlp_case, weight_normed
from problems import Problem
from reference import assert_gradients, assert_statistics
from torch import nn

from skdal.exceptions import InvalidParameterError
from skdal.gradients import gradient_statistics, labeled_gradient


def named():
    """Names that begin alike, and modules that are made in another order than they run."""
    parts = {
        "head": nn.Linear(6, 5),
        "scale": nn.Parameter(torch.ones(6)),
        "scale2": nn.Linear(6, 6),
    }
    return Apply(lambda m, x: m.head(m.scale2(x * m.scale).tanh()), **parts)


CHOICES = {
    "last": (named, "last", ["head.weight", "head.bias"]),
    "last trainable": (
        lambda: frozen(named(), "head"),
        "last",
        ["scale2.weight", "scale2.bias"],
    ),
    "last half frozen": (lambda: frozen(named(), "head.weight"), "last", ["head.bias"]),
    "last parametrized": (
        lambda: weight_normed(nn.utils.parametrizations.weight_norm),
        "last",
        [
            "2.bias",
            "2.parametrizations.weight.original0",
            "2.parametrizations.weight.original1",
        ],
    ),
    "parameter": (named, ["scale2.bias"], ["scale2.bias"]),
    "parameter, not prefix": (named, ["scale"], ["scale"]),
    "module": (named, "scale2", ["scale2.weight", "scale2.bias"]),
    "prefix": (named, ["sca"], ["scale", "scale2.weight", "scale2.bias"]),
    "several": (
        named,
        ["head.bias", "scale2", "head.bias"],
        ["head.bias", "scale2.weight", "scale2.bias"],
    ),
}


@pytest.fixture(params=CHOICES.values(), ids=CHOICES)
def choice(request):
    module, layers, names = request.param
    return Problem(Case("", module, floats(6))), layers, names


def test_statistics_of_chosen_layers(choice):
    problem, layers, names = choice
    direction = {name: problem.direction[name] for name in names}
    actual = gradient_statistics(
        problem.net, problem.X, problem.y, direction=direction, layers=layers
    )
    assert_statistics(actual, problem.given, names)


def test_labeled_gradient_of_chosen_layers(choice):
    problem, layers, names = choice
    expected = {name: g for name, g in problem.given.gradient.items() if name in names}
    assert_gradients(
        labeled_gradient(problem.net, problem.X, problem.y, layers=layers), expected
    )


@pytest.mark.parametrize("layers", ["nowhere", ["head", "nowhere"], ["head.weights"]])
def test_unknown_names_are_errors(layers):
    problem = Problem(Case("", named, floats(6)))
    with pytest.raises(
        InvalidParameterError, match=r"'(nowhere|head\.weights)'.*head\.weight"
    ):
        gradient_statistics(problem.net, problem.X, layers=layers)


def test_a_direction_that_does_not_fit_is_an_error():
    problem = Problem(mlp_case(""))
    direction = {"0.weight": torch.ones(3, 3), "0.bias": problem.direction["0.bias"]}
    with pytest.raises(
        InvalidParameterError, match=r"2\.bias is missing.*0\.weight has shape"
    ):
        gradient_statistics(problem.net, problem.X, direction=direction)


def test_a_net_without_trainable_parameters_is_an_error():
    problem = Problem(Case("", lambda: frozen(named(), ""), floats(6)))
    with pytest.raises(InvalidParameterError, match="trainable"):
        gradient_statistics(problem.net, problem.X)
