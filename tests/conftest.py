"""Fixtures shared by the tests."""

from functools import lru_cache, partial

import pytest
import torch
from problems import Problem

from skdal.gradients import _engine

_latest = lru_cache(maxsize=1)(
    Problem
)  # pytest itself sets up once for every pair of a case and a backend


@pytest.fixture(scope="module")
def problem(request):
    return _latest(request.param)


@pytest.fixture
def shares(monkeypatch):
    """Every parameter's own (sq_norm, dot), by name, as the ghost backend finds them in its latest pass."""
    seen, cover, add = {}, _engine.cover, _engine.Tape.add

    def covered(*args):
        plan = cover(*args)
        plan.layers.update(
            {
                name: row._replace(statistics=partial(recorded, row))
                for name, row in plan.layers.items()
            }
        )
        return plan

    def recorded(row, layer, inputs, output_grads, direction):
        for own, v in direction.items():
            seen[row.names[own]] = row.statistics(layer, inputs, output_grads, {own: v})
        return row.statistics(layer, inputs, output_grads, direction)

    def added(tape, name, *statistics):
        if name not in tape.layers:  # a parameter that an operation takes
            seen[name] = statistics
        add(tape, name, *statistics)

    unscaled = lambda model, outputs, labels, nodes: (
        model.output_gradients(outputs, labels),
        torch.ones(len(labels)),
    )
    monkeypatch.setattr(_engine, "cover", covered)
    monkeypatch.setattr(_engine.Tape, "add", added)
    monkeypatch.setattr(_engine, "seeds_of", unscaled)
    return seen
