"""Layers and nets drawn at random: rules through the engine against plain autograd, one sample at a
time.

A normal run draws the same problems every time. `SKDAL_FUZZ=10000` (`make fuzz`) draws so many new
ones, from a seed that a failure prints; `SKDAL_FUZZ_SEED` draws them again.
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
from drawn import RECURRENT, any_part, bares, draws, made, made_bare, parts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from lanes import slow_unless
from reference import reference, total
from torch import nn

from skdal.exceptions import GradientMismatchError, UnsupportedLayerError
from skdal.gradients.parts import (
    GhostBackend,
    MiniBatch,
    Question,
    StatisticsPass,
    arguments,
    cheapest,
    inner,
    output_hooks,
)
from skdal.gradients.rules import (
    RULES,
    _bilinear,
    _conv,
    _embedding_bag,
    _forms,
    _linear,
    rule_for,
)
from skdal.utils import tree_leaves

N_DRAWS = int(os.environ.get("SKDAL_FUZZ", 1000))
NEW_SEED = random.SystemRandom().randrange(2**32) if "SKDAL_FUZZ" in os.environ else 0
SEED = int(os.environ.get("SKDAL_FUZZ_SEED", NEW_SEED))
FORMS = ("gradient", "gram", "pixels")
# Operations and functions of `drawn.py` that the ghost backend takes a parameter in without a
# module around them.
KNOWN = {
    "itself",
    "exp",
    "sigmoid",
    "softplus",
    "tanh",
    "neg",
    "half",
    "viewed",
    "turned",
    "picked",
    "first",
    "part",
}
KNOWN |= {
    "add",
    "add twice",
    "subtract",
    "subtract from",
    "multiply",
    "multiply by",
    "divide by",
    "in place",
    "expand",
}
# Of 1000 draws, how many are a layer of each class alone; the others are nets.
SHARES = {
    cls.__name__: 50 if "Conv" in cls.__name__ else 30 if cls is nn.Linear else 20
    for cls in RULES
}


# a quarter of the draws every time, all of them in `make test-all`
lanes = pytest.mark.parametrize("one_of", [slow_unless(n == 4, n) for n in (4, 1)])


def fuzz(test, problems, share):
    """Run a test on its share of the drawn problems."""
    print(
        f"The same draws again: SKDAL_FUZZ={N_DRAWS} SKDAL_FUZZ_SEED={SEED}"
    )  # pytest shows it if the test fails
    quiet = {
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
    }
    limits = settings(
        max_examples=max(1, round(N_DRAWS * share / 1000)),
        phases=(Phase.generate, Phase.shrink),
        **quiet,
    )
    limits(seed(SEED)(given(problems)(test)))()


@lanes
@pytest.mark.parametrize("cls", SHARES)
def test_layer(cls, one_of):
    fuzz(check, draws(st.tuples(parts(cls))), SHARES[cls] / one_of)


@lanes
def test_net(one_of):
    share = 1000 - sum(SHARES.values())
    nets = draws(st.lists(any_part, min_size=2, max_size=4).map(tuple))
    fuzz(check, nets, share / one_of)


@lanes
@pytest.mark.parametrize("cls", SHARES)
def test_no_square_is_negative(cls, one_of):
    fuzz(check_sign, draws(st.tuples(parts(cls))), 20 / one_of)


@lanes
@pytest.mark.parametrize("backend", ["auto", "ghost", "functorch", "loop"])
def test_bare_parameters(backend, one_of):
    fuzz(lambda draw: check_bare(draw, backend), bares(), 60 / one_of)


def check_bare(draw, backend):
    """Compare a net with a parameter that no layer owns, of any number of axes, with the
    reference."""
    net, X, y, direction = made_bare(draw)
    expected = plain(net, torch.float64, X, y, direction)
    try:
        sq_norm, dot, _ = StatisticsPass(
            Model(net), backend=backend, direction=direction
        )(X, y)
    except UnsupportedLayerError:
        assert backend == "ghost"
        assert not all(is_known(use, draw.shape) for use in draw.uses)
        return
    torch.testing.assert_close(sq_norm, total(expected.sq_norm), rtol=1e-10, atol=1e-20)
    scale = (
        total(expected.sq_norm).sqrt()
        * sum(v.square().sum() for v in direction.values()).sqrt()
    )
    assert ((dot - total(expected.dot)).abs() <= 1e-10 * scale).all()


def is_known(use, shape):
    """Tell whether the ghost backend has to know a use: the samples stay on the first axis, too."""
    return {use.operation, use.function} <= KNOWN and len(shape) <= 1 + len(use.shape)


def check(draw):
    """Compare what the engine finds, in every form, with the reference."""
    net, X, y, direction = made(draw)
    names = [
        name
        for i, name in enumerate(direction)
        if i in {j % len(direction) for j in draw.scored or range(99)}
    ]
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in names or not draw.freeze)
    options = {
        "layers": "all" if draw.freeze else names,
        "only_dot": draw.wanted == "dot",
    }
    options["direction"] = (
        None if draw.wanted == "norm" else {name: direction[name] for name in names}
    )
    run = StatisticsPass(Model(net), backend="ghost", **options)
    expected = None
    for form in forms_of(draw):
        with forced(form, draw.chunk):
            sq_norm, dot, label, alarm = statistics(
                run, X, None if draw.own_labels else y
            )
            if expected is None:  # in float32 the copy might predict another label
                own = draw.own_labels and draw.dtype == "float64"
                expected = plain(
                    net, torch.float64, X, None if own else label, direction
                )
            assert label.tolist() == expected.label.tolist()
            assert (sq_norm is None, dot is None) == (
                draw.wanted == "dot",
                draw.wanted == "norm",
            )
            compare(names, (sq_norm, dot), net, X, expected, direction, alarm)


def statistics(run, X, y):
    """Return (sq_norm, dot, label) and whether the self-check refuses them."""
    try:
        return *run(X, y), False
    except GradientMismatchError:
        found = run._backend(run._model, MiniBatch(X, y), run._question)
        sq_norm = None if run._question.only_dot else found.sq_norm
        return sq_norm, found.dot, found.label, True


class Model:
    """What the engine asks of a net."""

    def __init__(self, module):
        self.module = self.forward = module

    def with_module(self, module):
        return Model(module)

    def losses(self, outputs, labels):
        return F.cross_entropy(outputs.double(), labels, reduction="none")

    def output_gradients(self, outputs, labels):
        wide = outputs.detach().double().requires_grad_()
        return [
            (outputs, torch.autograd.grad(self.losses(wide, labels).sum(), wide)[0])
        ]


def forms_of(draw):
    return (
        FORMS
        if any(
            "Conv" in part.cls or part.cls in ("Linear", *RECURRENT)
            for part in draw.parts
        )
        else FORMS[:1]
    )


@contextmanager
def forced(form, chunk):
    """Make layers take a form, where they have it, and samples in chunks of so many values."""

    def choose(costs):
        return form if form in costs else cheapest(costs)

    with (
        mock.patch.object(_conv, "cheapest", choose),
        mock.patch.object(_linear, "cheapest", choose),
    ):
        with mock.patch.dict(_forms._CHUNK_VALUES, cpu=chunk):
            yield


def plain(net, dtype, X, y, direction):
    """Return the reference for all parameters of a net, the frozen ones too, in a dtype."""
    net = copy.deepcopy(net).to(dtype).requires_grad_()
    return reference(
        SimpleNamespace(module_=net, criterion_=nn.CrossEntropyLoss()),
        X.to(dtype),
        y,
        direction,
    )


def compare(names, found, net, X, expected, direction, alarm):
    """Assert that statistics are the expected ones up to rounding, relative to the length of the
    whole gradient."""
    exact = total(expected.sq_norm, names), total(expected.dot, names)
    size = total(expected.sq_norm)
    size = size.clamp_min(1e-12 * size.max().item() + 1e-24)
    scales = (
        size,
        size.sqrt() * sum(direction[name].square().sum() for name in names).sqrt(),
    )
    worst = largest(
        [None if x is None else x - y for x, y in zip(found, exact)], scales
    )
    allowed = torch.full_like(worst, 1e-10 if X.dtype == torch.float64 else 1e-4)
    lost = bool((worst > allowed).any())
    assert lost or not alarm, "the self-check refuses what is right"
    if lost:
        # A net that is drawn may be ill-conditioned, and its positions may cancel: what no one can
        # do better.
        rounded = plain(net, X.dtype, X, expected.label, direction)
        errors = (
            total(rounded.sq_norm, names) - exact[0],
            total(rounded.dot, names) - exact[1],
        )
        sums = absolute_sums(names, net, X, expected.label, direction)
        allowed = allowed.maximum(10 * largest(errors, scales))
        allowed = allowed.maximum(16 * torch.finfo(X.dtype).eps * largest(sums, scales))
    assert (worst <= allowed).all(), (
        f"errors {worst.tolist()}, allowed {allowed.tolist()}"
    )


def largest(parts, scales):
    """Return the larger (n,) of the two statistics' parts, each relative to its scale; None is left
    out."""
    return torch.stack(
        [part.abs() / scale for part, scale in zip(parts, scales) if part is not None]
    ).amax(0)


def absolute_sums(names, net, X, labels, direction):
    """Return (sq_norm, dot) as they are if the rules add up the absolute values of what they
    multiply."""
    parameters = {
        name: parameter for name, parameter in net.named_parameters() if name in names
    }
    direction = {name: direction[name].to(X.dtype) for name in names}
    with ExitStack() as stack:
        for module in (_bilinear, _conv, _embedding_bag, _forms, _linear):
            stack.enter_context(
                mock.patch.object(module, "inner", lambda x, y: inner(x.abs(), y.abs()))
            )
        batch, question = MiniBatch(X, labels), Question(parameters, direction)
        return GhostBackend()(Model(net), batch, question)[:2]


def check_sign(draw):
    """Call a rule where uses or positions cancel: a sum may round to below zero, a squared norm
    must not."""
    net, X, *_ = made(draw)
    layer, calls = net.layers[0], []
    with (
        torch.no_grad(),
        output_hooks(
            {"": layer},
            lambda _, given, output: calls.append((given, tree_leaves(output))),
        ),
    ):
        net(X)
    x, b = arguments(layer, *calls[0][0]), calls[0][1]
    problems = [([x, x, x], [single(y) for y in zip(*map(cancelling, b))])]
    if "Conv" in draw.parts[0].cls:
        x, b = (x[0] if isinstance(x, tuple) else x), b[0]
        problems.append(
            ([centred(x)], [level(b)])
            if "Transpose" in draw.parts[0].cls
            else ([level(x)], [centred(b)])
        )
    for form in forms_of(draw):
        for inputs, grads in problems:
            with forced(form, draw.chunk), torch.no_grad():
                sq_norm, _ = rule_for(layer)(
                    layer, inputs, grads, dict.fromkeys(dict(layer.named_parameters()))
                )
            assert (sq_norm >= 0).all()


def single(values):
    return values[0] if len(values) == 1 else tuple(values)


def cancelling(x):
    """Return three tensors like x that sum to zero."""
    y = x.cos()
    return x, y, -x - y


def level(x):
    """Return x (n, c, *space) with one value a channel."""
    return (
        x.flatten(2)[:, :, :1].reshape(*x.shape[:2], *[1] * (x.ndim - 2)).expand_as(x)
    )


def centred(x):
    """Return x (n, c, *space) that sums to zero in every channel."""
    return x - x.mean(tuple(range(2, x.ndim)), keepdim=True)
