"""The gradient family against brute force: every gradient by itself, in float64."""

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, make_sampler, trained_net, y
from reference import reference, total
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdal.samplers import (
    EGLSampler,
    EntropyGradientSampler,
    closed_form,
    predictive_entropy,
)

LAYERS = {
    "all": None,
    "last": ["head.weight", "head.bias"],
    "body": ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"],
}
CRITERIA = {
    "cross entropy": {"criterion": nn.CrossEntropyLoss},
    "weights and a class ignored": {
        "criterion": nn.CrossEntropyLoss,
        "criterion__weight": torch.tensor([1.0, 2.0, 0.5]).double(),
        "criterion__ignore_index": 1,
    },
    "weights and smoothing": {
        "criterion": nn.CrossEntropyLoss,
        "criterion__weight": torch.tensor([1.0, 2.0, 0.5]).double(),
        "criterion__label_smoothing": 0.1,
    },
}


def softmax_head():
    return nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), nn.Softmax(1)
    ).double()


NETS = {
    name: trained_net(max_epochs=5, **settings) for name, settings in CRITERIA.items()
}
NETS["probabilities"] = make_net(softmax_head, criterion=nn.NLLLoss, max_epochs=5).fit(
    X, y
)


def expected_gradient_length(net, names):
    with torch.no_grad():
        proba = net.predict_proba(POOL)
    lengths = [
        total(reference(net, POOL, np.full(len(POOL), k)).sq_norm, names).sqrt().numpy()
        for k in range(3)
    ]
    return (proba * np.stack(lengths, axis=1)).sum(1)


@pytest.mark.parametrize(  # the layers of "probabilities" have other names
    "net, layers",
    [
        (net, layers)
        for net in NETS
        for layers in LAYERS
        if (net, layers) != ("probabilities", "body")
    ],
)
def test_expected_gradient_length(net, layers):
    names = (
        ["2.weight", "2.bias"]
        if net == "probabilities" and layers == "last"
        else LAYERS[layers]
    )
    sampler = EGLSampler(FrozenEstimator(NETS[net]), layers=layers, batch_size=8).fit(
        X, y
    )
    np.testing.assert_allclose(
        sampler.score_samples(POOL),
        expected_gradient_length(NETS[net], names),
        rtol=1e-9,
    )


@pytest.mark.parametrize("frozen", [None, "weight", "bias"])
def test_closed_form_of_the_head(frozen):
    net = trained_net(max_epochs=5)
    if frozen:
        getattr(net.module_.head, frozen).requires_grad_(False)
    names = [f"head.{own}" for own in ("weight", "bias") if own != frozen]
    scores = closed_form(net, POOL, 8)
    np.testing.assert_allclose(scores, expected_gradient_length(net, names), rtol=1e-10)
    by_engine = (
        EGLSampler(FrozenEstimator(net), layers="last", backend="ghost")
        .fit(X, y)
        .score_samples(POOL)
    )
    np.testing.assert_allclose(scores, by_engine, rtol=1e-10)


def convolutional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 4), nn.Flatten()
    ).double()


class Tied(nn.Module):
    """The head's weight is used once more."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 4)
        self.head.weight = self.first.weight
        self.double()

    def forward(self, x):
        return self.head(self.first(x).tanh())


@pytest.mark.parametrize(
    "module",
    [
        softmax_head,
        Tied,
        convolutional,
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3).double()),
    ],
)
def test_no_closed_form(module):
    assert closed_form(make_net(module).initialize(), POOL, 8) is None


def entropy_gradient(net, X, names):
    """Return the norms by plain autograd, one sample after the other."""
    module, norms = net.module_.eval(), []
    probabilities = net._get_predict_nonlinearity()
    for x in torch.as_tensor(X):
        entropy = torch.special.entr(probabilities(module(x[None]))).sum()
        parameters = dict(module.named_parameters())
        wanted = [parameters[name] for name in names or parameters]
        found = torch.autograd.grad(entropy, wanted, allow_unused=True)
        norms.append(
            sum(g.square().sum() for g in found if g is not None).sqrt().item()
        )
    return np.array(norms)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("backend", ["ghost", "functorch", "loop"])
def test_entropy_gradient(net, layers, backend):
    names = (
        (["2.weight", "2.bias"] if net == "probabilities" else LAYERS["last"])
        if layers == "last"
        else None
    )
    sampler = EntropyGradientSampler(
        FrozenEstimator(NETS[net]), layers=layers, backend=backend, batch_size=8
    ).fit(X, y)
    np.testing.assert_allclose(
        sampler.score_samples(POOL), entropy_gradient(NETS[net], POOL, names), rtol=1e-9
    )


def test_entropy_of_a_saturated_softmax():
    logits = torch.tensor(
        [[0.0, -2000.0, -800.0], [0.0, 0.0, 0.0]],
        dtype=torch.float64,
        requires_grad=True,
    )
    (gradient,) = torch.autograd.grad(
        predictive_entropy(logits.softmax(1)).sum(), logits
    )
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient[1], torch.zeros(3).double(), atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    "key, gamma", [("gradient_length", 0.0), ("influence", np.inf)]
)
def test_special_cases_of_dynamical(key, gamma):
    net = FrozenEstimator(NETS["cross entropy"])
    expected = make_sampler("dynamical", net, gamma=gamma).fit(X, y)
    actual = make_sampler(key, net).fit(X, y)
    assert actual.score_samples(POOL).tolist() == expected.score_samples(POOL).tolist()
    assert actual.query(POOL, 9).tolist() == expected.query(POOL, 9).tolist()
