"""Wrong numbers are caught, and what cannot be right is refused."""

import pytest
import torch
from cases import TRAPS, Apply, Case, floats, linear_parts, mlp_case, over, tokens
from problems import Problem
from reference import assert_statistics
from skorch import NeuralNetClassifier
from torch import nn

from skdal.adapters import open_net
from skdal.exceptions import (
    CrossSampleLayerError,
    GradientMismatchError,
    UnsupportedLayerError,
)
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.gradients.parts import StatisticsPass
from skdal.gradients.rules import RULES

alarm = pytest.mark.filterwarnings(
    "ignore:backend:RuntimeWarning"
)  # auto may say what it stepped down from


def problem_of(call, make_inputs, parts=linear_parts, **kwargs):
    return Problem(Case("", lambda: Apply(call, **parts()), make_inputs, **kwargs))


def score(problem, backend="auto", **kwargs):
    return gradient_statistics(
        problem.net, problem.X, direction=problem.direction, backend=backend, **kwargs
    )


# What goes wrong in a rule's answer (sq_norm, dot): a factor, a term missing, a row shifted, no
# number.
WRONG = {
    "scaled": lambda sq_norm, dot: (1.001 * sq_norm, dot),
    "dot scaled": lambda sq_norm, dot: (sq_norm, 1.001 * dot),
    "dot of another sign": lambda sq_norm, dot: (sq_norm, -dot),
    "nothing": lambda sq_norm, dot: (0 * sq_norm, 0 * dot),
    "shifted": lambda sq_norm, dot: (sq_norm.roll(1), dot.roll(1)),
    "mean of the batch": lambda sq_norm, dot: (sq_norm / 36, dot / 6),
}


@pytest.fixture(params=WRONG.values(), ids=WRONG)
def wrong_rule(request, monkeypatch):
    right = RULES[nn.Linear]
    monkeypatch.setitem(RULES, nn.Linear, lambda *args: request.param(*right(*args)))


@pytest.mark.usefixtures("wrong_rule")
def test_a_wrong_rule_is_an_error():
    with pytest.raises(GradientMismatchError, match="self-check"):
        score(Problem(mlp_case("")), "ghost")


def test_the_wrong_rule_is_named(monkeypatch):
    right = RULES[nn.LayerNorm]
    monkeypatch.setitem(
        RULES, nn.LayerNorm, lambda *args: [2 * value for value in right(*args)]
    )
    parts = {"layer": nn.Linear(6, 6), "norm": nn.LayerNorm(6), "head": nn.Linear(6, 5)}
    problem = problem_of(
        lambda m, x: m.head(m.norm(m.layer(x))), floats(6), lambda: parts
    )
    with pytest.raises(
        GradientMismatchError, match=r"rule for norm\.weight, norm\.bias is wrong"
    ):
        score(problem, "ghost")


@pytest.mark.usefixtures("wrong_rule")
def test_a_wrong_rule_is_stepped_down_from():
    problem = Problem(mlp_case(""))
    with pytest.warns(RuntimeWarning, match="ghost"):
        actual = score(problem)
    assert_statistics(actual, problem.own)


@over(TRAPS)
def test_no_sample_axis_is_an_error(problem):
    with pytest.raises((GradientMismatchError, UnsupportedLayerError)):
        score(problem, "ghost")


@alarm
@over(TRAPS)
@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_no_sample_axis_is_stepped_down_from(problem, batch_size):
    assert_statistics(score(problem, batch_size=batch_size), problem.own)


def centred(m, x):
    """Every sample sees the mini-batch's mean."""
    return m.head(m.layer(x - x.mean(0)))


def mixed(m, x):
    """Every sample sees a little of its neighbour, after the layers."""
    h = m.layer(x).tanh()
    return m.head(h + 0.01 * h.roll(1, 0).detach())


def led(m, x):
    """The first sample decides for the mini-batch."""
    return m.head(m.layer(x).tanh() if x[0, 0] < 0 else m.layer(x))


def first_negative(n, generator):
    X = abs(floats(6)(n, generator))
    X[0] *= -1
    return X


# Where it shows: the first module whose output for a sample is another if the sample is alone.
DEPENDENT = {
    "centred": (centred, r"layer \(Linear\)"),
    "mixed": (mixed, r"head \(Linear\)"),
    "led": (led, "head"),
}


@pytest.mark.parametrize("call, name", DEPENDENT.values(), ids=DEPENDENT)
def test_samples_that_depend_on_each_other(call, name):
    with pytest.raises(
        GradientMismatchError, match=f"What {name}.*depend on each other"
    ):
        score(problem_of(call, first_negative), "ghost")


def summed_up(m, x):
    """Every sample sees those before it."""
    return m.head(m.layer(x).cumsum(0).tanh())


class Centring(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def unbatched_norm():
    return {"layer": nn.Linear(6, 6), "norm": Centring(), "head": nn.Linear(6, 5)}


MIXING = {
    "in the forward": (
        summed_up,
        linear_parts,
        r"after layer \(Linear\) and no later than in head",
    ),
    "in a module": (
        lambda m, x: m.head(m.norm(m.layer(x))),
        unbatched_norm,
        r"after layer \(Linear\) and no later than in norm \(Centring\)",
    ),
}


@pytest.mark.parametrize("backend", ["auto", "ghost"])
@pytest.mark.parametrize("call, parts, where", MIXING.values(), ids=MIXING)
def test_samples_that_reach_each_others_losses_are_refused(call, parts, where, backend):
    with pytest.raises(CrossSampleLayerError, match=where):
        score(problem_of(call, floats(6), parts), backend)


class Misread(torch.autograd.Function):
    """The identity, whose backward pass is wrong for some numbers of samples, as a kernel of torch
    may be."""

    @staticmethod
    def forward(ctx, x, wrong_for):
        ctx.wrong_for = wrong_for
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (gradient.flip(1) if ctx.wrong_for(len(gradient)) else gradient), None


MISREAD = {"together": lambda n: n > 1, "alone": lambda n: n == 1}


def misreading(where):
    return lambda m, x: m.head(Misread.apply(m.layer(x), MISREAD[where]).tanh())


def test_what_torch_gets_wrong_in_a_mini_batch_is_found():
    with pytest.raises(
        GradientMismatchError, match="Differences of losses agree with the sample alone"
    ):
        score(problem_of(misreading("together"), floats(6)), "ghost")


@alarm
def test_what_torch_gets_wrong_in_a_mini_batch_is_stepped_down_from():
    problem = problem_of(misreading("together"), floats(6))
    assert_statistics(score(problem), problem.own)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", ["auto", "ghost"])
def test_what_torch_gets_wrong_for_a_sample_alone_is_no_mismatch(backend):
    problem = problem_of(misreading("alone"), floats(6))
    right = Problem(
        Case(
            "",
            lambda: Apply(lambda m, x: m.head(m.layer(x).tanh()), **linear_parts()),
            floats(6),
        )
    )
    assert_statistics(score(problem, backend), right.own)


def on_a_kink(m, x):
    """The first unit lies at a kink: rounding, here the number of samples, decides which side is
    taken."""
    h = m.layer(x) - m.layer(x).detach() * (torch.arange(6) == 0)
    return m.head(torch.where(h > (1e-30 if len(x) > 1 else -1e-30), h, 0.1 * h))


@pytest.mark.filterwarnings("error")
def test_another_side_of_a_kink_is_no_mismatch():
    assert (score(problem_of(on_a_kink, floats(6)), "ghost").sq_norm > 0).all()


class Noise(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5)  # in eval mode, too


@pytest.mark.parametrize(
    "backend", ["auto", "ghost", "loop"]
)  # torch.func refuses randomness itself
def test_noise_in_eval_mode_is_refused_by_every_backend(backend):
    parts = {"layer": nn.Linear(6, 6), "noise": Noise(), "head": nn.Linear(6, 5)}
    problem = problem_of(
        lambda m, x: m.head(m.noise(m.layer(x))), floats(6), lambda: parts
    )
    with pytest.raises(
        GradientMismatchError, match=r"noise \(Noise\) gives something else"
    ) as info:
        score(problem, backend)
    assert info.value.is_noise


@alarm
def test_samples_that_depend_on_each_other_are_run_alone():
    problem = problem_of(led, first_negative)
    assert_statistics(score(problem, y=problem.y), problem.given)


@alarm
def test_labels_of_samples_that_depend_on_each_other_are_those_they_get_alone():
    problem = problem_of(led, first_negative)
    assert_statistics(score(problem), problem.own)


class Scale(nn.Module):
    """A layer without a rule."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return x * self.weight


def sample_branching(first, second):
    """Return a module that runs `first` on mini-batches of negative samples and `second` on
    positive ones."""
    parts = {"a": first, "b": second, "head": nn.Linear(6, 5)}
    return Apply(lambda m, x: m.head((m.a if x[0, 0] < 0 else m.b)(x).tanh()), **parts)


def negative_then_positive(n, generator):
    X = floats(6)(n, generator)
    X[:, 0] = abs(X[:, 0])
    X[: n // 2, 0] *= -1
    return X


@pytest.mark.filterwarnings(
    "error"
)  # the proof of coverage finds it, before any number is wrong
@pytest.mark.parametrize(
    "other", [nn.Linear(6, 6), nn.LayerNorm(6), Scale()], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("first", [True, False])
def test_other_modules_in_later_mini_batches(other, first):
    pair = (other, nn.Linear(6, 6)) if first else (nn.Linear(6, 6), other)
    problem = Problem(
        Case("", lambda: sample_branching(*pair), negative_then_positive, n=12)
    )
    assert_statistics(score(problem, batch_size=3), problem.own)


def test_a_rule_that_is_wrong_in_later_mini_batches_only(monkeypatch):
    right = RULES[nn.LayerNorm]
    monkeypatch.setitem(
        RULES, nn.LayerNorm, lambda *args: [2 * value for value in right(*args)]
    )
    problem = Problem(
        Case(
            "",
            lambda: sample_branching(nn.Linear(6, 6), nn.LayerNorm(6)),
            negative_then_positive,
            n=12,
        )
    )
    with pytest.raises(GradientMismatchError):
        score(problem, "ghost", batch_size=3)


def mixed_precision(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return m.head(m.layer(x).relu()).float()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", ["auto", "ghost"])
def test_bfloat16_is_no_mismatch(backend):
    net = Case(
        "", lambda: Apply(mixed_precision, **linear_parts()), floats(6)
    ).make_net()
    net.module_.float()
    X = floats(6)(200, torch.Generator().manual_seed(0)).astype("float32")
    actual = gradient_statistics(net, X, backend=backend)
    expected = gradient_statistics(net, X, actual.label, backend="loop")
    assert (
        abs(actual.sq_norm - expected.sq_norm) <= 0.05 * expected.sq_norm.max()
    ).all()


def odd(cls, *args, **kwargs):
    return lambda: {
        "first": nn.Linear(6, 6),
        "odd": cls(*args, **kwargs),
        "head": nn.Linear(6, 5),
    }


CROSS_SAMPLE = {
    "batch-norm": (
        odd(nn.BatchNorm1d, 6, track_running_stats=False),
        floats(6),
        lambda m, x: m.head(m.odd(m.first(x))),
    ),
    "embedding": (
        odd(nn.Embedding, 9, 6, scale_grad_by_freq=True),
        tokens(9, 3),
        lambda m, x: m.head(m.odd(x).mean(1)),
    ),
}


@pytest.mark.parametrize("backend", ["auto", "ghost", "functorch", "backpack", "loop"])
@pytest.mark.parametrize(
    "parts, make_inputs, call", CROSS_SAMPLE.values(), ids=CROSS_SAMPLE
)
def test_cross_sample_layers_are_refused_by_name(parts, make_inputs, call, backend):
    with pytest.raises(CrossSampleLayerError, match=r"\bodd\b"):
        score(problem_of(call, make_inputs, parts), backend)


def test_an_explicit_backend_lists_everything_it_cannot_handle():
    """Parameters whose uses no module but the whole one holds; the others are no matter."""

    def parts():
        return {
            "layer": nn.Linear(6, 6),
            "scale": Scale(),
            "loose": nn.Parameter(torch.eye(6)),
            "odd": nn.Linear(6, 6),
            "head": nn.Linear(6, 5),
        }

    def call(m, x):
        return m.head(m.odd(m.scale(m.layer(x))) @ m.loose @ m.odd.weight)

    with pytest.raises(UnsupportedLayerError) as info:
        score(problem_of(call, floats(6), parts), "ghost")
    assert all(
        name in str(info.value) for name in ("loose", "odd.weight", 'backend="auto"')
    )
    assert not any(
        name in str(info.value) for name in ("head", "scale", "layer.", "odd.bias")
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_no_false_alarm_in_100_000_samples():
    """A float32 net, and the check made anew on every mini-batch: its two largest of each."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(
            nn.Unflatten(1, (1, 6, 6)),
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        *(
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8, 12),
            nn.LayerNorm(12),
            nn.GELU(),
            nn.Linear(12, 5),
        ),
    )
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "train_split": None,
        "verbose": 0,
        "max_epochs": 5,
        "lr": 0.1,
    }
    X = torch.randn(500, 36)
    net = NeuralNetClassifier(module, **settings).fit(X, X[:, :5].argmax(1))
    direction = labeled_gradient(net, X, X[:, :5].argmax(1))
    view = open_net(net)
    run = StatisticsPass(view, direction=direction, backend="ghost")
    with view.reading():
        for inputs in torch.randn(100_000, 36).split(200):
            run._checked = False
            run(inputs)
