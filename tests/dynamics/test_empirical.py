"""The tangent kernel of a net against explicit Jacobians in float64, for every layer and net of the
engine's tests."""

import copy

import numpy as np
import pytest
import torch
from cases import LAYERS, NETS, over, some
from common import X as POOL
from common import make_net, trained_net
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch.utils.checkpoint import checkpoint
from wide import wide_net

from skdal.dynamics import empirical_ntk, generalization_bound
from skdal.exceptions import (
    CrossSampleLayerError,
    EmptyPoolError,
    IllConditionedWarning,
    InvalidDataError,
    InvalidParameterError,
    NotFittedError,
)
from skdal.gradients.parts import Factorizer
from skdal.utils import take_rows

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")
LIGHT = [case for case in NETS if not case.heavy]
SMALL = [case for case in LIGHT if case.n == 6]


@pytest.fixture
def of_kernels(monkeypatch):
    """Return a function (name, value) that sets how kernels are cut: what is held at most, and the
    length of chunks."""
    return lambda name, value: monkeypatch.setattr(
        f"skdal.dynamics._gram.{name}", value
    )


def jacobians(net, X, layers=None):
    """Return (n, K, P) by one backward pass a sample and output."""
    module = net.module_.eval()
    parameters = [
        p
        for name, p in module.named_parameters()
        if p.requires_grad and (not layers or name in layers)
    ]
    rows = []
    for i in range(len(next(iter(X.values())) if isinstance(X, dict) else X)):
        one = take_rows(X, slice(i, i + 1))
        tensors = (
            {k: torch.as_tensor(v) for k, v in one.items()}
            if isinstance(X, dict)
            else torch.as_tensor(one)
        )
        outputs = module(**tensors) if isinstance(X, dict) else module(tensors)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        rows.append([])
        for f in outputs[0]:
            grads = torch.autograd.grad(
                f, parameters, retain_graph=True, allow_unused=True
            )
            found = [
                torch.zeros_like(p) if g is None else g.to_dense()
                for g, p in zip(grads, parameters)
            ]
            rows[-1].append(torch.cat([g.flatten() for g in found]).double())
    module.train()
    return torch.stack([torch.stack(row) for row in rows]).detach().numpy()


def assert_kernel(found, expected, rtol=1e-10, scale=None):
    assert found.shape == expected.shape
    assert found.dtype == np.float64
    scale = np.abs(expected).max() if scale is None else scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * scale)


def kernel_of(J, other=None):
    return np.einsum("iap,jbp->iajb", J, J if other is None else other)


# explicit Jacobians of the others take twenty seconds each
@over(
    LIGHT, usual=[case for case in LIGHT if case.id not in ("resnet18", "vgg11-narrow")]
)
def test_nets(problem):
    expected = kernel_of(jacobians(problem.net, problem.X))
    assert_kernel(empirical_ntk(problem.net, problem.X), expected)


@over(LAYERS)
def test_layers(problem):
    assert_kernel(
        empirical_ntk(problem.net, problem.X),
        kernel_of(jacobians(problem.net, problem.X)),
    )


@over(SMALL, usual=some(SMALL))
def test_products(problem, of_kernels):
    of_kernels("_ENTRIES_A_SAMPLE", 0)
    expected = kernel_of(jacobians(problem.net, problem.X))
    assert_kernel(empirical_ntk(problem.net, problem.X), expected)
    trace = np.einsum("iaja->ij", expected)
    assert_kernel(
        empirical_ntk(problem.net, problem.X, reduction="trace", batch_size=2), trace
    )


@over(SMALL, usual=some(SMALL))
def test_products_without_forward_mode(problem, monkeypatch, of_kernels):
    of_kernels("_ENTRIES_A_SAMPLE", 0)

    def refuse(*_):
        raise NotImplementedError("no forward mode")

    monkeypatch.setattr("skdal.gradients._products.jvp", refuse)
    assert_kernel(
        empirical_ntk(problem.net, problem.X),
        kernel_of(jacobians(problem.net, problem.X)),
    )


class Hooked(torch.nn.Module):
    """A module that turns the gradients of its hidden layer around on their way back."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(POOL.shape[1], 5), torch.nn.Linear(5, 3)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: -gradient)
        return torch.softmax(self.head(hidden), 1)


@pytest.mark.parametrize("at_most", [2**24, 0])
def test_hooks_on_gradients_count_in_all_forms(at_most, monkeypatch, of_kernels):
    net = make_net(Hooked().double()).initialize()
    of_kernels("_ENTRIES_A_SAMPLE", at_most)
    monkeypatch.setattr(
        Factorizer, "_dense_layers", lambda *_: {}
    )  # else nothing is left for products
    assert_kernel(empirical_ntk(net, POOL), kernel_of(jacobians(net, POOL)))


class Checkpointed(torch.nn.Module):
    """A module that runs a part again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(POOL.shape[1], 5), torch.nn.Linear(5, 3)

    def forward(self, x):
        hidden = checkpoint(
            lambda part: torch.tanh(self.body(part)), x, use_reentrant=False
        )
        return torch.softmax(self.head(hidden), 1)


@pytest.mark.parametrize("at_most", [2**24, 0])
def test_checkpointed_nets(at_most, of_kernels):
    of_kernels("_ENTRIES_A_SAMPLE", at_most)
    net = make_net(Checkpointed().double()).initialize()
    assert_kernel(empirical_ntk(net, POOL), kernel_of(jacobians(net, POOL)))


@over(SMALL, usual=some(SMALL))
def test_two_sets_in_small_chunks(problem, of_kernels):
    J, first = jacobians(problem.net, problem.X), take_rows(problem.X, slice(0, 4))
    expected = kernel_of(J[:4], J)
    assert_kernel(empirical_ntk(problem.net, first, problem.X), expected)
    of_kernels("_chunk", lambda entries, *_: 3 if entries == 2**27 else 2)
    assert_kernel(empirical_ntk(problem.net, first, problem.X), expected)
    assert_kernel(empirical_ntk(problem.net, problem.X), kernel_of(J))
    assert_kernel(
        empirical_ntk(problem.net, first, problem.X, reduction="trace"),
        np.einsum("iaja->ij", expected),
    )
    summed = empirical_ntk(problem.net, first, problem.X, reduction="sum")
    assert_kernel(
        summed, expected.sum((1, 3)), scale=np.abs(expected).max()
    )  # probabilities add up to one


@pytest.mark.parametrize("reduction", ["full", "trace", "sum"])
def test_single_precision_of_a_net_with_many_parameters(reduction):
    """Whose gradients have a million entries, of which each would add its rounding to a running
    sum."""
    net = NeuralNetClassifier(
        torch.nn.Sequential(
            *(
                torch.nn.Conv2d(3, 128, 3),
                torch.nn.ReLU(),
                torch.nn.Conv2d(128, 800, 3),
                torch.nn.ReLU(),
            ),
            *(
                torch.nn.AdaptiveAvgPool2d(1),
                torch.nn.Flatten(),
                torch.nn.Linear(800, 2),
            ),
        ),
        criterion=torch.nn.CrossEntropyLoss,
        train_split=None,
    ).initialize()
    X = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    single = empirical_ntk(net, X, reduction=reduction)
    net.module_.double()
    double = empirical_ntk(net, X.double(), reduction=reduction)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=0, atol=5e-6 * np.abs(double).max())


WIDE = wide_net(0, shape=(2, 3, 3), width=50, K=3)
DENSE = trained_net()


def test_linear_layers_are_kept_factored(monkeypatch):
    rests = []
    call = Factorizer.__call__
    monkeypatch.setattr(
        Factorizer,
        "__call__",
        lambda self, *batch: rests.append(self.rest) or call(self, *batch),
    )
    empirical_ntk(DENSE, POOL[:5])
    assert [set(rest) for rest in rests] == [{"body.1.weight", "body.1.bias"}]


class Branching(torch.nn.Module):
    """Uses a layer's weight in another way, too, for samples that come later."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.a(x)
        is_large = x[:, :1] > 2
        if is_large.any():
            hidden = hidden + is_large * torch.nn.functional.linear(x**2, self.a.weight)
        return self.b(torch.tanh(hidden))


class Experts(torch.nn.Module):
    """Sends samples to one of two layers."""

    def __init__(self):
        super().__init__()
        self.one, self.other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)

    def forward(self, x):
        chosen = x[:, 0] > 2
        out = x.new_zeros(len(x), 3)
        for part, rows in ((self.one, ~chosen), (self.other, chosen)):
            if rows.any():
                out = out.index_put((rows.nonzero()[:, 0],), part(x[rows]))
        return out


@pytest.mark.parametrize("module", [Branching, Experts])
def test_later_samples_that_run_otherwise(module):
    net = make_net(module).initialize()
    net.module_.double()
    X = np.random.default_rng(0).normal(size=(8, 4))
    X[:, 0] = [0, 0, 0, 0, 5, 0, 6, 0]
    assert_kernel(empirical_ntk(net, X, batch_size=4), kernel_of(jacobians(net, X)))


def test_a_net_in_float32_gives_a_kernel_that_the_theory_takes():
    net = make_net(
        torch.nn.Linear, module__in_features=5, module__out_features=3
    ).initialize()
    X = np.random.default_rng(0).normal(size=(100, 5)).astype("float32")
    theta = empirical_ntk(net, X, reduction="trace")
    assert theta.dtype == np.float32
    with pytest.warns(IllConditionedWarning):
        assert generalization_bound(theta, np.eye(3)[np.arange(100) % 3]) > 0


@pytest.mark.parametrize("at_most", [0, 2**24])
def test_a_net_in_half_precision(at_most, of_kernels):
    of_kernels("_ENTRIES_A_SAMPLE", at_most)
    module = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 4, 4)), torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten()
    )
    net = make_net(
        torch.nn.Sequential(module, torch.nn.ReLU(), torch.nn.Linear(12, 3))
    ).initialize()
    wide = copy.deepcopy(net)
    net.module_.bfloat16()
    wide.module_.load_state_dict(net.module_.state_dict())
    X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = empirical_ntk(net, X)
    assert found.dtype == np.float32
    expected = empirical_ntk(wide, X.float())
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=0.03 * np.abs(expected).max()
    )


@pytest.mark.parametrize("layers", ["last", "0", ["0.weight"], ["0.bias", "2.weight"]])
def test_some_parameters(layers):
    net = make_net(
        torch.nn.Sequential(
            torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
        )
    ).initialize()
    net.module_.double()
    X = np.random.default_rng(0).normal(size=(5, 8))
    names = {"last": ["2.weight", "2.bias"], "0": ["0.weight", "0.bias"]}.get(
        layers if isinstance(layers, str) else 0
    )
    assert_kernel(
        empirical_ntk(net, X, layers=layers),
        kernel_of(jacobians(net, X, names or layers)),
    )


def test_it_is_symmetric_and_positive_semidefinite():
    found = empirical_ntk(WIDE, np.random.default_rng(0).normal(size=(6, 2, 3, 3)))
    matrix = found.reshape(18, 18)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-10 * np.abs(matrix).max()


def test_the_training_dynamics_of_eq_8_come_from_it():
    from skdal.dynamics import training_dynamics

    net, X = WIDE, np.random.default_rng(1).normal(size=(6, 2, 3, 3))
    y = np.array([0, 1, 2, 0, 1, 2])
    outputs = net.module_(torch.tensor(X)).softmax(1).detach().numpy()
    d = outputs - np.eye(3)[y]
    expected = np.einsum("ia,iajb,jb", d, empirical_ntk(net, X), d)
    assert training_dynamics(net, X, y) == pytest.approx(expected, rel=1e-10)


def test_a_pipeline_and_nothing_is_changed():
    pipeline = make_pipeline(StandardScaler(), copy.deepcopy(DENSE))
    pipeline[0].fit(POOL)
    before = copy.deepcopy(DENSE.module_.state_dict())
    rng = torch.random.get_rng_state()
    found = empirical_ntk(pipeline, POOL[:4])
    assert_kernel(
        found,
        empirical_ntk(DENSE, pipeline[0].transform(POOL[:4]).astype(POOL.dtype)),
        rtol=1e-6,
    )
    assert all(
        (value == before[name]).all()
        for name, value in DENSE.module_.state_dict().items()
    )
    assert (rng == torch.random.get_rng_state()).all()
    assert DENSE.module_.training
    assert all(p.grad is None for p in pipeline[-1].module_.parameters())


def test_the_bar(capsys):
    empirical_ntk(DENSE, POOL[:4], verbose=1)
    assert "16/16" in capsys.readouterr().err


BAD = {
    "reduction": (
        lambda: empirical_ntk(DENSE, POOL, reduction="mean"),
        InvalidParameterError,
        "full, trace, sum",
    ),
    "unfitted": (lambda: empirical_ntk(make_net(), POOL), NotFittedError, "fit"),
    "nothing": (lambda: empirical_ntk(DENSE, POOL[:0]), EmptyPoolError, "at least one"),
    "a second set of nothing": (
        lambda: empirical_ntk(DENSE, POOL, POOL[:0]),
        EmptyPoolError,
        "at least one",
    ),
    "other widths": (
        lambda: empirical_ntk(DENSE, POOL, POOL[:, :2]),
        InvalidDataError,
        "X1 have shape .4.*X2 .2",
    ),
    "NaN": (
        lambda: empirical_ntk(DENSE, np.full_like(POOL, np.nan)),
        InvalidDataError,
        "entries that are NaN",
    ),
    "layers": (
        lambda: empirical_ntk(DENSE, POOL, layers="nope"),
        InvalidParameterError,
        "nope",
    ),
    "mixing": (
        lambda: empirical_ntk(
            make_net(
                torch.nn.Sequential(
                    torch.nn.Linear(POOL.shape[1], 3),
                    torch.nn.BatchNorm1d(3, track_running_stats=False),
                )
            ).initialize(),
            POOL,
        ),
        *(CrossSampleLayerError, "BatchNorm1d"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, said = BAD[name]
    with pytest.raises(error, match=said):
        call()
