"""Numbers at the edges: tiny and huge gradients, saturated losses, half precision, few and many
classes."""

import copy

import numpy as np
import pytest
import torch
from cases import mlp, redraw
from reference import reference, total
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from skdal.gradients import gradient_statistics, labeled_gradient

pytestmark = pytest.mark.filterwarnings(
    "error::RuntimeWarning", "error::UserWarning:skdal"
)


def net_of(module, dtype=torch.float32, K=5):
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
    ).initialize()
    redraw(net.module_)
    net.module_.to(dtype)
    return net


def conv_net(K=5):
    return nn.Sequential(
        *(
            nn.Conv2d(2, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
        ),
        *(
            nn.Flatten(),
            nn.Linear(144, 12),
            nn.LayerNorm(12),
            nn.GELU(),
            nn.Linear(12, K),
        ),
    )


def twin_of(net):
    twin = copy.deepcopy(net)
    twin.module_.double()
    return twin


def errors(net, X, label=None, direction=None):
    """Return relative errors (n,) of sq_norm, and of dot relative to both lengths, against a
    float64 copy."""
    actual = gradient_statistics(net, X, label, direction=direction, backend="ghost")
    twin = twin_of(net)
    exact = {name: v.double() for name, v in direction.items()}
    expected = reference(twin, np.asarray(X, dtype=np.float64), actual.label, exact)
    sq_norm, dot = total(expected.sq_norm).numpy(), total(expected.dot).numpy()
    length = np.sqrt(sum(float(v.square().sum()) for v in exact.values()))
    return (
        abs(actual.sq_norm / sq_norm - 1),
        abs(actual.dot - dot) / (np.sqrt(sq_norm) * length),
        sq_norm,
    )


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize(
    "module", [conv_net, lambda: mlp(6, 8, 5)], ids=["conv", "mlp"]
)
def test_gradients_of_any_size(module, size):
    """The last layer but one scales all gradients below it; inputs scale the first layer's."""
    net = net_of(module())
    X = torch.randn(40, *((2, 8, 8) if module is conv_net else (6,))).numpy()
    with torch.no_grad():
        list(net.module_.parameters())[-2].mul_(size)  # the head's weight
    direction = {
        name: torch.randn_like(p) for name, p in net.module_.named_parameters()
    }
    labels = (
        gradient_statistics(net, X).label + 1
    ) % 5  # under its own label a huge output has no gradient left
    sq_error, dot_error, _ = errors(net, X, labels, direction)
    assert max(sq_error.max(), dot_error.max()) < 1e-4
    assert max(np.median(sq_error), np.median(dot_error)) < 1e-5


def test_gradients_of_every_size_in_one_mini_batch():
    net = net_of(nn.Linear(6, 5))
    X = np.float32(
        np.random.default_rng(0).normal(size=(49, 6))
        * 10.0 ** np.linspace(-12, 12, 49)[:, None]
    )
    direction = {
        name: torch.randn_like(p) for name, p in net.module_.named_parameters()
    }
    sq_error, dot_error, sq_norm = errors(net, X, np.arange(49) % 5, direction)
    assert sq_norm.max() / sq_norm.min() > 1e20
    assert max(sq_error.max(), dot_error.max()) < 1e-4


@pytest.mark.parametrize("margin", [30.0, 200.0, 600.0])
def test_a_saturated_softmax_keeps_its_tiny_gradient(margin):
    """The loss is far below float32; squares are down to 1e-520, which no float64 holds: zero, not
    NaN or negative."""
    net = net_of(conv_net())
    with torch.no_grad():
        head = list(net.module_.children())[-1]
        head.weight.mul_(0.01)
        head.bias.zero_()
        head.bias[2] = margin
    X = torch.randn(20, 2, 8, 8).numpy()
    direction = {
        name: torch.randn_like(p) for name, p in net.module_.named_parameters()
    }
    actual = gradient_statistics(net, X, direction=direction, backend="ghost")
    assert (actual.label == 2).all()
    assert np.isfinite(actual.sq_norm).all()
    assert (actual.sq_norm >= 0).all()
    assert np.isfinite(actual.dot).all()
    if margin < 300:
        sq_error, dot_error, sq_norm = errors(net, X, actual.label, direction)
        assert 0 < sq_norm.max() < np.exp(-2 * margin) * 1e6
        assert max(sq_error.max(), dot_error.max()) < 1e-4


# Relative to a float64 copy with the same (rounded) weights; half precision has 11 or 8 digits in
# base two.
HALVES = {torch.float16: 0.01, torch.bfloat16: 0.08}


@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision(dtype, scale):
    net = net_of(conv_net(), dtype)
    head = list(net.module_.children())[-1]
    with (
        torch.no_grad()
    ):  # nearly converged: gradients of 1e-8 and less, which float16 does not hold
        head.bias[1] += 0.0 if scale == 1.0 else 18.0
    X = torch.randn(30, 2, 8, 8).to(dtype)
    direction = {
        name: torch.randn_like(p) for name, p in net.module_.named_parameters()
    }
    actual = gradient_statistics(net, X, direction=direction, backend="ghost")
    expected = reference(
        twin_of(net),
        X.double().numpy(),
        actual.label,
        {n: v.double() for n, v in direction.items()},
    )
    sq_norm = total(expected.sq_norm).numpy()
    assert (actual.sq_norm > 0).all()
    # The outputs themselves are rounded, and a saturated softmax turns that into a factor of its
    # gradient.
    assert np.median(abs(actual.sq_norm / sq_norm - 1)) < HALVES[dtype] * (
        1 if scale == 1.0 else 10
    )


@pytest.mark.parametrize("K", [2, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_and_many_classes(K, dtype):
    net = net_of(conv_net(K), dtype)
    X = torch.randn(12, 2, 8, 8).to(dtype).numpy()
    direction = {
        name: torch.randn_like(p) for name, p in net.module_.named_parameters()
    }
    sq_error, dot_error, _ = errors(net, X, None, direction)
    assert max(sq_error.max(), dot_error.max()) < (
        1e-10 if dtype == torch.float64 else 1e-4
    )


@pytest.mark.slow
def test_a_nearly_converged_net_ranks_as_in_float64():
    """Delta of 2,000 samples after training to (almost) zero loss: Kendall's tau with float64."""
    X, y = load_digits(return_X_y=True)
    X, y = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y.astype(np.int64)
    rng = np.random.default_rng(0)
    pool = np.clip(
        X[rng.integers(0, len(X), 2000)] + rng.normal(size=(2000, 1, 8, 8)) / 20, 0, 1
    ).astype(np.float32)
    module = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)),
    )
    torch.manual_seed(0)
    settings = {
        "optimizer": torch.optim.Adam,
        "lr": 0.01,
        "max_epochs": 60,
        "batch_size": 64,
    }
    net = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0, **settings
    )
    net.fit(X[:500], y[:500])
    assert net.history[-1, "train_loss"] < 1e-3

    def delta(net, pool, label=None):
        direction = labeled_gradient(net, X[:500].astype(pool.dtype), y[:500])
        found = gradient_statistics(net, pool, label, direction=direction)
        return found.sq_norm + 2 * found.dot, found.label

    actual, label = delta(net, pool)
    expected, _ = delta(twin_of(net), pool.astype(np.float64), label)
    assert kendalltau(actual, expected).statistic >= 0.999
