"""Fixtures shared by the tests."""

from types import SimpleNamespace

import pytest
import torch
from reference import reference


@pytest.fixture(scope="module")
def problem(request):
    """A case's net, samples, labels and a random direction, with the reference for own and for given labels."""
    case = request.param
    generator = torch.Generator().manual_seed(1)
    net, X = case.make_net(seed=0), case.make_inputs(case.n, generator)
    y = torch.randint(case.K, (case.n,), generator=generator).numpy()
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, p in net.module_.named_parameters()
        if p.requires_grad
    }
    own, given = reference(net, X, direction=direction), reference(net, X, y, direction)
    return SimpleNamespace(case=case, net=net, X=X, y=y, direction=direction, own=own, given=given)
