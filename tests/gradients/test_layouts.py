"""Batch and instance norm where axes of size 1 leave the layout open: torch misreads gradients
there on the CPU."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import Apply, Case, floats
from problems import Problem
from reference import assert_gradients, assert_statistics, reference
from stacks import spelled_out
from torch import nn

from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.gradients.parts import differentiate, with_gaps

# --- the operations alone -------------------------------------------------------------------------

MEAN, VARIANCE = torch.arange(6.0).double().cos(), torch.arange(6.0).double().cos() + 2


def batch(x, weight, bias):
    return F.batch_norm(x, MEAN, VARIANCE, weight, bias, eps=0.1)


def batch_spelled(x, weight, bias):
    mean, variance, weight, bias = (
        v.view(-1, *[1] * (x.ndim - 2)) for v in (MEAN, VARIANCE, weight, bias)
    )
    return (x - mean) / (variance + 0.1).sqrt() * weight + bias


def instance(x, weight, bias):
    return F.instance_norm(x, weight=weight, bias=bias, eps=0.1)


def instance_spelled(x, weight, bias):
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    weight, bias = (v.view(-1, *[1] * (x.ndim - 2)) for v in (weight, bias))
    return (
        centred / (centred.square().mean(axes, keepdim=True) + 0.1).sqrt() * weight
        + bias
    )


SHAPES = [
    (1, 6, 2),
    (1, 6, 2, 3),
    (2, 6, 1, 3),
    (2, 6, 3, 1),
    (1, 6, 1, 3),
    (2, 6, 2, 3),
    (1, 6, 1, 3, 2),
]


def layouts(x):
    """Yield x in every order of its axes in memory, and with strides of 1 and more along those of
    size 1."""
    for order in itertools.permutations(range(x.ndim)):
        y = x.permute(order).contiguous().permute(np.argsort(order).tolist())
        for odd in (1, y.numel()):
            yield y.as_strided(
                y.shape,
                [odd if size == 1 else s for s, size in zip(y.stride(), y.shape)],
            )


@pytest.mark.parametrize(
    "norm, spelled", [(batch, batch_spelled), (instance, instance_spelled)]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_do_not_depend_on_layouts(norm, spelled, shape):
    generator = torch.Generator().manual_seed(0)
    x, seed, weight, bias = (
        torch.randn(s, generator=generator, dtype=torch.float64)
        for s in (shape, shape, (6,), (6,))
    )
    expected = _gradients(torch.autograd.grad, spelled, x, weight, bias, seed)
    pairs = list(itertools.product(layouts(x), layouts(seed)))
    for one, other in pairs[:: max(1, len(pairs) // 60)]:
        for scale in (weight, with_gaps(weight)):
            torch.testing.assert_close(
                _gradients(differentiate, norm, one, scale, bias, other), expected
            )


def _gradients(grad, norm, x, weight, bias, seed):
    leaves = [value.detach().requires_grad_() for value in (x, weight, bias)]
    return grad(norm(*leaves), leaves, seed)


# --- nets -----------------------------------------------------------------------------------------


def turned(m, x):
    """The gradient of what the norm gives has its channels last, the input has them first."""
    return m.head(m.norm(m.layer(x)).permute(0, 2, 3, 1).contiguous().tanh().flatten(1))


def last_before(m, x):
    """The norm's input has its channels last, by strides that an axis of size 1 hides."""
    h = m.layer(x).contiguous(memory_format=torch.channels_last)
    return m.head(m.norm(h).contiguous().flatten(1).tanh())


NORMS = {
    "instance": lambda: nn.InstanceNorm2d(6, affine=True, eps=0.1),
    "batch": lambda: nn.BatchNorm2d(6),
}


@pytest.mark.parametrize("backend", ["ghost", "functorch", "loop"])
@pytest.mark.parametrize("shape", [(4, 1, 3), (4, 3, 1)], ids=str)
@pytest.mark.parametrize("call", [turned, last_before])
@pytest.mark.parametrize("norm", NORMS)
def test_scores_do_not_depend_on_cuts(norm, call, shape, backend):
    if backend == "functorch" and call is last_before:
        pytest.skip("torch.func knows no layouts")

    def parts():
        return {
            "layer": nn.Conv2d(4, 6, 1, bias=False),
            "norm": NORMS[norm](),
            "head": nn.Linear(18, 5),
        }

    problem = Problem(Case("", lambda: Apply(call, **parts()), floats(*shape), n=4))
    net, X, direction = problem.net, problem.X, problem.direction
    own = net.module_
    net.module_ = spelled_out(own)
    expected = reference(net, X, problem.y, direction)
    net.module_ = own
    for size in (1, 3):
        found = gradient_statistics(
            net, X, problem.y, direction=direction, backend=backend, batch_size=size
        )
        assert_statistics(found, expected)
        assert_gradients(
            labeled_gradient(net, X, problem.y, batch_size=size), expected.gradient
        )
