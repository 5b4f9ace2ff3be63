"""The theory on a CUDA device, against the same on the CPU."""

import copy

import numpy as np
import pytest
from cases import LAYERS, NETS, over
from common import POOL, X, moved_to_cuda, trained_net, y
from sklearn.frozen import FrozenEstimator

from skdal import DynamicALSampler
from skdal.dynamics import (
    approximation_ratio,
    diagnose,
    empirical_ntk,
    training_dynamics,
    training_dynamics_change,
)
from skdal.utils import take_rows

NET = trained_net()


@pytest.mark.cuda
@pytest.mark.parametrize("function", [training_dynamics_change, approximation_ratio])
def test_training_dynamics(function):
    moved = moved_to_cuda(copy.deepcopy(NET))
    assert training_dynamics(moved, X, y) == pytest.approx(
        training_dynamics(NET, X, y), rel=1e-10
    )
    assert function(moved, X, y, POOL) == pytest.approx(
        function(NET, X, y, POOL), rel=1e-9
    )


@pytest.mark.cuda
@over([case for case in LAYERS + NETS if not case.heavy and case.n == 6])
def test_kernels(problem):
    net, few = moved_to_cuda(problem.case.make_net()), take_rows(problem.X, slice(0, 3))
    try:
        net.forward(problem.X)
    except RuntimeError:
        pytest.skip("the net itself does not move")
    for reduction in ("full", "trace", "sum"):
        found = [
            empirical_ntk(one, problem.X, few, reduction=reduction)
            for one in (net, problem.net)
        ]
        np.testing.assert_allclose(*found, rtol=0, atol=1e-9 * np.abs(found[1]).max())


@pytest.mark.cuda
def test_diagnose(tmp_path):
    found = []
    for net in (moved_to_cuda(copy.deepcopy(NET)), NET):
        sampler = DynamicALSampler(FrozenEstimator(net)).fit(X, y)
        found.append(
            diagnose(
                sampler, POOL, sampler.query(POOL, 8), figure=tmp_path / "page.png"
            )
        )
    for name, value in found[1].items():
        if isinstance(value, (float, np.ndarray)):
            np.testing.assert_allclose(
                found[0][name], value, rtol=1e-7, atol=1e-10, err_msg=name
            )
