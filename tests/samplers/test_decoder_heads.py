"""Heads that run at every token: BADGE's embeddings and Coreset's representations of decoders,
against autograd."""

import numpy as np
import pytest
import torch
from common import make_net
from needs import needs
from reference import badge, k_center_greedy
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdal.adapters import last_layer
from skdal.exceptions import UnsupportedEstimatorError
from skdal.samplers import BADGESampler, CoresetSampler, EGLSampler
from skdal.utils import query_generator

N, PAD, VOCABULARY, K = 30, 0, 20, 3
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 7, N)
IDS = np.where(
    np.arange(6) < LENGTHS[:, None], RNG.integers(1, VOCABULARY, (N, 6)), PAD
)
y = np.arange(N) % K


class Decoder(nn.Module):
    """The head runs at every token; `pick` makes the outputs (n, K) of what it gives (n, t, K)."""

    def __init__(self, pick=None, K=K):
        super().__init__()
        self.pick = pick or last_token
        self.words, self.rnn = (
            nn.Embedding(VOCABULARY, 8),
            nn.GRU(8, 8, batch_first=True),
        )
        self.score = nn.Linear(8, K, bias=False)
        self.double()

    def forward(self, ids):
        return self.pick(self.score(self.rnn(self.words(ids))[0]), ids)


def last_token(logits, ids):
    """That before the padding, as GPT-2, Llama and Qwen have it."""
    return logits[
        torch.arange(len(ids)),
        (ids != PAD).long().mul(torch.arange(ids.shape[1])).argmax(1),
    ]


def mean_of_tokens(logits, ids):
    mask = (ids != PAD)[..., None].to(logits)
    return (logits * mask).sum(1) / mask.sum(1)


PICKS = {
    "last column": lambda logits, ids: logits[:, -1],
    "last token": last_token,
    "mean of tokens": mean_of_tokens,
    "scaled": lambda logits, ids: 3 * last_token(logits, ids),
    "in place": lambda logits, ids: last_token(logits.mul_(2), ids).add_(1),
}


def weight_gradients(net, ids):
    """Return each sample's gradient by the head's weight, under its own label, by autograd (n, K *
    d)."""
    module, rows = net.module_.eval(), []
    for row in ids:
        outputs = module(torch.as_tensor(row[None]))
        loss = nn.functional.cross_entropy(outputs, outputs.argmax(1))
        rows.append(torch.autograd.grad(loss, module.score.weight)[0].flatten())
    return torch.stack(rows).numpy()


def embeddings(net, ids):
    """Return (p - e) (x) h of what BADGE takes from the net."""
    hidden, proba = last_layer(net, ids)
    u = proba.double() - nn.functional.one_hot(proba.argmax(1), proba.shape[1])
    return torch.einsum("nk,nd->nkd", u, hidden.double()).flatten(1).numpy()


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize(
    "pick", [name for name in PICKS if name not in ("scaled", "in place")]
)
def test_embeddings_are_gradients(pick, n_classes):
    net = make_net(Decoder, module__pick=PICKS[pick], module__K=n_classes).initialize()
    np.testing.assert_allclose(
        embeddings(net, IDS), weight_gradients(net, IDS), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        embeddings(net, IDS[:1]), weight_gradients(net, IDS[:1]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("pick", ["scaled", "in place"])
def test_a_scale_behind_the_head_is_left_out(pick):
    """As it is of heads that run once: a representation is the head's input."""
    net = make_net(Decoder, module__pick=PICKS[pick]).initialize()
    found = last_layer(net, IDS).hidden
    net.module_.pick = last_token
    torch.testing.assert_close(found, last_layer(net, IDS).hidden)


def test_badge_and_coreset():
    net = make_net(Decoder, module__pick=last_token).initialize()
    picks, scores = (
        BADGESampler(FrozenEstimator(net), random_state=4)
        .fit(IDS[:5], y[:5])
        .query(IDS, 9, return_scores=True)
    )
    expected = badge(weight_gradients(net, IDS), 9, query_generator(4, 5))
    assert picks.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-8)
    with torch.no_grad():
        module = net.module_.eval()
        h = module.rnn(module.words(torch.as_tensor(IDS)))[0]
        h = h[torch.arange(N), torch.as_tensor(LENGTHS) - 1].numpy()
    picks = CoresetSampler(FrozenEstimator(net)).fit(IDS[:5], y[:5]).query(IDS, 9)
    assert picks.tolist() == k_center_greedy(h, h[:5], 9)[0]


def test_expected_gradient_length_goes_by_the_engine():
    net = make_net(Decoder, module__pick=mean_of_tokens).initialize()
    sampler = EGLSampler(FrozenEstimator(net), layers="last").fit(IDS[:5], y[:5])
    closed = sampler.score_samples(IDS)
    np.testing.assert_allclose(
        closed, sampler.set_params(backend="loop").score_samples(IDS), rtol=1e-6
    )


REFUSED = {
    "largest": lambda logits, ids: logits.amax(1),
    "gated": lambda logits, ids: (logits * logits.sigmoid()).sum(1),
    "of the neighbour": lambda logits, ids: logits[:, -1].roll(1, 0),
}


@pytest.mark.parametrize("pick", REFUSED)
def test_what_is_no_sum_of_positions_is_refused(pick):
    net = make_net(Decoder, module__pick=REFUSED[pick]).initialize()
    words = (
        r"not come from a Linear at one position: score gives \(30, 6, 3\).*embedding= the "
        r"name of one of words"
    )
    with pytest.raises(UnsupportedEstimatorError, match=words):
        BADGESampler(FrozenEstimator(net)).fit(IDS, y).query(IDS, 2)
    sampler = CoresetSampler(FrozenEstimator(net), embedding="score").fit(IDS, y)
    assert len(sampler.query(IDS, 2)) == 2


def test_damaged_samples_are_told():
    net = make_net(Decoder).initialize()
    with torch.no_grad():
        net.module_.words.weight[7] = torch.nan
    ids = IDS.copy()
    ids[ids == 7] = 8
    ids[3, 0] = 7
    with pytest.raises(ValueError, match="1 of 30.*3"):
        BADGESampler(FrozenEstimator(net)).fit(ids[4:], y[4:]).query(ids, 2)


# --- transformers
# -----------------------------------------------------------------------------------

SMALL = {"vocab_size": VOCABULARY, "num_labels": K, "pad_token_id": PAD}
WIDE = SMALL | {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
CONFIGS = {
    "GPT2": SMALL | {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8},
    "Llama": WIDE | {"num_key_value_heads": 1},
    "Qwen2": WIDE | {"num_key_value_heads": 1},
}


class Logits(nn.Module):
    def __init__(self, name):
        super().__init__()
        transformers = needs("transformers")
        config = getattr(transformers, f"{name}Config")(**CONFIGS[name])
        self.net = getattr(transformers, f"{name}ForSequenceClassification")(
            config
        ).double()
        self.score = self.net.score

    def forward(self, ids):
        return self.net(input_ids=ids, attention_mask=(ids != PAD).long()).logits


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers(name):
    needs("transformers")
    net = make_net(Logits, module__name=name).initialize()
    with torch.no_grad():
        net.module_.score.weight.normal_()
    np.testing.assert_allclose(
        embeddings(net, IDS), weight_gradients(net, IDS), rtol=1e-6, atol=1e-9
    )
    assert len(BADGESampler(FrozenEstimator(net)).fit(IDS, y).query(IDS, 3)) == 3
