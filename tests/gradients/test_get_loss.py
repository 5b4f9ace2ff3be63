"""A net's own get_loss: it reads the mini-batch, gives one loss a sample or one number for all, or
is refused."""

import numpy as np
import pytest
import torch
from common import make_net
from reference import assert_gradients, assert_statistics, total
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.helper import SliceDict
from torch import nn

from skdal.exceptions import UnsupportedEstimatorError
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.samplers import (
    DynamicALSampler,
    EGLSampler,
    EntropyGradientSampler,
    predictive_entropy,
)

N, K = 12, 3
RNG = np.random.default_rng(0)
X = {"data": RNG.normal(size=(N, 4)), "sample_weight": RNG.uniform(0.5, 2, N)}
y = np.arange(N) % K
DIRECTION = {
    "layer.weight": torch.randn(5, 4).double(),
    "layer.bias": torch.randn(5).double(),
}
DIRECTION |= {
    "head.weight": torch.randn(K, 5).double(),
    "head.bias": torch.randn(K).double(),
}


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, K)
        self.double()

    def forward(self, data, sample_weight):
        return self.head(self.layer(data).tanh())


class Weighted(NeuralNetClassifier):
    """Sample weights as in skorch's FAQ, and no loss of training."""

    reduce = staticmethod(lambda losses, weights: (weights * losses).mean())

    def get_loss(self, y_pred, y_true, X, training=False):
        assert not training
        losses = super().get_loss(y_pred, y_true, X, training=training)
        return self.reduce(losses, X["sample_weight"])


class PerSample(Weighted):
    reduce = staticmethod(lambda losses, weights: weights * losses)


class Summed(Weighted):
    reduce = staticmethod(lambda losses, weights: (weights * losses).sum())


class Normalised(Weighted):
    """The weights of a mini-batch add up to one; that of a sample alone is one."""

    reduce = staticmethod(
        lambda losses, weights: (weights * losses).sum() / weights.sum()
    )


class Matrix(Weighted):
    reduce = staticmethod(lambda losses, weights: weights[:, None] * losses)


def trained(cls, module=Module):
    return make_net(module, cls, criterion__reduction="none").initialize()


def expected_of(net, weights, loss=nn.functional.cross_entropy):
    """Return what `reference` gives, for losses that are weighted."""
    module, rows = net.module_.eval(), []
    for i in range(N):
        outputs = module(
            *(torch.as_tensor(X[key][i : i + 1]) for key in ("data", "sample_weight"))
        )
        value = weights[i] * loss(outputs, torch.as_tensor(y[i : i + 1]))
        rows.append(torch.autograd.grad(value, list(module.parameters())))
    names = [name for name, _ in module.named_parameters()]
    columns = dict(zip(names, (torch.stack(column) for column in zip(*rows))))

    def along(name, g):
        return (g * DIRECTION[name]).flatten(1).sum(1)

    sq_norm = {name: g.flatten(1).square().sum(1) for name, g in columns.items()}
    dot = {name: along(name, g) for name, g in columns.items()}
    gradient = {name: g.sum(0) for name, g in columns.items()}
    return type(
        "Expected",
        (),
        {
            "label": torch.as_tensor(y),
            "sq_norm": sq_norm,
            "dot": dot,
            "gradient": gradient,
        },
    )


WEIGHTS = {
    Weighted: X["sample_weight"],
    PerSample: X["sample_weight"],
    Summed: X["sample_weight"],
}
WEIGHTS |= {Normalised: np.ones(N)}


@pytest.mark.parametrize("backend", ["auto", "ghost", "functorch", "backpack", "loop"])
@pytest.mark.parametrize("cls", WEIGHTS, ids=lambda cls: cls.__name__)
def test_sample_weights(cls, backend):
    net = trained(cls)
    expected = expected_of(net, WEIGHTS[cls])
    for size in (None, 1, 5):
        settings = {"direction": DIRECTION, "batch_size": size}
        assert_statistics(
            gradient_statistics(net, X, y, backend=backend, **settings), expected
        )
        assert_gradients(
            labeled_gradient(net, X, y, batch_size=size), expected.gradient
        )


@pytest.mark.parametrize("layers", ["all", "last"])
def test_expected_gradient_length(layers):
    net = trained(Weighted)
    found = EGLSampler(FrozenEstimator(net), layers=layers).fit(SliceDict(**X), y)
    names = None if layers == "all" else ["head.weight", "head.bias"]
    scores = np.zeros(N)
    for k in range(K):

        def loss(outputs, _, k=k):
            return nn.functional.cross_entropy(outputs, torch.tensor([k]))

        lengths = (
            total(expected_of(net, X["sample_weight"], loss).sq_norm, names)
            .sqrt()
            .numpy()
        )
        scores += net.predict_proba(X)[:, k] * lengths
    np.testing.assert_allclose(found.score_samples(SliceDict(**X)), scores, rtol=1e-6)


def test_what_takes_no_loss_goes_on():
    net = trained(Weighted)
    sampler = EntropyGradientSampler(FrozenEstimator(net)).fit(SliceDict(**X), y)

    def entropy(outputs, _):
        return predictive_entropy(outputs.softmax(1)).sum()

    expected = total(expected_of(net, np.ones(N), entropy).sq_norm).sqrt()
    np.testing.assert_allclose(
        sampler.score_samples(SliceDict(**X)), expected, rtol=1e-6
    )


def test_dynamical():
    net, data = trained(Weighted), SliceDict(**X)
    g_S = labeled_gradient(net, data, y)
    own = gradient_statistics(net, data, direction=g_S)
    scores = DynamicALSampler(FrozenEstimator(net)).fit(data, y).score_samples(data)
    np.testing.assert_allclose(scores, own.sq_norm + 2 * own.dot, rtol=1e-6)


@pytest.mark.parametrize("backend", ["auto", "ghost", "functorch", "backpack", "loop"])
def test_a_loss_that_is_neither_is_refused(backend):
    with pytest.raises(
        UnsupportedEstimatorError,
        match=r"get_loss gives shape \(\d+, \d+\).*one loss a sample",
    ):
        gradient_statistics(trained(Matrix), X, y, backend=backend)


# --- several outputs ------------------------------------------------------------------------------


class Extra(Module):
    """Gives a number a sample beside its outputs."""

    def forward(self, data, sample_weight):
        h = self.layer(data).tanh()
        return self.head(h), h.square().sum(1)


class Shared(Extra):
    """Gives one number for all samples beside its outputs."""

    def forward(self, data, sample_weight):
        outputs, size = super().forward(data, sample_weight)
        return outputs, size.mean()


class Sized(Weighted):
    def get_loss(self, y_pred, y_true, X, training=False):
        return super().get_loss(y_pred[0], y_true, X, training) + 0.1 * y_pred[1].mean()


@pytest.mark.parametrize("backend", ["ghost", "functorch", "backpack", "loop"])
def test_an_output_of_one_number_a_sample(backend):
    net, settings = trained(Sized, Extra), {"direction": DIRECTION, "backend": backend}
    found = gradient_statistics(net, X, y, **settings)
    module = net.module_.eval()
    for i in range(N):
        data, weight = (
            torch.as_tensor(X[key][i : i + 1]) for key in ("data", "sample_weight")
        )
        outputs, size = module(data, weight)
        loss = (
            weight[0]
            * nn.functional.cross_entropy(outputs, torch.as_tensor(y[i : i + 1]))
            + 0.1 * size[0]
        )
        g = torch.autograd.grad(loss, list(module.parameters()))
        assert found.sq_norm[i] == pytest.approx(
            float(sum(part.square().sum() for part in g)), rel=1e-10
        )


@pytest.mark.parametrize("backend", ["ghost", "loop"])
def test_an_output_that_belongs_to_no_sample_is_refused(backend):
    with pytest.raises(
        UnsupportedEstimatorError,
        match=r"an output of the module of shape \(\).*one row per sample",
    ):
        gradient_statistics(trained(Sized, Shared), X, y, backend=backend)
