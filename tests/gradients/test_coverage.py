"""What covers a use of a parameter, where the whole nets of `test_nets` do not tell: refusals,
precision, lengths."""

import logging
import weakref

import numpy as np
import pytest
import torch
from cases import (
    Apply,
    Case,
    OwnLSTM,
    Unruled,
    floats,
    linear_parts,
    raised,
    raised_if_finite,
)
from lanes import slow_unless
from problems import Problem
from reference import assert_statistics
from skorch import NeuralNetClassifier
from torch import nn

from skdal.exceptions import (
    FailingModuleError,
    InvalidParameterError,
    UnsupportedLayerError,
)
from skdal.gradients import _tape, gradient_statistics, labeled_gradient
from skdal.gradients.rules import rule_for

pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:There is a performance drop",
    "ignore:LSTM with projections is not supported",
)


def problem_of(call, make_inputs, parts=linear_parts, **kwargs):
    return Problem(Case("", lambda: Apply(call, **parts()), make_inputs, **kwargs))


# --- rows that are no samples ---------------------------------------------------------------------


def ragged(m, x):
    """Each sample has as many rows as its first number says."""
    lengths = x[:, 0].long()
    rows = (
        m.scale
        * nn.functional.linear(
            x[:, 1:].repeat_interleave(lengths, dim=0), m.layer.weight
        ).tanh()
    )
    return m.head(torch.stack([part.mean(0) for part in rows.split(lengths.tolist())]))


def even_then_ragged(n, generator):
    """In the second mini-batch of four, a sample has three rows on average, not two."""
    X = floats(7)(n, generator)
    X[:, 0] = [2, 2, 2, 2, 4, 2, 1, 5][:n]
    return X


def ragged_parts():
    return {
        "layer": nn.Linear(6, 6, bias=False),
        "scale": nn.Parameter(torch.ones(6)),
        "head": nn.Linear(6, 5),
    }


@pytest.mark.parametrize("layers", ["layer", "scale"])
def test_as_many_rows_for_every_sample_are_no_promise(layers):
    problem = problem_of(ragged, even_then_ragged, ragged_parts, n=8)
    settings = {"direction": problem.direction, "layers": layers}
    names = [name for name in problem.direction if name.startswith(layers)]
    assert_statistics(
        gradient_statistics(problem.net, problem.X[:4], **settings, backend="ghost"),
        first(problem, 4),
        names,
    )
    assert_statistics(
        gradient_statistics(problem.net, problem.X, **settings, batch_size=4),
        problem.own,
        names,
    )
    with pytest.raises(UnsupportedLayerError):
        gradient_statistics(
            problem.net, problem.X, **settings, batch_size=4, backend="ghost"
        )


def first(problem, n):
    """Return the reference of the first samples."""
    return type(problem.own)(
        label=problem.own.label[:n],
        sq_norm={name: share[:n] for name, share in problem.own.sq_norm.items()},
        dot={name: share[:n] for name, share in problem.own.dot.items()},
    )


# --- what a pass leaves behind --------------------------------------------------------------------


class Traced(torch.autograd.Function):
    """The identity; `graphs` refers weakly to what every graph that it is part of holds."""

    graphs = []

    @staticmethod
    def forward(ctx, x):
        ctx.held = torch.nn.Identity()
        Traced.graphs.append(weakref.ref(ctx.held))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


PASSES = {
    "direct": lambda m, h: h * m.odd.power,
    "function": lambda m, h: nn.functional.linear(h, m.other.weight),
    "alone": lambda m, h: m.odd(h).reciprocal(),
    "recurrent": lambda m, h: m.gru(h[None])[0][0],
}


@pytest.mark.parametrize("call", PASSES.values(), ids=PASSES)
def test_no_graph_is_kept(call):
    def parts():
        return {
            **odd_parts(raised)(),
            "other": nn.Linear(6, 6),
            "gru": nn.GRU(6, 6),
        }

    problem = problem_of(
        lambda m, x: m.head(call(m, Traced.apply(m.layer(x)))), floats(6), parts
    )
    Traced.graphs.clear()
    gradient_statistics(problem.net, problem.X, batch_size=3, backend="ghost")
    assert len(Traced.graphs) > 2
    assert [graph() for graph in Traced.graphs if graph() is not None] == []


# --- modules by themselves ------------------------------------------------------------------------


def odd_parts(inner):
    return lambda: {**linear_parts(), "odd": Unruled(inner)}


def between(m, x):
    return m.head(m.odd(m.layer(x)).reciprocal())


def test_an_untraceable_module_alone_is_run_by_sample(caplog):
    problem = problem_of(between, floats(6), odd_parts(raised_if_finite))
    with caplog.at_level(logging.WARNING, "skdal"):
        actual = gradient_statistics(
            problem.net, problem.X, direction=problem.direction, batch_size=2
        )
    assert_statistics(actual, problem.own)
    assert len(caplog.messages) == 1
    assert "Unruled runs once per sample" in caplog.text


def wordless(error):
    """Return a forward pass that raises an error without a message where torch.func traces it."""

    def call(m, x):
        try:
            is_finite = bool(x.isfinite().all())
        except RuntimeError:
            raise error from None
        return raised(m, x) if is_finite else x

    return call


WORDLESS = [
    RuntimeError(),
    AssertionError(),
    KeyError(),
    IndexError(),
    NotImplementedError(" \n"),
]


@pytest.mark.parametrize("error", WORDLESS, ids=lambda error: type(error).__name__)
def test_an_error_without_a_message_is_told_by_its_class(error, caplog):
    name = type(error).__name__
    problem = problem_of(between, floats(6), odd_parts(wordless(error)))
    with caplog.at_level(logging.WARNING, "skdal"):
        assert_statistics(
            gradient_statistics(problem.net, problem.X, direction=problem.direction),
            problem.own,
        )
    assert f"torch.func cannot trace it ({name})" in caplog.text
    with pytest.raises(
        UnsupportedLayerError, match=rf"torch.func cannot trace it \({name}\)"
    ):
        gradient_statistics(problem.net, problem.X, backend="functorch")


def test_an_error_of_every_run_is_the_modules_own():
    def call(m, x):
        raise AssertionError

    problem = problem_of(call, floats(6))
    with pytest.raises(FailingModuleError, match="AssertionError") as caught:
        gradient_statistics(problem.net, problem.X)
    assert isinstance(caught.value.__cause__, AssertionError)


def test_the_gradients_of_a_module_alone_are_made_in_parts(hold_values):
    problem = problem_of(between, floats(6), odd_parts(raised))
    hold_values(13)  # two samples
    actual = gradient_statistics(
        problem.net, problem.X, direction=problem.direction, backend="ghost"
    )
    assert_statistics(actual, problem.own)


def test_a_module_alone_runs_out_of_memory_like_all_others():
    def greedy(m, x):
        if len(x) == 1:  # by itself
            raise torch.OutOfMemoryError("no memory")
        return raised(m, x)

    problem = problem_of(between, floats(6), odd_parts(greedy))
    with pytest.raises(MemoryError):
        gradient_statistics(problem.net, problem.X, backend="ghost")


# --- recurrent layers -----------------------------------------------------------------------------

REFUSED = {
    "packed": (
        nn.GRU(3, 4),
        lambda: nn.utils.rnn.pack_sequence([torch.ones(2, 3), torch.ones(1, 3)]),
    ),
    "packed-with-state": (
        nn.LSTM(3, 4),
        lambda: (
            nn.utils.rnn.pack_sequence([torch.ones(2, 3)]),
            (torch.ones(1, 1, 4), torch.ones(1, 1, 4)),
        ),
    ),
    "unbatched": (nn.RNN(3, 4), lambda: torch.ones(5, 3)),
    "dropout": (
        nn.GRU(3, 4, num_layers=2, dropout=0.5).train(),
        lambda: torch.ones(5, 2, 3),
    ),
}


@pytest.mark.parametrize("layer, make_inputs", REFUSED.values(), ids=REFUSED)
def test_what_the_recurrent_rule_does_not_describe(layer, make_inputs):
    with pytest.raises(NotImplementedError, match="sequence|dropout"):
        rule_for(layer)(
            layer,
            [make_inputs()],
            [(torch.ones(5, 2, 4), None)],
            {"weight_ih_l0": None},
        )


def packed_of_one(m, x):
    """Sequences of one step: the packed rows are as many as the samples."""
    packed = nn.utils.rnn.pack_sequence(list(x[:, None]), enforce_sorted=False)
    return m.head(m.gru(packed)[0].data)


def test_packed_sequences_of_one_step():
    problem = problem_of(
        packed_of_one, floats(3), lambda: {"gru": nn.GRU(3, 4), "head": nn.Linear(4, 5)}
    )
    assert_statistics(
        gradient_statistics(problem.net, problem.X, direction=problem.direction),
        problem.own,
    )
    with pytest.raises(UnsupportedLayerError, match="gru"):
        gradient_statistics(problem.net, problem.X, backend="ghost")


# --- precision ------------------------------------------------------------------------------------


def self_attention(m, x):
    return m.layer(x, x, x)[0].mean(1)


# call, layer, width of what it gives
COARSE = {
    "lstm": (
        lambda m, x: m.layer(x)[0].mean(1),
        lambda: nn.LSTM(6, 6, 2, batch_first=True),
        6,
    ),
    "lstm-projected": (
        lambda m, x: m.layer(x)[0].mean(1),
        lambda: nn.LSTM(6, 6, batch_first=True, proj_size=3),
        3,
    ),
    "gru": (
        lambda m, x: m.layer(x)[0][:, -1],
        lambda: nn.GRU(6, 6, batch_first=True, bidirectional=True),
        12,
    ),
    "rnn": (
        lambda m, x: m.layer(x)[1][0],
        lambda: nn.RNN(6, 6, batch_first=True, bias=False),
        6,
    ),
    "attention": (
        self_attention,
        lambda: nn.MultiheadAttention(6, 2, batch_first=True),
        6,
    ),
    "attention-to-more": (
        self_attention,
        lambda: nn.MultiheadAttention(6, 2, batch_first=True, add_bias_kv=True),
        6,
    ),
    "alone": (lambda m, x: m.layer(x).reciprocal().mean(1), lambda: Unruled(raised), 6),
    "alone-lstm": (
        lambda m, x: m.layer(x)[0].mean(1),
        lambda: OwnLSTM(6, 6, batch_first=True),
        6,
    ),
    "direct": (
        lambda m, x: (m.layer.power.exp()[None] * x - m.layer.power).mean(1),
        lambda: Unruled(raised),
        6,
    ),
}


def skip_what_torch_cannot_run(module, x):
    """Skip the test where torch has no kernel for this processor, as for some recurrent layers in
    bfloat16."""
    try:
        with torch.no_grad():
            module(x)
    except RuntimeError as error:
        if "could not create a primitive" not in str(error):
            raise
        pytest.skip(f"torch itself cannot run this module here: {error}")


@pytest.mark.parametrize(
    "under",
    [slow_unless(under == "weights", under) for under in ("autocast", "weights")],
)
@pytest.mark.parametrize("call, make_layer, width", COARSE.values(), ids=COARSE)
def test_bfloat16(call, make_layer, width, under):
    def forward(m, x):
        if under == "weights":
            return m.head(call(m, x.bfloat16())).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.head(call(m, x)).float()

    net = Case(
        "",
        lambda: Apply(forward, layer=make_layer(), head=nn.Linear(width, 5)),
        floats(4, 6),
    ).make_net()
    net.module_.to(torch.bfloat16 if under == "weights" else torch.float32)
    X = floats(4, 6)(50, torch.Generator().manual_seed(0)).astype("float32")
    skip_what_torch_cannot_run(net.module_, torch.as_tensor(X))
    direction = {name: torch.ones_like(p) for name, p in net.module_.named_parameters()}
    for layers in ("all", "layer"):
        settings = {"direction": direction, "layers": layers}
        actual = gradient_statistics(net, X, **settings, backend="ghost")
        expected = gradient_statistics(net, X, actual.label, **settings, backend="loop")
        assert (
            abs(actual.sq_norm - expected.sq_norm) <= 0.05 * expected.sq_norm.max()
        ).all()
        assert (abs(actual.dot - expected.dot) <= 0.05 * abs(expected.dot).max()).all()


def test_in_place_on_a_layer_s_output_that_is_a_view():
    """A Linear on three axes gives a view in some versions of torch."""

    def forward(m, x):
        hidden = torch.relu_(m.layer(m.first(x).tanh()))
        return m.head(hidden.flatten(1))

    parts = {
        "first": nn.Linear(6, 6),
        "layer": nn.Linear(6, 3),
        "head": nn.Linear(12, 5),
    }
    net = Case("", lambda: Apply(forward, **parts), floats(4, 6)).make_net()
    X = floats(4, 6)(20, torch.Generator().manual_seed(0))
    direction = {name: torch.ones_like(p) for name, p in net.module_.named_parameters()}
    for layers in ("all", "first", "layer"):
        actual = gradient_statistics(
            net, X, direction=direction, layers=layers, backend="ghost"
        )
        expected = gradient_statistics(
            net, X, actual.label, direction=direction, layers=layers, backend="loop"
        )
        np.testing.assert_allclose(
            actual.sq_norm, expected.sq_norm, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(actual.dot, expected.dot, rtol=1e-9, atol=1e-12)


class TiedBiases(nn.Module):
    """One parameter stands for both biases of a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(3, 4, batch_first=True)
        self.layer.bias_hh_l0 = self.layer.bias_ih_l0
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


@pytest.mark.parametrize("backend", ["auto", "ghost"])
def test_a_parameter_under_two_names_of_one_layer(backend):
    problem = Problem(Case("", TiedBiases, floats(4, 3)))
    assert rule_for(problem.net.module_.layer) is None
    assert_statistics(
        gradient_statistics(
            problem.net, problem.X, direction=problem.direction, backend=backend
        ),
        problem.own,
    )


def test_a_direction_that_is_not_finite():
    problem = problem_of(lambda m, x: m.head(m.layer(x).tanh()), floats(6))
    direction = problem.direction | {"head.bias": torch.full((5,), float("nan"))}
    with pytest.raises(
        InvalidParameterError, match="NaN or infinite values in head.bias"
    ):
        gradient_statistics(problem.net, problem.X, direction=direction)


@pytest.mark.parametrize(
    "call", [gradient_statistics, lambda net, X: labeled_gradient(net, X, [0] * len(X))]
)
def test_a_net_made_in_inference_mode(call):
    with torch.inference_mode():
        net = NeuralNetClassifier(
            nn.Linear(6, 5), criterion=nn.CrossEntropyLoss
        ).initialize()
    with pytest.raises(
        UnsupportedLayerError, match=r"inference_mode\(\).*weight, bias.*outside"
    ):
        call(net, torch.ones(4, 6))


def test_what_is_folded_is_let_go_of_while_the_graph_lives(monkeypatch):
    """Otherwise all inputs and gradients are held until the end of the backward pass."""
    made, released, fold_rest = [], [], _tape.Tape.fold_rest

    class Call(_tape._Call):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    def spy(tape):
        released.append(sum(call.inputs is None for call in made))
        fold_rest(tape)

    monkeypatch.setattr(_tape, "_Call", Call)
    monkeypatch.setattr(_tape.Tape, "fold_rest", spy)
    problem = problem_of(lambda m, x: m.head(m.layer(x).tanh()), floats(6))
    gradient_statistics(problem.net, problem.X)
    assert released == [2]  # both layers
