"""The BackPACK backend: exact for the layers that BackPACK covers, and a refusal for every other
net."""

import logging
import re
import subprocess
import sys
from functools import partial
from types import MethodType

import pytest
import torch
from backpack import disable
from backpack.context import CTX
from backpack.extensions import BatchGrad
from cases import (
    LAYERS,
    NETS,
    Case,
    apply_case,
    floats,
    layer,
    linear_parts,
    mlp,
    mlp_case,
    over,
    some,
    tokens,
)
from problems import Problem
from reference import assert_statistics
from torch import nn

from skdal.exceptions import (
    CrossSampleLayerError,
    GradientMismatchError,
    UnsupportedLayerError,
)
from skdal.gradients import gradient_statistics

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def rule_of_backpack(monkeypatch):
    """Return a function that replaces what BackPACK runs for every layer."""
    return partial(monkeypatch.setattr, BatchGrad, "__call__")


def score(problem, **kwargs):
    return gradient_statistics(
        problem.net,
        problem.X,
        direction=problem.direction,
        backend="backpack",
        **kwargs,
    )


def refusal(problem, **kwargs):
    """Return the reasons that the message gives, by parameter, and the message."""
    with pytest.raises(
        UnsupportedLayerError, match='backend="backpack" cannot handle'
    ) as info:
        score(problem, **kwargs)
    return dict(
        re.findall(
            r"(?:module: |; )([\w.]+): (.*?)(?=; [\w.]+: |\. Use)", str(info.value)
        )
    ), str(info.value)


# --- which nets are covered -----------------------------------------------------------------------


def every_step(m, x):
    return m.head(m.rnn(x)[0].flatten(1))


def last_step(m, x):
    return m.head(m.rnn(x)[0][:, -1])


def one_step(m, x):
    return last_step(m, x[:, :1])


def transposed(m, x):
    return m.head(m.rnn(x.transpose(0, 1))[0].transpose(0, 1).flatten(1))


def last_state(m, x):
    return m.head(m.rnn(x)[1][0])


def given_state(m, x):
    return m.head(m.rnn(x, x.new_ones(1, len(x), 7))[0].flatten(1))


def given_size(m, x):
    return m.head(m.layer(x, output_size=(8, 7)).tanh().flatten(1))


def every_row(m, x):
    return m.head(m.layer(x).tanh())


def a_little_functionally(m, x):
    """A layer, and a little of its weight that all samples share."""
    return m.head(m.layer(x).tanh()) + 1e-3 * m.layer.weight[:5, 0]


def rewired():
    net = mlp(6, 6, 5)
    net[0].forward = MethodType(
        lambda layer, x: 2 * nn.functional.linear(x, layer.weight, layer.bias), net[0]
    )
    return net


class Shift(nn.Module):
    """A parameter of its own and no input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self):
        return self.weight


def recurrent_case(id, cls, call=every_step, width=28, silent=(), **kwargs):
    """Return a case of sequences (4, 3): a recurrent layer of 7 units and a head."""
    settings = {"batch_first": True, **kwargs}

    def parts():
        return {"rnn": cls(3, 7, **settings), "head": nn.Linear(width, 5)}

    return apply_case(id, call, floats(4, 3), parts, silent=silent)


MORE = [
    layer(
        "conv-transpose1d",
        floats(4, 7),
        nn.ConvTranspose1d,
        4,
        6,
        3,
        stride=2,
        padding=1,
        groups=2,
    ),
    layer(
        "conv-transpose2d",
        floats(4, 3, 4),
        nn.ConvTranspose2d,
        4,
        2,
        3,
        stride=(2, 1),
        dilation=2,
        bias=False,
    ),
    layer(
        "conv-transpose3d", floats(2, 3, 2, 2), nn.ConvTranspose3d, 2, 3, 2, padding=1
    ),
    layer(
        "conv-transpose-output-padding",
        floats(2, 3, 3),
        nn.ConvTranspose2d,
        2,
        3,
        3,
        stride=2,
        output_padding=1,
    ),
    apply_case(
        "conv-transpose-output-size",
        given_size,
        floats(2, 3, 3),
        lambda: {
            "layer": nn.ConvTranspose2d(2, 3, 3, stride=2, bias=False),
            "head": nn.Linear(168, 5),
        },
    ),
    recurrent_case("rnn", nn.RNN),
    recurrent_case("rnn-last-output", nn.RNN, last_step, width=7),
    recurrent_case(
        "rnn-one-step", nn.RNN, one_step, width=7, silent=("rnn.weight_hh_l0",)
    ),
    recurrent_case("rnn-last-state", nn.RNN, last_state, width=7),
    recurrent_case("rnn-given-state", nn.RNN, given_state),
    recurrent_case("rnn-relu", nn.RNN, nonlinearity="relu"),
    recurrent_case("lstm", nn.LSTM),
    recurrent_case("lstm-projected", nn.LSTM, width=8, proj_size=2),
    recurrent_case("lstm-two-layers", nn.LSTM, num_layers=2),
    recurrent_case("lstm-no-bias", nn.LSTM, bias=False),
    recurrent_case("lstm-both-ways", nn.LSTM, width=56, bidirectional=True),
    recurrent_case("lstm-sequence-first", nn.LSTM, transposed, batch_first=False),
    apply_case(
        "no-input",
        lambda m, x: m.head((m.layer(x) + m.shift()).tanh()),
        floats(6),
        lambda: linear_parts() | {"shift": Shift()},
    ),
    apply_case(
        "unused-norm",
        lambda m, x: (m.head(m.layer(x).tanh()), m.norm(x)),
        floats(6),
        lambda: linear_parts() | {"norm": nn.LayerNorm(6)},
        silent=("norm.weight", "norm.bias"),
    ),
    mlp_case("rewired", rewired),
    apply_case(
        "used-a-little-functionally", a_little_functionally, floats(6), linear_parts
    ),
]
# Layers that BackPACK has a rule for; Embedding is covered in float32 only, see below.
KNOWN = {nn.Linear, nn.RNN, nn.LSTM}
KNOWN |= {
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
}
KNOWN |= {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
# Of these, what is refused all the same: a reason, the cases, and in each modules or parameters.
ROWS = "BackPACK needs calls of the layer, one row per sample"
REASONS = {
    "(Conv1d): BackPACK's rule needs padding_mode='zeros'": {
        "conv1d-reflect": ["layer"]
    },
    "(Conv2d): BackPACK's rule needs padding_mode='zeros'": {
        "conv2d-reflect": ["layer"],
        "conv2d-replicate": ["layer"],
        "conv2d-circular": ["layer"],
        "conv2d-circular-same": ["layer"],
        "conv2d-groups-reflect": ["layer"],
    },
    "(Conv3d): BackPACK's rule needs padding_mode='zeros'": {
        "conv3d-groups": ["layer"]
    },
    "needs padding in numbers": {
        "conv1d-same-even": ["layer"],
        "conv2d-same": ["layer"],
        "conv3d-dilated": ["layer"],
    },
    "needs output_padding=(0, 0)": {"conv-transpose-output-padding": ["layer"]},
    "rule takes one input": {
        "conv-transpose-output-size": ["layer"],
        "rnn-given-state": ["rnn"],
    },
    "rule takes the first output's gradient": {"rnn-last-state": ["rnn"]},
    "needs nonlinearity='tanh'": {"rnn-relu": ["rnn"]},
    "needs proj_size=0": {"lstm-projected": ["rnn"]},
    "needs num_layers=1": {"lstm-two-layers": ["rnn"]},
    "needs bias=True": {"lstm-no-bias": ["rnn"]},
    "needs bidirectional=False": {"lstm-both-ways": ["rnn"]},
    "needs batch_first=True": {"lstm-sequence-first": ["rnn"]},
    "(Linear): BackPACK has no rule for it": {
        "weight-norm-old": ["0", "2"],
        "rewired": ["0"],
    },
    ROWS: {
        "tied": ["0.weight"],
        "used-functionally": ["layer.weight"],
        "called-and-used-functionally": ["layer.weight"],
        "used-a-little-functionally": ["layer.weight"],
        "transformer-sequence-first": [
            f"encoder.layers.{i}.linear{j}" for i in (0, 1) for j in (1, 2)
        ],
        "rows": ["layer"],
        "stacked": ["layer"],
    },
    "the first axis is not the sample": {"sequence-first": ["layer"]},
}
REFUSED = {
    id: (reason, parts)
    for reason, cases in REASONS.items()
    for id, parts in cases.items()
}
# MORE has a recurrent layer for each of BackPACK's conditions; those of LAYERS break several at
# once.
CASES = [case for case in LAYERS if not case.id.startswith(("rnn", "lstm", "gru"))]
CASES += [case for case in NETS + MORE if not case.heavy]


def expected_refusal(problem):
    """Return what a refusal has to list, parameter to reason, in order; nothing for a net that is
    covered."""
    modules = dict(problem.net.module_.named_modules())
    reason, parts = REFUSED.get(problem.case.id, ("", []))
    expected = {}
    for name in problem.direction:
        owner = name.rpartition(".")[0]
        if name in parts or owner in parts:
            expected[name] = reason
        elif type(modules[owner]) not in KNOWN and name not in problem.case.silent:
            is_embedding = type(modules[owner]) is nn.Embedding
            expected[name] = (
                "torch's default dtype"
                if is_embedding
                else "BackPACK has no rule for it"
            )
    return {
        name: reason
        for name, reason in expected.items()
        if name not in problem.case.silent
    }


OF_SIX = [case for case in CASES if case.n == 6 and case.id != "sequence-first"]


@over(CASES)
def test_exact_or_refused(problem):
    expected = expected_refusal(problem)
    if not expected:
        assert_statistics(score(problem), problem.own)
        return
    reasons, message = refusal(problem)
    assert list(reasons) == list(expected)
    assert all(reason in reasons[name] for name, reason in expected.items())
    assert message.endswith('Use backend="auto", which falls back to one that can.')


@over(OF_SIX, usual=some(OF_SIX, 40))
def test_every_parameter_has_its_share(problem):
    refused = expected_refusal(problem)
    for name in problem.direction:
        if name in refused:
            assert list(refusal(problem, layers=[name])[0]) == [name]
            continue
        actual = score(problem, y=problem.y, layers=[name])
        assert_statistics(actual, problem.given, [name])
        assert (actual.sq_norm > 0).any() == (name not in problem.case.silent)


def test_the_tables_name_cases():
    assert set(REFUSED) <= {case.id for case in CASES}


def test_a_scripted_layer_that_is_not_asked_for_is_copied():
    problem = Problem(next(case for case in NETS if case.id == "scripted"))
    assert_statistics(
        score(problem, layers="head"), problem.own, ["head.weight", "head.bias"]
    )
    assert problem.net.module_.layer.weight.requires_grad


# --- numbers --------------------------------------------------------------------------------------


def embedding_problem(*shape, **kwargs):
    """Return a problem of tokens (n, *shape) in float32."""

    def call(m, x):
        return m.head(m.words(x).reshape(len(x), -1, 4).mean(1))

    parts = {"words": nn.Embedding(5, 4, **kwargs), "head": nn.Linear(4, 5)}
    problem = Problem(apply_case("", call, tokens(5, *shape), lambda: parts))
    problem.net.module_.float()
    return problem


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3)], ids=str)
def test_embeddings_in_float32(shape):
    problem = embedding_problem(*shape)
    expected = gradient_statistics(
        problem.net, problem.X, direction=problem.direction, backend="loop"
    )
    actual = score(problem)
    torch.testing.assert_close(
        torch.as_tensor(actual.sq_norm),
        torch.as_tensor(expected.sq_norm),
        rtol=1e-5,
        atol=0,
    )
    torch.testing.assert_close(
        torch.as_tensor(actual.dot), torch.as_tensor(expected.dot), rtol=1e-4, atol=1e-5
    )


def test_embeddings_that_are_refused():
    assert (
        "words (Embedding): BackPACK's rule needs sparse=False."
        in refusal(embedding_problem(4, sparse=True))[1]
    )
    assert (
        "words (Embedding): BackPACK's rule needs padding_idx=None."
        in refusal(embedding_problem(4, padding_idx=0))[1]
    )


def test_without_a_direction():
    problem = Problem(mlp_case(""))
    actual = gradient_statistics(problem.net, problem.X, backend="backpack")
    assert actual.dot is None
    assert_statistics(actual, problem.own)


def test_gradients_are_held_for_a_few_samples_at_a_time(rule_of_backpack, hold_values):
    right, lengths = BatchGrad.__call__, []

    def call(self, module, g_inp, g_out):
        right(self, module, g_inp, g_out)
        lengths.append(len(module.weight.grad_batch))

    problem = Problem(apply_case("", every_row, floats(6), linear_parts, n=10))
    rule_of_backpack(call)
    hold_values(4 * (6 * 6 + 6) + 1)
    assert_statistics(score(problem), problem.own)
    # The head is smaller, so that more samples fit; it comes first on the way back.
    assert lengths == [4, 4, 2, 4, 4, 2]


def test_nothing_is_computed_that_does_not_count(rule_of_backpack):
    right, made = BatchGrad.__call__, []

    def call(self, module, g_inp, g_out):
        right(self, module, g_inp, g_out)
        made.extend(
            name
            for name, parameter in module.named_parameters()
            if hasattr(parameter, "grad_batch")
        )

    rule_of_backpack(call)
    score(Problem(mlp_case("")), layers=["0.bias"])
    assert made == ["bias"]


def test_bfloat16_is_no_mismatch():
    def call(m, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.head(m.layer(x).relu().mean(1)).float()

    net = apply_case("", call, floats(3, 6), linear_parts).make_net()
    net.module_.float()
    X = floats(3, 6)(50, torch.Generator().manual_seed(0)).astype("float32")
    actual = gradient_statistics(net, X, backend="backpack")
    expected = gradient_statistics(net, X, actual.label, backend="loop")
    assert (
        abs(actual.sq_norm - expected.sq_norm) <= 0.05 * expected.sq_norm.max()
    ).all()


# --- wrong numbers are caught ---------------------------------------------------------------------


@pytest.fixture
def wrong(rule_of_backpack):
    """Return a function that makes BackPACK's gradients (n, *shape) wrong."""
    right = BatchGrad.__call__

    def plant(fault):
        def call(self, module, g_inp, g_out):
            right(self, module, g_inp, g_out)
            for parameter in module.parameters():
                parameter.grad_batch = fault(parameter.grad_batch)

        rule_of_backpack(call)

    return plant


@pytest.mark.parametrize(
    "fault",
    [lambda g: 1.001 * g, lambda g: 0 * g, lambda g: g.mean(0, keepdim=True) + 0 * g],
)
def test_a_wrong_rule_is_an_error(wrong, fault):
    wrong(fault)
    with pytest.raises(
        (UnsupportedLayerError, GradientMismatchError), match="sees a part|self-check"
    ):
        score(Problem(mlp_case("")))


def test_gradients_of_other_samples_are_an_error(wrong):
    wrong(lambda g: g.roll(1, 0) if g.shape[1:] == (8, 6) else g)
    with pytest.raises(
        GradientMismatchError, match=r"self-check.*0\.weight, 0\.bias is wrong"
    ):
        score(Problem(mlp_case("")))


def mixed_if_positive(m, x):
    """Mini-batches of positive samples run another layer, and mix what it gives."""
    if x[0, 0] < 0:
        return m.head(m.layer(x))
    h = m.other(x)
    return m.head(h + 0.5 * h.flip(0))


def negative_then_positive(n, generator):
    X = floats(6)(n, generator)
    X[:, 0] = abs(X[:, 0])
    X[: n // 2, 0] *= -1
    return X


def test_other_layers_in_later_mini_batches_are_checked_too():
    def parts():
        return linear_parts() | {"other": nn.Linear(6, 6)}

    problem = Problem(
        apply_case("", mixed_if_positive, negative_then_positive, parts, n=12)
    )
    gradient_statistics(problem.net, problem.X[:6], backend="backpack", batch_size=3)
    with pytest.raises(CrossSampleLayerError, match="other"):
        score(problem, batch_size=3)


# --- nothing of the user's changes ----------------------------------------------------------------


def traces(net):
    """Return what BackPACK could leave behind: attributes, hooks, gradients, its own globals."""
    modules = dict(net.module_.named_modules())
    return {
        "attributes": {name: sorted(vars(m)) for name, m in modules.items()},
        "in place": {name: vars(m).get("inplace") for name, m in modules.items()},
        "hooks": {
            name: [len(v) for k, v in vars(m).items() if k.endswith("hooks")]
            for name, m in modules.items()
        },
        "parameters": {
            name: (
                id(p),
                p.requires_grad,
                sorted(vars(p)),
                p.grad,
                len(p._backward_hooks or ()),
            )
            for name, p in net.module_.named_parameters()
        },
        "backpack": (
            len(CTX.hook_handles),
            CTX.active_exts,
            CTX.extension_hook,
            CTX.debug,
            disable.store_io,
        ),
    }


def in_place_mlp():
    """An MLP as torchvision would write it."""
    return nn.Sequential(
        nn.Linear(6, 8),
        nn.ReLU(inplace=True),
        nn.Linear(8, 7),
        nn.ReLU(inplace=True),
        nn.Linear(7, 5),
    )


@over(
    [
        mlp_case("covered", in_place_mlp),
        next(case for case in LAYERS if case.id == "layernorm"),
    ]
)
@pytest.mark.parametrize("layers", ["all", "last"])
def test_the_module_is_as_found(problem, layers):
    before = traces(problem.net)
    try:
        score(problem, layers=layers, batch_size=4)
    except UnsupportedLayerError:
        assert problem.case.id == "layernorm"
    assert traces(problem.net) == before


def test_the_module_is_as_found_when_a_rule_fails(rule_of_backpack):
    right = BatchGrad.__call__

    def failing(self, module, g_inp, g_out):
        if module.in_features == 6:  # the last one in the backward pass
            raise IndexError("broken on purpose\nand in detail")
        right(self, module, g_inp, g_out)

    rule_of_backpack(failing)
    problem = Problem(mlp_case("", in_place_mlp))
    before = traces(problem.net)
    reasons, _ = refusal(problem)
    assert traces(problem.net) == before
    assert reasons == dict.fromkeys(
        ["0.weight", "0.bias"], "0 (Linear): BackPACK's rule fails (broken on purpose)"
    )


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("no more"), RuntimeError("can't allocate memory")],
    ids=repr,
)
def test_memory_that_runs_out_is_no_refusal(rule_of_backpack, error):
    right = BatchGrad.__call__

    def call(self, module, g_inp, g_out):
        if len(g_out[0]) > 2:
            raise error
        right(self, module, g_inp, g_out)

    rule_of_backpack(call)
    problem = Problem(mlp_case(""))
    assert_statistics(score(problem), problem.own)


# --- modules that cannot be copied ----------------------------------------------------------------


class Single(nn.Linear):
    """A layer that cannot be copied."""

    def __deepcopy__(self, memo):
        raise NotImplementedError


class Closed(nn.Module):
    """Runs a layer that its forward pass knows by a closure."""

    def __init__(self, inner=None):
        super().__init__()
        self.inner, self.head = inner or nn.Linear(6, 6), nn.Linear(6, 5)
        self.run = lambda x: self.inner(x)

    def forward(self, x):
        return self.head(self.run(x).tanh())


@pytest.mark.parametrize("module", [Closed, lambda: Closed(Single(6, 6))])
def test_the_module_itself_runs(module):
    problem = Problem(Case("", module, floats(6)))
    before = traces(problem.net)
    assert_statistics(
        score(problem, layers="head"), problem.own, ["head.weight", "head.bias"]
    )
    assert traces(problem.net) == before


# --- the choice of backend ------------------------------------------------------------------------


def test_auto_does_not_use_it(rule_of_backpack, caplog):
    rule_of_backpack(lambda *args: pytest.fail("used"))
    # Neither ghost nor functorch runs a scripted module.
    problem = Problem(next(case for case in NETS if case.id == "scripted"))
    with caplog.at_level(logging.WARNING, "skdal"):
        gradient_statistics(problem.net, problem.X)
    assert 'Trying "loop"' in caplog.text
    assert "backpack" not in caplog.text


@pytest.mark.slow
def test_it_is_imported_when_it_is_asked_for():
    code = "import sys, skdal, skdal.gradients; sys.exit('backpack' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
