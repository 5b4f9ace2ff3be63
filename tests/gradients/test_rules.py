"""Every layer rule against plain autograd, one sample at a time."""

import pytest
from cases import LAYERS
from reference import assert_gradients, assert_statistics

from skdal.gradients import gradient_statistics, labeled_gradient

pytestmark = pytest.mark.filterwarnings("error")  # a step down with a warning would hide a wrong rule
layers = pytest.mark.parametrize("problem", LAYERS, ids=lambda case: case.id, indirect=True)


@layers
@pytest.mark.parametrize("backend", ["auto", "ghost", "functorch", "loop"])
def test_statistics(problem, backend):
    actual = gradient_statistics(problem.net, problem.X, direction=problem.direction, backend=backend)
    assert_statistics(actual, problem.own)


@layers
def test_every_parameter_has_its_share(problem):
    for name in problem.direction:
        settings = {"direction": problem.direction, "layers": [name], "backend": "ghost"}
        actual = gradient_statistics(problem.net, problem.X, problem.y, **settings)
        assert_statistics(actual, problem.given, [name])
        assert (actual.sq_norm > 0).all()


@layers
def test_labeled_gradient(problem):
    assert_gradients(labeled_gradient(problem.net, problem.X, problem.y), problem.given.gradient)


@layers
@pytest.mark.parametrize("batch_size", [1, 4])
def test_any_batch_size(problem, batch_size):
    settings = {"direction": problem.direction, "backend": "ghost", "batch_size": batch_size}
    assert_statistics(gradient_statistics(problem.net, problem.X, problem.y, **settings), problem.given)
