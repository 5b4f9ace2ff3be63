"""Every layer rule against plain autograd, one sample at a time."""

import pytest
from cases import LAYERS, over, over_backends
from lanes import slow_unless
from reference import assert_gradients, assert_statistics

from skdal.exceptions import UnsupportedLayerError
from skdal.gradients import gradient_statistics, labeled_gradient

# A step down with a warning would hide a wrong rule.
pytestmark = pytest.mark.filterwarnings("error", "ignore:There is a performance drop")


@over_backends(LAYERS)
def test_statistics(problem, backend):
    actual = gradient_statistics(
        problem.net, problem.X, direction=problem.direction, backend=backend
    )
    assert_statistics(actual, problem.own)


@over_backends(LAYERS, refused=True)
def test_refuses_rather_than_being_wrong(problem, backend):
    with pytest.raises(UnsupportedLayerError):
        gradient_statistics(problem.net, problem.X, backend=backend)


@over(LAYERS)
def test_every_parameter_has_its_share(problem):
    for name in problem.direction:
        settings = {
            "direction": problem.direction,
            "layers": [name],
            "backend": "ghost",
        }
        actual = gradient_statistics(problem.net, problem.X, problem.y, **settings)
        assert_statistics(actual, problem.given, [name])
        assert (actual.sq_norm > 0).all()


@over(LAYERS)
def test_labeled_gradient(problem):
    assert_gradients(
        labeled_gradient(problem.net, problem.X, problem.y), problem.given.gradient
    )


@over(LAYERS)
@pytest.mark.parametrize("batch_size", [slow_unless(n == 1, n) for n in (1, 4)])
def test_any_batch_size(problem, batch_size):
    settings = {
        "direction": problem.direction,
        "backend": "ghost",
        "batch_size": batch_size,
    }
    assert_statistics(
        gradient_statistics(problem.net, problem.X, problem.y, **settings),
        problem.given,
    )
