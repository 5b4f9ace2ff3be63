"""What the first mini-batch does not show: other parameters, rows in another order, tensors kept
from run to run."""

import pytest
import torch
from cases import Apply, Case, floats, linear_parts
from problems import Problem
from reference import assert_gradients, assert_statistics
from torch import nn

from skdal.exceptions import GradientMismatchError, UnsupportedLayerError
from skdal.gradients import gradient_statistics, labeled_gradient


def problem_of(call, parts, make_inputs=None, n=12):
    return Problem(
        Case("", lambda: Apply(call, **parts()), make_inputs or floats(6), n=n)
    )


def score(problem, **kwargs):
    return gradient_statistics(
        problem.net, problem.X, direction=problem.direction, **kwargs
    )


def negative_then_positive(n, generator):
    X = floats(6)(n, generator)
    X[:, 0] = abs(X[:, 0])
    X[: n // 2, 0] *= -1
    return X


def switched(m, x):
    """The same operation on another parameter."""
    return m.head(m.layer(x) + (m.first if x[0, 0] < 0 else m.second))


def switched_parts():
    return linear_parts() | {
        "first": nn.Parameter(torch.ones(6)),
        "second": nn.Parameter(torch.ones(6)),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", ["auto", "ghost"])
def test_a_parameter_that_only_later_mini_batches_use(backend):
    problem = problem_of(switched, switched_parts, negative_then_positive)
    assert_statistics(score(problem, batch_size=3, backend=backend), problem.own)


def sorted_within(m, x):
    """Layers run on sorted rows; in the first mini-batch these are sorted already."""
    order = x[:, 0].argsort()
    return m.head(m.layer(x[order]).tanh())[order.argsort()]


def first_batch_sorted(n, generator):
    X = floats(6)(n, generator)
    X[:6] = X[X[:6, 0].argsort()]
    return X


def test_rows_in_another_order_in_later_mini_batches():
    problem = problem_of(sorted_within, linear_parts, first_batch_sorted)
    with pytest.warns(RuntimeWarning, match="ghost"):
        assert_statistics(score(problem, batch_size=6), problem.own)
    with pytest.raises(GradientMismatchError):
        score(problem, batch_size=6, backend="ghost")


def cached(m, x):
    """A tensor of a parameter is made once and kept, in eval mode."""
    kept = m.cache.get("scale")
    if kept is None or m.training:
        kept = m.cache["scale"] = m.scale.exp()
    return m.head(m.layer(x) * kept)


class Forgetful(dict):
    """Keeps nothing: what the reference runs with."""

    def __setitem__(self, key, value):
        pass


@pytest.mark.parametrize("backend", ["auto", "ghost", "functorch", "loop"])
def test_a_tensor_kept_in_eval_mode_is_made_anew(backend):
    problem = problem_of(
        cached, lambda: linear_parts() | {"scale": nn.Parameter(torch.ones(6))}
    )
    module = problem.net.module_
    module.cache = Forgetful()
    _ = problem.own, problem.given
    module.cache = {}
    assert_gradients(
        labeled_gradient(problem.net, problem.X, problem.y), problem.given.gradient
    )
    assert_statistics(score(problem, backend=backend), problem.own)
    assert module.cache == {}


def test_complex_parameters_are_refused_by_name():
    def parts():
        return linear_parts() | {
            "wave": nn.Parameter(torch.ones(6, dtype=torch.complex128))
        }

    def call(m, x):
        return m.head(torch.view_as_real(m.layer(x) * m.wave).sum(-1))

    net = Case("", lambda: Apply(call, **parts()), floats(6)).make_net()
    with pytest.raises(UnsupportedLayerError, match="wave"):
        gradient_statistics(net, floats(6)(4, None))
