"""Nets that are not a body and a plain head: right scores, or a refusal, and nothing of the
caller's changed."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from common import POOL, X, make_net, trained_net, y
from sklearn.frozen import FrozenEstimator
from torch import nn
from torch.nn.utils import prune

from skdal.adapters import last_layer, module_output
from skdal.exceptions import InvalidDataError, UnsupportedEstimatorError
from skdal.samplers import (
    BADGESampler,
    ConfidenceSampler,
    CoresetSampler,
    EGLSampler,
    EntropyGradientSampler,
    MCDropoutSampler,
    closed_form,
    k_center,
    kmeans_plusplus,
    logit_gradients,
)


class Body(nn.Module):
    """A hidden layer and a head, which `call` puts together."""

    def __init__(self, call=lambda m, h: m.head(h), width=6, prepare=lambda m: None):
        super().__init__()
        self.body, self.head, self.call = nn.Linear(4, width), nn.Linear(width, 3), call
        prepare(self)
        self.double()

    def forward(self, x):
        return self.call(self, self.body(x).tanh())


def in_place(m, h):
    out = m.head(h)
    out /= 0.2
    return out


def elsewhere(m, h):
    weight = m.head.weight
    return m.head(F.linear(F.linear(h, weight), weight.T).tanh())


HEADS = {
    "in place": lambda: Body(in_place),
    "twice": lambda: Body(lambda m, h: m.head(m.head(h).tanh()), 3),
    "weight elsewhere": lambda: Body(elsewhere),
    "pruned": lambda: Body(
        prepare=lambda m: prune.l1_unstructured(m.head, "weight", 0.4)
    ),
    "own hook": lambda: Body(
        prepare=lambda m: m.head.register_forward_hook(lambda part, args, out: 3 * out)
    ),
    "frozen head": lambda: Body(prepare=lambda m: m.head.requires_grad_(False)),
    "plain": Body,
}


@pytest.mark.parametrize("kind", HEADS)
def test_egl_over_the_last_layer(kind):
    torch.manual_seed(0)
    net = make_net(HEADS[kind]).initialize()
    fast, slow = (
        EGLSampler(FrozenEstimator(net), layers="last", backend=b).fit(X, y)
        for b in ("auto", "loop")
    )
    np.testing.assert_allclose(
        fast.score_samples(POOL), slow.score_samples(POOL), rtol=1e-9
    )


@pytest.mark.parametrize("kind", HEADS)
def test_the_closed_form_is_for_plain_heads(kind):
    """Of a weight that is used elsewhere only the comparison with the engine tells."""
    found = closed_form(make_net(HEADS[kind]).initialize(), POOL, 8)
    assert (found is not None) == (kind in ("plain", "weight elsewhere"))


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.down, self.up = nn.Linear(6, 2), nn.Linear(2, 3)

    def forward(self, x):
        h = self.body(x).tanh()
        return self.head(h) + self.up(self.down(h))


class Auxiliary(LowRank):
    def forward(self, x):
        h = self.body(x).tanh()
        return self.head(h), self.up(self.down(h))  # the second runs last


def test_a_linear_that_is_not_the_head_is_not_taken_for_it():
    with pytest.raises(UnsupportedEstimatorError, match="do not come from a Linear"):
        last_layer(make_net(LowRank).initialize(), POOL.astype("float32"))


def test_the_head_of_the_first_of_several_outputs():
    assert last_layer(
        make_net(Auxiliary).initialize(), POOL.astype("float32")
    ).hidden.shape == (41, 6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_a_scale_after_the_head(scale):
    net = make_net(lambda: Body(lambda m, h: scale * m.head(h))).initialize()
    found = last_layer(net, POOL)
    np.testing.assert_allclose(found.proba, net.predict_proba(POOL), rtol=1e-9)
    assert found.hidden.shape == (41, 6)


OF_THE_HEAD = partial(EGLSampler, layers="last")
NO_SOFTMAX = [
    BADGESampler,
    EntropyGradientSampler,
    MCDropoutSampler,
    OF_THE_HEAD,
    ConfidenceSampler,
]


@pytest.mark.parametrize("make", NO_SOFTMAX)
def test_logits_are_not_taken_for_probabilities(make):
    net = trained_net(criterion=nn.MultiMarginLoss)
    with pytest.raises(
        UnsupportedEstimatorError, match="not probabilities.*predict_nonlinearity"
    ):
        make()(net, POOL, 3, X_labeled=X, y_labeled=y)


def test_the_output_of_a_module_before_an_operation_in_place():
    module = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)
    ).double()
    found = module_output(make_net(lambda: module).initialize(), POOL, "0")
    with torch.no_grad():
        torch.testing.assert_close(found, module[0](torch.as_tensor(POOL)))


# --- dropout --------------------------------------------------------------------------------------


class TimeFirst(nn.Module):
    """Positions come before samples at its dropout layers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3)
        self.head = nn.Linear(8, 3)
        self.double()

    def forward(self, x):
        return self.head(self.layer(self.embed(x[..., None]).transpose(0, 1)).mean(0))


class Flattened(nn.Module):
    """Its dropout layer sees a row a position."""

    def __init__(self):
        super().__init__()
        self.embed, self.drop, self.head = (
            nn.Linear(1, 5),
            nn.Dropout(0.4),
            nn.Linear(20, 3),
        )
        self.double()

    def forward(self, x):
        return self.head(self.drop(self.embed(x.reshape(-1, 1))).reshape(len(x), -1))


class DropConnect(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.head = nn.Dropout(0.4), nn.Linear(4, 3)
        self.double()

    def forward(self, x):
        return F.linear(x, self.drop(self.head.weight), self.head.bias)


class Always(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, True)


def always():
    return nn.Sequential(nn.Linear(4, 6), Always(0.4), nn.Linear(6, 3)).double()


class SideEffect(nn.Module):
    """Drops in place and does not look at what comes back."""

    def __init__(self):
        super().__init__()
        self.body, self.drop, self.head = (
            nn.Linear(4, 6),
            nn.Dropout(0.4, inplace=True),
            nn.Linear(6, 3),
        )
        self.double()

    def forward(self, x):
        h = self.body(x)
        self.drop(h)
        return self.head(h)


@pytest.mark.parametrize(
    "module", [TimeFirst, Flattened, DropConnect, always, SideEffect]
)
def test_masks_are_the_same_for_every_sample(module):
    net = make_net(module).initialize()
    sampler = MCDropoutSampler(FrozenEstimator(net), n_passes=5, random_state=0).fit(
        X, y
    )
    whole = sampler.score_samples(POOL)
    assert (whole > 1e-9).any()
    parts = [
        sampler.score_samples(POOL[a:b]) for a, b in ((0, 1), (1, 4), (4, 7), (7, 41))
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-9, atol=1e-15)
    assert np.ptp(sampler.score_samples(np.repeat(POOL[:1], 10, axis=0))) < 1e-12


class TailChanged(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.body, self.in_place = nn.Linear(4, 6), in_place
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
        self.double()

    def forward(self, x):
        out = self.classifier(self.body(x).tanh())
        if self.in_place:
            out /= 0.1
            return out
        return out / 0.1


def test_outputs_changed_in_place_after_the_tail():
    nets = [
        make_net(TailChanged, module__in_place=flag).initialize()
        for flag in (True, False)
    ]
    nets[0].module_.load_state_dict(nets[1].module_.state_dict())
    scores = [
        MCDropoutSampler(FrozenEstimator(net), random_state=0)
        .fit(X, y)
        .score_samples(POOL)
        for net in nets
    ]
    np.testing.assert_allclose(*scores, rtol=1e-9)


def test_without_a_random_state_a_fitted_sampler_scores_alike():
    sampler = MCDropoutSampler(FrozenEstimator(trained_net())).fit(X, y)
    whole = sampler.score_samples(POOL)
    np.testing.assert_allclose(
        np.concatenate(
            [sampler.score_samples(POOL[:9]), sampler.score_samples(POOL[9:])]
        ),
        whole,
    )
    assert not np.allclose(sampler.fit(X, y).score_samples(POOL), whole)


# --- numbers out of the ordinary ------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_coreset_at_any_scale(scale):
    sampler = CoresetSampler(
        FrozenEstimator(trained_net()),
        embedding=lambda net, X: (X * scale).astype("float32"),
    )
    expected = CoresetSampler(
        FrozenEstimator(trained_net()), embedding=lambda net, X: X.astype("float32")
    )
    indices, scores = sampler.fit(X, y).query(POOL, 8, return_scores=True)
    same, distances = expected.fit(X, y).query(POOL, 8, return_scores=True)
    assert indices.tolist() == same.tolist()
    np.testing.assert_allclose(scores, distances * scale, rtol=1e-5)


def test_autocast_of_the_caller_changes_nothing():
    net = FrozenEstimator(trained_net())
    for sampler in (
        CoresetSampler(net, embedding=lambda net, X: X.astype("float32")),
        BADGESampler(net, random_state=0),
    ):
        expected = sampler.fit(X, y).query(POOL, 20).tolist()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert sampler.query(POOL, 20).tolist() == expected


def test_badge_of_confident_samples():
    """1 - p loses its digits in float32, the sum of the other probabilities does not."""
    logits, h = (
        12 * torch.randn(300, 5, generator=torch.Generator().manual_seed(0)),
        torch.ones(300, 2),
    )
    wide = logit_gradients(logits.double().softmax(1))
    narrow = logit_gradients(logits.softmax(1))
    torch.testing.assert_close(narrow, wide, rtol=2e-5, atol=0)
    assert kmeans_plusplus(narrow, h, 5, np.random.default_rng(0))[0][0] == int(
        (wide.norm(dim=1)).argmax()
    )


def test_collapsed_representations_are_as_fast_as_others():
    zeros = torch.zeros(5000, 64)
    indices, scores = k_center(zeros, zeros[:300], 30, None)
    assert indices.tolist() == list(range(30))
    assert not scores.any()


def test_representations_of_two_dtypes_and_two_lengths():
    sampler = CoresetSampler(
        FrozenEstimator(trained_net()),
        embedding=lambda net, X: X.astype("f4" if len(X) > 35 else "f8"),
    )
    assert len(sampler.fit(X, y).query(POOL, 5)) == 5
    sampler.embedding = lambda net, X: X[:, : 2 if len(X) > 35 else 3]
    with pytest.raises(
        InvalidDataError, match="2 numbers in the pool and 3 in the labeled set"
    ):
        sampler.query(POOL, 5)


# --- modes of the caller --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [CoresetSampler, BADGESampler, MCDropoutSampler, OF_THE_HEAD]
)
def test_in_inference_mode(make):
    net = trained_net()

    def call():
        return make(random_state=0)(net, POOL, 6, X_labeled=X, y_labeled=y).tolist()

    expected = call()
    with torch.inference_mode():
        assert call() == expected


class Widening(nn.Module):
    """The second mini-batch has wider features."""

    def __init__(self):
        super().__init__()
        self.features, self.head, self.n = nn.Identity(), nn.Linear(4, 3), 0

    def forward(self, x):
        self.n += 1
        self.features(x[:, : 3 + self.n % 2])
        return self.head(x)


def test_nothing_stays_changed_while_an_error_is_held():
    net = make_net(Widening).initialize()
    net.module_.train()
    pool, before = np.zeros((300, 4), "float32"), torch.get_rng_state()
    with pytest.raises(InvalidDataError, match="one length") as held:
        module_output(net, pool, "features")
    assert held.value.__traceback__ is not None
    assert torch.is_grad_enabled()
    assert net.module_.training
    assert not net.module_.features._forward_hooks
    assert torch.equal(torch.get_rng_state(), before)
