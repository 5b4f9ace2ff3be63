"""A mini-batch that does not fit into memory is halved."""

import logging

import pytest
import torch
from cases import Case, floats, mlp
from problems import Problem
from reference import assert_gradients, assert_statistics
from torch import nn

from skdal.exceptions import SampleTooLargeError
from skdal.gradients import gradient_statistics, labeled_gradient

FAILURES = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory"),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"
    ),
    "python": MemoryError(),
}


class Limited(nn.Module):
    """Runs out of memory with more than `limit` samples, where a gradient is wanted."""

    def __init__(self, limit, error):
        super().__init__()
        self.layers, self.limit, self.error, self.tried = mlp(6, 8, 5), limit, error, []

    def forward(self, x):
        self.tried.append(len(x))
        if len(x) > self.limit and torch.is_grad_enabled():
            raise self.error
        return self.layers(x)


@pytest.fixture(params=FAILURES.values(), ids=FAILURES)
def error(request):
    return request.param


def problem_of(limit, error):
    return Problem(Case("", lambda: Limited(limit, error), floats(6), n=20))


@pytest.mark.parametrize("backend", ["ghost", "loop", "auto"])
@pytest.mark.parametrize("limit", [1, 3, 7, 19])
def test_statistics_go_on_in_halves(limit, error, backend, caplog):
    problem = problem_of(limit, error)
    with caplog.at_level(logging.WARNING, "skdal"):
        actual = gradient_statistics(
            problem.net, problem.X, direction=problem.direction, backend=backend
        )
    assert_statistics(actual, problem.own)
    said = [record.message for record in caplog.records if "memory" in record.message]
    assert all("going on with" in message for message in said)
    if backend != "loop":
        assert len(said) == {1: 5, 3: 3, 7: 2, 19: 1}[limit]


def test_later_mini_batches_begin_in_halves(error, caplog):
    problem = problem_of(5, error)
    gradient_statistics(
        problem.net,
        problem.X,
        direction=problem.direction,
        backend="ghost",
        batch_size=10,
    )
    assert (
        sum(record.message.startswith("out of memory") for record in caplog.records)
        == 1
    )
    assert problem.net.module_.tried.count(10) == 1


def test_labeled_gradient_goes_on_in_halves(error):
    problem = problem_of(3, error)
    assert_gradients(
        labeled_gradient(problem.net, problem.X, problem.y), problem.given.gradient
    )


def test_a_sample_that_does_not_fit_is_an_error(error):
    problem = problem_of(0, error)
    with pytest.raises(SampleTooLargeError, match='one sample alone.*layers="last"'):
        gradient_statistics(problem.net, problem.X, backend="ghost")
    with pytest.raises(SampleTooLargeError, match="one sample alone"):
        labeled_gradient(problem.net, problem.X, problem.y)


def test_other_errors_of_the_module_are_its_own():
    problem = problem_of(3, RuntimeError("the module's own"))
    with pytest.raises(RuntimeError, match="the module's own"):
        gradient_statistics(problem.net, problem.X, backend="ghost")
