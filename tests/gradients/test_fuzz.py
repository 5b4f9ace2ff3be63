"""Layers and nets drawn at random: rules through the engine against plain autograd, one sample at a time.

`SKDAL_FUZZ=10000` draws so many, from a random seed that a failure prints and `SKDAL_FUZZ_SEED` takes.
"""

import copy
import os
import random
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from drawn import OPTIONS, RECURRENT, draws, made, parts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from reference import reference, total
from torch import nn

from skdal.gradients._backends import StatisticsPass
from skdal.gradients.rules import RULES, _conv, _forms, _linear

LONG = "SKDAL_FUZZ" in os.environ
N_DRAWS = int(os.environ.get("SKDAL_FUZZ", 500))
SEED = int(os.environ.get("SKDAL_FUZZ_SEED", random.SystemRandom().randrange(2**32))) if LONG else None
FLOOR = 1e-24
FORMS = ("gradient", "gram", "pixels")
# Of 100 draws, how many are of a class; the rest are nets.
SHARES = {cls.__name__: 5 if "Conv" in cls.__name__ else 3 if "Linear" in cls.__name__ else 2 for cls in RULES}


def fuzz(test, strategy, percent):
    """Run a test on drawn problems: the same ones every time, or new ones in the long form."""
    options = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "print_blob": LONG}
    options["phases"] = (Phase.generate, Phase.shrink)
    run = settings(max_examples=max(1, N_DRAWS * percent // 100), derandomize=not LONG, **options)(given(strategy)(test))
    (seed(SEED)(run) if LONG else run)()


@pytest.fixture(autouse=True)
def _seed():
    if LONG:
        print(f"SKDAL_FUZZ={N_DRAWS} SKDAL_FUZZ_SEED={SEED}")  # pytest shows it if a test fails


@pytest.mark.parametrize("cls", SHARES)
def test_layer(cls):
    fuzz(check, draws(st.tuples(parts(cls))), SHARES[cls])


def test_net():
    any_part = st.sampled_from(sorted(OPTIONS)).flatmap(parts)
    nets = st.lists(any_part, min_size=2, max_size=4).map(tuple)
    fuzz(check, draws(nets), 100 - sum(SHARES.values()))


def check(draw):
    """Compare all forms of a drawn problem with the reference."""
    net, X, y, direction = made(draw)
    names = scored(draw, list(direction))
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not draw.freeze or name in names)
    options = {"layers": "all" if draw.freeze else names, "only_dot": draw.wanted == "dot"}
    options["direction"] = None if draw.wanted == "norm" else {name: direction[name] for name in names}
    run = StatisticsPass(Model(net), backend="ghost", **options)
    expected = None
    for form in FORMS if has_forms(draw) else FORMS[:1]:
        with forced(form, draw.chunk):
            sq_norm, dot, label = run(X, None if draw.own_labels else y)
        expected = expected or exact(net, X, None if draw.own_labels and draw.dtype == "float64" else label, direction)
        assert label.tolist() == expected.label.tolist()
        assert (sq_norm is None) == (draw.wanted == "dot")
        assert (dot is None) == (draw.wanted == "norm")
        compare(names, sq_norm, dot, net, X, expected, direction)


class Model:
    """What the engine asks of a net."""

    def __init__(self, module):
        self.module = self.forward = module

    def losses(self, outputs, labels):
        return F.cross_entropy(outputs, labels, reduction="none")

    def output_gradients(self, outputs, labels):
        wide = outputs.detach().double().requires_grad_()
        return [(outputs, torch.autograd.grad(self.losses(wide, labels).sum(), wide)[0])]


def scored(draw, names):
    return sorted({names[i % len(names)] for i in draw.scored}, key=names.index) or names


def has_forms(draw):
    return any("Conv" in part.cls or part.cls in ("Linear", *RECURRENT) for part in draw.parts)


@contextmanager
def forced(form, chunk):
    """Make layers take a form, where they have it, and chunks of so many values."""
    choice = lambda costs: form if form in costs else min(costs, key=costs.get)
    with ExitStack() as stack:
        for module in (_conv, _linear):
            stack.enter_context(mock.patch.object(module, "cheapest", choice))
        stack.enter_context(mock.patch.dict(_forms._CHUNK_VALUES, cpu=chunk))
        yield


def exact(net, X, y, direction):
    """Return the reference of all parameters, frozen ones too, for a float64 copy of a net."""
    return reference(wrapped(copy.deepcopy(net).double()), X.double(), y, direction)


def wrapped(net):
    return SimpleNamespace(module_=net.requires_grad_(), criterion_=nn.CrossEntropyLoss())


def compare(names, sq_norm, dot, net, X, expected, direction):
    """Assert that statistics are the expected ones up to rounding, relative to the length of the gradient."""
    worst = errors(names, sq_norm, dot, expected, direction)
    if X.dtype == torch.float64:
        assert (worst <= 1e-10).all(), worst
    elif (worst > 1e-4).any():  # a net may be as ill-conditioned as it was drawn, which plain autograd then suffers too
        plain = reference(wrapped(copy.deepcopy(net)), X, expected.label, direction)
        allowed = 10 * errors(names, total(plain.sq_norm, names), total(plain.dot, names), expected, direction)
        assert (worst <= allowed.clamp_min(1e-4)).all(), (worst, allowed)


def errors(names, sq_norm, dot, expected, direction):
    """Return each sample's larger error of the two."""
    size = total(expected.sq_norm)
    size = size.clamp_min(max(FLOOR, 1e-12 * size.max().item()))
    length = sum(direction[name].square().sum() for name in names).sqrt()
    parts = [] if sq_norm is None else [(sq_norm - total(expected.sq_norm, names)).abs() / size]
    parts += [] if dot is None else [(dot - total(expected.dot, names)).abs() / size.sqrt() / length]
    return torch.stack(parts).amax(0)
