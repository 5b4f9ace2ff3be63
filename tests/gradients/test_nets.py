"""Whole nets against plain autograd, one sample at a time."""

import pytest
import torch
from cases import NETS, over, over_backends, some
from reference import assert_every_share, assert_gradients, assert_statistics, reference

from skdal.exceptions import SkdalError
from skdal.gradients import gradient_statistics, labeled_gradient

# No false alarm of the self-check, and no step down because of one.
pytestmark = pytest.mark.filterwarnings("error", "ignore:There is a performance drop")
MANY_LAYERS = ("resnet18", "vgg11-narrow")
LIGHT = [case for case in NETS if not case.heavy]
SMALL = [case for case in LIGHT if case.n == 6]


@over_backends(NETS)
def test_statistics(problem, backend):
    actual = gradient_statistics(
        problem.net, problem.X, direction=problem.direction, backend=backend
    )
    assert_statistics(actual, problem.own)


@over_backends(NETS, refused=True)
def test_refuses_rather_than_being_wrong(problem, backend):
    with pytest.raises(SkdalError):
        gradient_statistics(
            problem.net, problem.X, direction=problem.direction, backend=backend
        )


@over(LIGHT)
def test_labels_given_and_own_direction(problem):
    direction = labeled_gradient(problem.net, problem.X, problem.y)
    assert_gradients(direction, problem.given.gradient)
    actual = gradient_statistics(problem.net, problem.X, problem.y, direction=direction)
    assert_statistics(actual, reference(problem.net, problem.X, problem.y, direction))


@over(LIGHT, usual=[case for case in LIGHT if case.id not in MANY_LAYERS])
def test_every_parameter_has_its_share(problem):
    settings = {
        "direction": problem.direction,
        "backend": "auto" if "ghost" in problem.case.refused else "ghost",
    }
    for name in problem.direction:
        actual = gradient_statistics(problem.net, problem.X, layers=[name], **settings)
        assert_statistics(actual, problem.own, [name])
        assert (actual.sq_norm > 0).any() == (name not in problem.case.silent)


@pytest.mark.slow
@over([case for case in NETS if case.heavy])
def test_every_parameter_of_a_large_net_has_its_share(problem):
    assert_every_share(problem.shares(), problem.own)


@over(SMALL, usual=some(SMALL, 20))
def test_any_split(problem):
    X = problem.case.make_inputs(20, torch.Generator().manual_seed(2))
    whole, parts = _score(problem, X, [0, 20]), _score(problem, X, [0, 8, 16, 20])
    assert whole.tolist() == parts.tolist()
    torch.testing.assert_close(
        whole, _score(problem, X, [0, 5, 6, 20]), rtol=1e-10, atol=1e-12
    )


def _score(problem, X, cuts):
    shards = [
        {key: value[a:b] for key, value in X.items()} if isinstance(X, dict) else X[a:b]
        for a, b in zip(cuts, cuts[1:])
    ]
    settings = {"direction": problem.direction, "batch_size": 8}
    statistics = [
        gradient_statistics(problem.net, shard, **settings) for shard in shards
    ]
    return torch.cat([torch.as_tensor(s.sq_norm + 2 * s.dot) for s in statistics])
