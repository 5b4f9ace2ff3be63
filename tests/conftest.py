"""Fixtures shared by the tests."""

from functools import cached_property, lru_cache, partial

import pytest
import torch
from reference import reference

from skdal.gradients import _engine


class Problem:
    """A case's net, samples, labels and a random direction, with the reference for own and for given labels."""

    def __init__(self, case):
        generator = torch.Generator().manual_seed(1)
        self.case, self.net = case, case.make_net(seed=0)
        self.X = case.make_inputs(case.n, generator)
        self.y = torch.randint(case.K, (case.n,), generator=generator).numpy()
        self.direction = {
            name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for name, p in self.net.module_.named_parameters()
            if p.requires_grad
        }

    @cached_property
    def own(self):
        return reference(self.net, self.X, direction=self.direction)

    @cached_property
    def given(self):
        return reference(self.net, self.X, self.y, self.direction)


_latest = lru_cache(maxsize=1)(Problem)  # pytest itself sets up once for every pair of a case and a backend


@pytest.fixture(scope="module")
def problem(request):
    return _latest(request.param)


@pytest.fixture
def shares(monkeypatch):
    """Every parameter's own (sq_norm, dot), by name, as the ghost backend finds them in its latest pass."""
    seen, cover, add = {}, _engine.cover, _engine.Tape.add

    def covered(*args):
        plan = cover(*args)
        plan.layers.update({name: row._replace(statistics=partial(recorded, row)) for name, row in plan.layers.items()})
        return plan

    def recorded(row, layer, inputs, output_grads, direction):
        for own, v in direction.items():
            seen[row.names[own]] = row.statistics(layer, inputs, output_grads, {own: v})
        return row.statistics(layer, inputs, output_grads, direction)

    def added(tape, name, *statistics):
        if name not in tape.layers:  # a parameter that an operation takes
            seen[name] = statistics
        add(tape, name, *statistics)

    unscaled = lambda model, outputs, labels, nodes: (model.output_gradients(outputs, labels), torch.ones(len(labels)))
    monkeypatch.setattr(_engine, "cover", covered)
    monkeypatch.setattr(_engine.Tape, "add", added)
    monkeypatch.setattr(_engine, "seeds_of", unscaled)
    return seen
