"""Every layer and net of the engine's tests on a CUDA device, against plain autograd on the CPU, in
float64."""

import pytest
from cases import LAYERS, NETS, over
from common import moved_to_cuda
from reference import assert_gradients, assert_statistics

from skdal.gradients import gradient_statistics, labeled_gradient

pytestmark = pytest.mark.filterwarnings("error", "ignore:There is a performance drop")


def on_device(problem):
    """Return the problem's net and direction on the device; skip nets that keep tensors of their
    own on the CPU."""
    net = moved_to_cuda(problem.case.make_net())
    try:
        net.forward(problem.X)
    except RuntimeError as error:
        if "same device" not in str(error):
            raise
        pytest.skip("the net itself does not move")
    return net, {name: v.cuda() for name, v in problem.direction.items()}


@pytest.mark.cuda
@over(LAYERS + NETS)
def test_statistics(problem):
    net, direction = on_device(problem)
    backends = ["auto"] if "ghost" in problem.case.refused else ["auto", "ghost"]
    for backend in backends:
        actual = gradient_statistics(
            net, problem.X, direction=direction, backend=backend
        )
        assert_statistics(actual, problem.own, rtol=1e-9)


@pytest.mark.cuda
@over([case for case in LAYERS + NETS if not case.heavy])
def test_summed_gradient(problem):
    net, _ = on_device(problem)
    found = labeled_gradient(net, problem.X, problem.y)
    assert {v.device.type for v in found.values()} == {"cuda"}
    assert_gradients(
        {name: v.cpu() for name, v in found.items()}, problem.given.gradient, rtol=1e-9
    )
