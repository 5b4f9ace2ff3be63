"""Whole nets against plain autograd, one sample at a time."""

import pytest
import torch
from cases import NETS
from reference import assert_gradients, assert_statistics, reference

from skdal.exceptions import SkdalError
from skdal.gradients import gradient_statistics, labeled_gradient

pytestmark = pytest.mark.filterwarnings("error")  # no false alarm of the self-check
BACKENDS = {
    case: ["auto", "ghost"] if case.heavy else ["auto", "ghost", "functorch", "loop"] for case in NETS
}
LIGHT = [case for case in NETS if not case.heavy]


def nets(cases):
    return pytest.mark.parametrize("problem", cases, ids=lambda case: case.id, indirect=True)


def pairs(chosen):
    rows = [(case, name) for case, names in BACKENDS.items() for name in names if chosen(case, name)]
    ids = [f"{case.id}-{name}" for case, name in rows]
    return pytest.mark.parametrize("problem, backend", rows, ids=ids, indirect=["problem"])


@pairs(lambda case, backend: backend not in case.refused)
def test_statistics(problem, backend):
    actual = gradient_statistics(problem.net, problem.X, direction=problem.direction, backend=backend)
    assert_statistics(actual, problem.own)


@pairs(lambda case, backend: backend in case.refused)
def test_refuses_rather_than_being_wrong(problem, backend):
    with pytest.raises(SkdalError):
        gradient_statistics(problem.net, problem.X, direction=problem.direction, backend=backend)


@nets(LIGHT)
def test_labels_given_and_own_direction(problem):
    direction = labeled_gradient(problem.net, problem.X, problem.y)
    assert_gradients(direction, problem.given.gradient)
    actual = gradient_statistics(problem.net, problem.X, problem.y, direction=direction)
    assert_statistics(actual, reference(problem.net, problem.X, problem.y, direction))


@nets(NETS)
def test_every_parameter_has_its_share(problem):
    for name in problem.direction:
        actual = gradient_statistics(problem.net, problem.X, direction=problem.direction, layers=[name])
        assert_statistics(actual, problem.own, [name])
        assert (actual.sq_norm > 0).any() == (name not in problem.case.silent)


@nets(LIGHT)
def test_any_split(problem):
    X = problem.case.make_inputs(20, torch.Generator().manual_seed(2))
    whole, parts = _score(problem, X, [0, 20]), _score(problem, X, [0, 8, 16, 20])
    assert whole.tolist() == parts.tolist()
    torch.testing.assert_close(whole, _score(problem, X, [0, 5, 6, 20]), rtol=1e-10, atol=1e-12)


def _score(problem, X, cuts):
    shards = [
        {key: value[a:b] for key, value in X.items()} if isinstance(X, dict) else X[a:b]
        for a, b in zip(cuts, cuts[1:])
    ]
    settings = {"direction": problem.direction, "batch_size": 8}
    statistics = [gradient_statistics(problem.net, shard, **settings) for shard in shards]
    return torch.cat([torch.as_tensor(s.sq_norm + 2 * s.dot) for s in statistics])
