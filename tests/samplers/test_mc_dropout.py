"""MCDropoutSampler: its scores by numpy, its masks, and what it refuses."""

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, y
from sklearn.frozen import FrozenEstimator
from torch import nn
from torchvision import models

from skdal.adapters import dropout_mask, open_net, over_dropout_passes, rest_of
from skdal.exceptions import InvalidParameterError, UnsupportedEstimatorError
from skdal.samplers import MCDropoutSampler

CRITERIA = {
    "bald": lambda p: entropy(p.mean(0)) - entropy(p).mean(0),
    "entropy": lambda p: entropy(p.mean(0)),
    "variation_ratio": lambda p: (
        1 - np.array([np.bincount(votes).max() for votes in p.argmax(2).T]) / len(p)
    ),
}


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def net_of(module, X=X, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_net(lambda: module, max_epochs=3).fit(X, y)


def dropout_everywhere():
    return nn.Sequential(
        nn.Dropout(0.2),
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.Tanh(),
        nn.Dropout(0.4),
        nn.Linear(8, 3),
    ).double()


def passes(net, pool=POOL, n_passes=7, seed=0):
    """Return the class probabilities (n_passes, n, K) of all passes."""
    parts = []

    def keep(proba):
        parts.append(proba)
        return proba[0, :, 0]

    over_dropout_passes(net, pool, n_passes, seed, keep)
    return torch.cat(parts, dim=1).numpy()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_scores(criterion):
    net = net_of(dropout_everywhere())
    sampler = MCDropoutSampler(
        FrozenEstimator(net), criterion=criterion, n_passes=7, random_state=0
    ).fit(X, y)
    from skdal.utils import query_generator

    proba = passes(net, seed=int(query_generator(0, 30).integers(2**32)))
    np.testing.assert_allclose(
        sampler.score_samples(POOL), CRITERIA[criterion](proba), rtol=1e-9, atol=1e-12
    )


def test_one_pass_has_no_disagreement():
    sampler = MCDropoutSampler(
        FrozenEstimator(net_of(dropout_everywhere())), n_passes=1
    ).fit(X, y)
    assert sampler.score_samples(POOL).tolist() == [0.0] * 41
    assert (
        sampler.set_params(criterion="variation_ratio").score_samples(POOL).tolist()
        == [0.0] * 41
    )


def test_masks_are_those_of_dropout():
    """With a body that passes ones, what comes out is the mask: 0, or 1 / (1 - p), and as often as
    p says."""
    head = nn.Linear(2000, 2000, bias=False)
    module = nn.Sequential(nn.Linear(4, 2000), nn.Dropout(0.3), head).double()
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.fill_(1.0)
        head.weight.copy_(torch.eye(2000))
    seen = []
    net = make_net(lambda: module).initialize()
    handle = head.register_forward_pre_hook(
        lambda part, args: seen.append(args[0].clone())
    )
    passes(net, POOL[:5], 4)
    handle.remove()
    masks = seen[3:]  # the first are passes in eval mode
    assert len(masks) == 4
    for mask in masks:
        assert (mask == mask[:1]).all()  # one for all samples
        np.testing.assert_allclose(mask.unique(), [0, 1 / 0.7])
        assert abs((mask[0] == 0).double().mean() - 0.3) < 0.04
    assert len({tuple(mask[0].tolist()) for mask in masks}) == 4


DROPOUTS = {
    "Dropout": (nn.Dropout(0.5), (6, 5)),
    "Dropout1d": (nn.Dropout1d(0.5), (6, 5, 4)),
    "Dropout2d": (nn.Dropout2d(0.5), (6, 5, 4, 3)),
    "Dropout3d": (nn.Dropout3d(0.5), (6, 5, 2, 4, 3)),
    "AlphaDropout": (nn.AlphaDropout(0.5), (6, 50)),
    "FeatureAlphaDropout": (nn.FeatureAlphaDropout(0.5), (6, 20, 4, 3)),
    "in place": (nn.Dropout(0.5, inplace=True), (6, 5)),
}


@pytest.mark.parametrize("kind", DROPOUTS)
def test_every_kind_of_dropout(kind):
    """The first sample is treated as torch does with the same seed; channels fall as a whole."""
    part, shape = DROPOUTS[kind]
    x = torch.randn(shape, dtype=torch.float64)
    kept, offset = dropout_mask(part, x, 0, (1, 2))
    part.train()
    torch.manual_seed(int(np.random.SeedSequence((1, 2)).generate_state(1)[0]))
    expected = part(x[:1].clone())
    torch.testing.assert_close(x[:1] * kept + offset, expected)


def test_all_else_is_in_eval_mode():
    module = nn.Sequential(
        nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Dropout(1e-12)
    ).double()
    net = net_of(module)
    expected = net.predict_proba(POOL)
    net.module_.train()
    np.testing.assert_allclose(passes(net)[0], expected, rtol=1e-9)
    assert net.module_.training  # as found


# --- the tail -------------------------------------------------------------------------------------


class Nested(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.classifier = nn.Sequential(
            nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 3)
        )
        self.scale = scale
        self.double()

    def forward(self, x):
        out = self.classifier(self.body(x))
        return out if self.scale == 1.0 else self.scale * out


def sequential():
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.ReLU(inplace=True),
        nn.Linear(8, 3),
    ).double()


class Twice(nn.Module):
    """Its tail runs twice, so it is not all that follows."""

    def __init__(self):
        super().__init__()
        self.tail = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4))
        self.double()

    def forward(self, x):
        return self.tail(self.tail(x))


TAILS = {
    "nested": (Nested, True),
    "sequential": (sequential, True),
    "scaled": (lambda: Nested(2.0), False),
    "twice": (Twice, False),
}


@pytest.mark.parametrize("kind", TAILS)
def test_only_the_tail_runs_again(kind, monkeypatch):
    make, is_tail = TAILS[kind]
    net = net_of(make())
    view = open_net(net)
    with view.reading():
        run, _ = rest_of(view, torch.as_tensor(POOL))
    assert (run is not None) == is_tail
    found = passes(net)
    monkeypatch.setattr(
        "skdal.adapters._dropout.rest_of",
        lambda view, inputs: (None, view.forward(inputs)),
    )
    np.testing.assert_allclose(found, passes(net), rtol=1e-12)


@pytest.mark.parametrize("name, n_calls", [("vgg11", 1), ("mobilenet_v3_small", 1)])
def test_the_body_of_torchvision_nets_runs_once(name, n_calls):
    module = models.get_model(name, weights=None, num_classes=3)
    net = make_net(lambda: module).initialize()
    calls = []
    module.features.register_forward_hook(lambda *_: calls.append(1))
    passes(net, np.zeros((2, 3, 32, 32), "float32"), 5)
    assert len(calls) == 2 + n_calls  # it is run twice to see where the sample is


# --- bad input ------------------------------------------------------------------------------------


def test_a_net_without_dropout():
    net = make_net(nn.Linear, module__in_features=4, module__out_features=3).fit(
        X.astype("float32"), y
    )
    with pytest.raises(
        UnsupportedEstimatorError,
        match="Linear.*no dropout layer.*Add torch.nn.Dropout",
    ):
        MCDropoutSampler()(net, POOL.astype("float32"), 3)
    with pytest.raises(UnsupportedEstimatorError, match="no dropout layer"):
        MCDropoutSampler(
            make_net(lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0)))
        ).fit(X.astype("float32"), y)


@pytest.mark.parametrize(
    "params, words",
    [
        (
            {"criterion": "var"},
            "criterion must be one of bald, entropy, variation_ratio; got 'var'",
        ),
        ({"n_passes": 0}, "n_passes must be an integer of at least 1; got 0"),
    ],
)
def test_wrong_parameters(params, words):
    with pytest.raises(InvalidParameterError, match=words):
        MCDropoutSampler(net_of(dropout_everywhere()), **params).fit(X, y)
