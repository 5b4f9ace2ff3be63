"""Test cases as data: every layer with a rule, and whole nets, float64 and nowhere degenerate."""

import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
import torch.utils.checkpoint
from lanes import slow_unless
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torchvision import models

BACKENDS = ("auto", "ghost", "functorch", "loop")
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, eq=False)
class Case:
    """One net and its data.

    Attributes
    ----------
    id : str
        Name.
    module : callable
        Returns the module, in torch's own initialization.
    make_inputs : callable
        (n, generator) -> X.
    K : int
        Number of classes.
    n : int
        Number of samples to compare.
    settings : dict
        More arguments of the net.
    refused : tuple of str
        Backends that have to refuse the net when they are asked for by name.
    silent : tuple of str
        Trainable parameters that the loss does not depend on.
    heavy : bool
        Too large for all but the ghost backend.
    """

    id: str
    module: Callable
    make_inputs: Callable
    K: int = 5
    n: int = 6
    settings: dict = field(default_factory=dict)
    refused: tuple = ()
    silent: tuple = ()
    heavy: bool = False

    def make_net(self, seed=0):
        """Return an initialized skorch net in float64 with parameters drawn from `seed`."""
        settings = {"criterion": nn.CrossEntropyLoss, **self.settings}
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old weight_norm is deprecated
            torch.manual_seed(seed)
            net = NeuralNetClassifier(
                self.module, train_split=None, verbose=0, **settings
            ).initialize()
            net.module_.double()
            net.criterion_.double()
            redraw(net.module_)
        return net


def over(cases, usual=None):
    """Parametrize a test over problems; where the usual ones are named, the others are marked
    `slow`."""
    usual = cases if usual is None else usual
    return pytest.mark.parametrize(
        "problem",
        [slow_unless(case in usual, case) for case in cases],
        ids=lambda case: case.id,
        indirect=True,
    )


def some(cases, n=8):
    """Return about n cases, of all parts of the list."""
    return cases[:: max(1, len(cases) // n)]


def over_backends(cases, refused=False):
    """Parametrize a test over problems and the backends that have to be right, or have to refuse.

    Every problem meets the ghost backend, and every backend meets some problems; what is left is
    marked `slow`.
    """
    with_all = some(cases, 24)
    rows = [
        (case, backend)
        for case in cases
        for backend in (("ghost",) if case.heavy else BACKENDS)
        if (backend in case.refused) == refused
    ]
    ids = [f"{case.id}-{backend}" for case, backend in rows]
    return pytest.mark.parametrize(
        "problem, backend",
        [
            slow_unless(backend == "ghost" or case in with_all, case, backend)
            for case, backend in rows
        ],
        ids=ids,
        indirect=["problem"],
    )


def redraw(module):
    """Draw every parameter and running statistic anew, so that no share of the gradient is hidden
    or zero."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            scale = 0.3 if parameter.ndim < 2 else (2.0 / parameter[0].numel()) ** 0.5
            parameter.data.normal_(
                float(isinstance(part, NORMS) and name == "weight"), scale
            )
        if isinstance(part, _NormBase) and part.running_mean is not None:
            part.running_mean.normal_(0.0, 0.5)
            part.running_var.uniform_(1.0, 4.0)


def floats(*shape):
    """Return a maker of float64 arrays (n, *shape)."""
    return lambda n, generator: torch.randn(
        n, *shape, generator=generator, dtype=torch.float64
    ).numpy()


def tokens(vocabulary, *shape):
    """Return a maker of int64 arrays (n, *shape)."""
    return lambda n, generator: torch.randint(
        vocabulary, (n, *shape), generator=generator
    ).numpy()


class Probe(nn.Module):
    """The layer in question, a nonlinearity and a linear head."""

    def __init__(self, layer, example, K=5):
        super().__init__()
        self.layer = layer.double().eval()
        self.head = nn.Linear(self.layer(torch.as_tensor(example)).numel(), K)

    def forward(self, x):
        return self.head(self.layer(x).tanh().flatten(1))


def layer(id, make_inputs, cls, *args, refused=(), **kwargs):
    return Case(
        id,
        lambda: Probe(cls(*args, **kwargs), make_inputs(1, None)),
        make_inputs,
        refused=refused,
    )


LAYERS = [
    layer("linear", floats(7), nn.Linear, 7, 4),
    layer("linear-no-bias", floats(7), nn.Linear, 7, 4, bias=False),
    layer("linear-sequence", floats(12, 3), nn.Linear, 3, 2),
    layer("linear-short-sequence", floats(3, 30), nn.Linear, 30, 20),
    layer("linear-sequence-no-bias", floats(4, 6), nn.Linear, 6, 4, bias=False),
    layer("linear-grid", floats(2, 3, 5), nn.Linear, 5, 3),
    layer("linear-grid-no-bias", floats(2, 3, 5), nn.Linear, 5, 3, bias=False),
    layer("linear-one-position", floats(1, 5), nn.Linear, 5, 3),
    layer("linear-one-output", floats(3, 5), nn.Linear, 5, 1),
    layer("conv1d", floats(3, 9), nn.Conv1d, 3, 4, 3),
    layer(
        "conv1d-strided",
        floats(3, 12),
        nn.Conv1d,
        3,
        4,
        3,
        stride=2,
        padding=3,
        dilation=2,
    ),
    layer("conv1d-valid", floats(3, 9), nn.Conv1d, 3, 4, 3, padding="valid"),
    layer("conv1d-same-even", floats(3, 9), nn.Conv1d, 3, 4, 4, padding="same"),
    layer(
        "conv1d-reflect",
        floats(2, 7),
        nn.Conv1d,
        2,
        3,
        4,
        padding=2,
        padding_mode="reflect",
    ),
    layer("conv1d-depthwise", floats(4, 7), nn.Conv1d, 4, 4, 3, groups=4, bias=False),
    layer("conv2d", floats(3, 6, 6), nn.Conv2d, 3, 4, 3, padding=1),
    layer("conv2d-few-positions", floats(16, 3, 3), nn.Conv2d, 16, 24, 3, padding=1),
    layer("conv2d-many-positions", floats(2, 14, 14), nn.Conv2d, 2, 2, 3, padding=1),
    layer("conv2d-one-position", floats(3, 4, 4), nn.Conv2d, 3, 4, 4),
    layer("conv2d-no-bias", floats(3, 6, 5), nn.Conv2d, 3, 4, 3, bias=False),
    layer(
        "conv2d-strided",
        floats(3, 8, 9),
        nn.Conv2d,
        3,
        4,
        (3, 2),
        (2, 3),
        padding=(1, 0),
    ),
    layer(
        "conv2d-dilated",
        floats(3, 6, 6),
        nn.Conv2d,
        3,
        4,
        3,
        padding=(0, 2),
        dilation=(1, 2),
    ),
    layer(
        "conv2d-same",
        floats(3, 6, 7),
        nn.Conv2d,
        3,
        4,
        (4, 3),
        padding="same",
        dilation=(1, 2),
    ),
    layer("conv2d-valid", floats(3, 5, 6), nn.Conv2d, 3, 4, (2, 3), padding="valid"),
    layer(
        "conv2d-reflect",
        floats(3, 5, 6),
        nn.Conv2d,
        3,
        4,
        3,
        padding=(2, 1),
        padding_mode="reflect",
    ),
    layer(
        "conv2d-replicate",
        floats(3, 5, 6),
        nn.Conv2d,
        3,
        4,
        3,
        2,
        padding=(0, 2),
        padding_mode="replicate",
    ),
    layer(
        "conv2d-circular",
        floats(3, 5, 6),
        nn.Conv2d,
        3,
        4,
        3,
        padding=(2, 1),
        padding_mode="circular",
    ),
    layer(
        "conv2d-circular-same",
        floats(3, 5, 6),
        nn.Conv2d,
        3,
        4,
        (2, 3),
        padding="same",
        padding_mode="circular",
    ),
    layer("conv2d-groups", floats(4, 5, 5), nn.Conv2d, 4, 6, 3, padding=1, groups=2),
    layer(
        "conv2d-groups-strided",
        floats(6, 7, 6),
        nn.Conv2d,
        6,
        9,
        2,
        2,
        dilation=2,
        groups=3,
        bias=False,
    ),
    layer(
        "conv2d-groups-reflect",
        floats(4, 5, 5),
        nn.Conv2d,
        4,
        6,
        3,
        padding=1,
        groups=2,
        padding_mode="reflect",
    ),
    layer("conv2d-depthwise", floats(4, 5, 5), nn.Conv2d, 4, 4, 3, padding=1, groups=4),
    layer(
        "conv2d-depthwise-multiplied",
        floats(3, 7, 7),
        nn.Conv2d,
        3,
        6,
        3,
        stride=2,
        groups=3,
    ),
    layer("conv2d-1x1", floats(5, 4, 3), nn.Conv2d, 5, 4, 1),
    layer(
        "conv2d-1x1-strided", floats(5, 5, 4), nn.Conv2d, 5, 4, 1, stride=2, bias=False
    ),
    layer("conv2d-1x1-padded", floats(5, 3, 3), nn.Conv2d, 5, 4, 1, padding=1),
    layer("conv3d", floats(2, 4, 4, 3), nn.Conv3d, 2, 3, 2),
    layer(
        "conv3d-strided",
        floats(2, 3, 5, 4),
        nn.Conv3d,
        2,
        3,
        (2, 3, 1),
        (1, 2, 2),
        padding=(1, 0, 1),
    ),
    layer(
        "conv3d-dilated",
        floats(2, 3, 4, 3),
        nn.Conv3d,
        2,
        3,
        2,
        dilation=(1, 2, 1),
        padding="same",
        bias=False,
    ),
    layer(
        "conv3d-groups",
        floats(4, 3, 3, 2),
        nn.Conv3d,
        4,
        4,
        2,
        groups=2,
        padding=1,
        padding_mode="replicate",
    ),
    layer("batchnorm1d", floats(6), nn.BatchNorm1d, 6),
    layer("batchnorm1d-sequence", floats(6, 5), nn.BatchNorm1d, 6),
    layer("batchnorm1d-not-affine", floats(6), nn.BatchNorm1d, 6, affine=False),
    layer("batchnorm2d", floats(4, 3, 5), nn.BatchNorm2d, 4, eps=0.1),
    layer("batchnorm3d", floats(3, 2, 3, 2), nn.BatchNorm3d, 3, momentum=None),
    layer("layernorm", floats(6), nn.LayerNorm, 6),
    layer("layernorm-sequence", floats(4, 6), nn.LayerNorm, 6, eps=0.1),
    layer("layernorm-two-axes", floats(2, 3, 4), nn.LayerNorm, (3, 4)),
    layer("layernorm-all-axes", floats(2, 3, 4), nn.LayerNorm, (2, 3, 4)),
    layer("layernorm-no-bias", floats(4, 6), nn.LayerNorm, 6, bias=False),
    layer(
        "layernorm-not-affine", floats(4, 6), nn.LayerNorm, 6, elementwise_affine=False
    ),
    layer("groupnorm", floats(6, 4), nn.GroupNorm, 3, 6),
    layer("groupnorm-no-positions", floats(6), nn.GroupNorm, 2, 6, eps=0.1),
    layer("groupnorm-image", floats(6, 3, 2), nn.GroupNorm, 1, 6),
    layer("groupnorm-volume", floats(4, 2, 3, 2), nn.GroupNorm, 4, 4),
    layer("groupnorm-not-affine", floats(6, 4), nn.GroupNorm, 3, 6, affine=False),
    layer("instancenorm1d", floats(4, 5), nn.InstanceNorm1d, 4, affine=True),
    layer(
        "instancenorm1d-tracking",
        floats(4, 5),
        nn.InstanceNorm1d,
        4,
        affine=True,
        track_running_stats=True,
    ),
    layer(
        "instancenorm2d", floats(3, 4, 3), nn.InstanceNorm2d, 3, eps=0.1, affine=True
    ),
    layer(
        "instancenorm2d-tracking",
        floats(3, 4, 3),
        nn.InstanceNorm2d,
        3,
        affine=True,
        track_running_stats=True,
    ),
    layer("instancenorm2d-not-affine", floats(3, 4, 3), nn.InstanceNorm2d, 3),
    layer("instancenorm3d", floats(3, 2, 3, 2), nn.InstanceNorm3d, 3, affine=True),
    layer(
        "instancenorm3d-tracking",
        floats(3, 2, 1, 2),
        nn.InstanceNorm3d,
        3,
        affine=True,
        track_running_stats=True,
    ),
    layer("rmsnorm", floats(6), nn.RMSNorm, 6),
    layer("rmsnorm-sequence", floats(4, 6), nn.RMSNorm, 6, eps=0.1),
    layer("rmsnorm-two-axes", floats(2, 3, 4), nn.RMSNorm, (3, 4)),
    layer("rmsnorm-not-affine", floats(4, 6), nn.RMSNorm, 6, elementwise_affine=False),
    layer("prelu", floats(6), nn.PReLU),
    layer("prelu-image", floats(3, 4, 2), nn.PReLU),
    layer("prelu-per-feature", floats(6), nn.PReLU, 6),
    layer("prelu-per-channel", floats(4, 5), nn.PReLU, 4),
    layer("prelu-per-channel-image", floats(3, 4, 2), nn.PReLU, 3),
    layer("embedding", tokens(11), nn.Embedding, 11, 6),
    layer("embedding-sequence", tokens(11, 4), nn.Embedding, 11, 6),
    layer("embedding-repeated", tokens(3, 7), nn.Embedding, 3, 6),
    layer("embedding-grid", tokens(4, 2, 3), nn.Embedding, 4, 3),
    layer("embedding-padding", tokens(4, 6), nn.Embedding, 4, 6, padding_idx=0),
    layer(
        "embedding-padding-from-the-end",
        tokens(4, 6),
        nn.Embedding,
        4,
        6,
        padding_idx=-1,
    ),
    layer(
        "embedding-sparse",
        tokens(5, 6),
        nn.Embedding,
        5,
        6,
        sparse=True,
        refused=("functorch",),
    ),
    layer("bag-mean", tokens(11, 4), nn.EmbeddingBag, 11, 6),
    layer("bag-mean-repeated", tokens(3, 7), nn.EmbeddingBag, 3, 6),
    layer("bag-mean-padding", tokens(4, 3), nn.EmbeddingBag, 4, 6, padding_idx=0),
    layer("bag-one-token", tokens(11, 1), nn.EmbeddingBag, 11, 6),
    layer("bag-sum", tokens(11, 4), nn.EmbeddingBag, 11, 6, mode="sum"),
    layer("bag-sum-repeated", tokens(3, 7), nn.EmbeddingBag, 3, 6, mode="sum"),
    layer(
        "bag-sum-padding",
        tokens(4, 6),
        nn.EmbeddingBag,
        4,
        6,
        mode="sum",
        padding_idx=-1,
    ),
    layer("bag-max", tokens(11, 4), nn.EmbeddingBag, 11, 6, mode="max"),
    layer(
        "bag-max-padding",
        tokens(4, 3),
        nn.EmbeddingBag,
        4,
        6,
        mode="max",
        padding_idx=3,
    ),
    layer(
        "bag-sparse",
        tokens(5, 6),
        nn.EmbeddingBag,
        5,
        6,
        mode="sum",
        sparse=True,
        refused=("functorch",),
    ),
]


def paired(id, call, make_inputs, parts, **kwargs):
    """Return a case of a layer that takes several inputs, which `call` makes of one."""
    return Case(
        id,
        lambda: Probe(Apply(call, **parts()), make_inputs(1, None)),
        make_inputs,
        **kwargs,
    )


def mlp(*widths):
    layers = [
        part
        for a, b in zip(widths, widths[1:])
        for part in (nn.Linear(a, b), nn.ReLU())
    ]
    return nn.Sequential(*layers[:-1])


class Apply(nn.Module):
    """Named parts and a forward pass written as a function of (parts, inputs)."""

    def __init__(self, call, **parts):
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.call(self, x)


def halves(m, x):
    return m.layer(x[..., :4], x[..., 4:])


def bilinear_parts(**kwargs):
    return lambda: {"layer": nn.Bilinear(4, 3, 5, **kwargs)}


def bag_parts(**kwargs):
    """A bag of learned weights, as attention pooling has them."""
    return lambda: {
        "layer": nn.EmbeddingBag(4, 6, mode="sum", **kwargs),
        "score": nn.Embedding(4, 1),
    }


LAYERS += [
    paired("bilinear", halves, floats(7), bilinear_parts()),
    paired("bilinear-no-bias", halves, floats(7), bilinear_parts(bias=False)),
    paired("bilinear-sequence", halves, floats(6, 7), bilinear_parts()),
    paired("bilinear-grid", halves, floats(2, 3, 7), bilinear_parts()),
    paired(
        "bilinear-by-keyword",
        lambda m, x: m.layer(input2=x[:, 4:], input1=x[:, :4]),
        floats(7),
        bilinear_parts(),
    ),
    paired(
        "bilinear-of-itself",
        lambda m, x: m.layer(x, x),
        floats(4),
        lambda: {"layer": nn.Bilinear(4, 4, 5)},
    ),
    paired(
        "bag-fixed-weights",
        lambda m, x: m.layer(
            x, per_sample_weights=torch.arange(6.0).double().cos().expand(len(x), 6)
        ),
        tokens(4, 6),
        lambda: {"layer": nn.EmbeddingBag(4, 6, mode="sum")},
    ),
    paired(
        "bag-learned-weights",
        lambda m, x: m.layer(x, None, m.score(x).tanh().squeeze(-1)),
        tokens(4, 6),
        bag_parts(),
    ),
    paired(
        "bag-learned-weights-padding",
        lambda m, x: m.layer(x, per_sample_weights=m.score(x).tanh().squeeze(-1)),
        tokens(4, 6),
        bag_parts(padding_idx=1),
    ),
]


def recurrent(
    id, cls, call=lambda m, x: m.layer(x)[0], parts=dict, batch_first=True, **kwargs
):
    """Return a case of a recurrent layer on sequences of five vectors of three numbers."""

    def make():
        return {"layer": cls(3, 4, batch_first=batch_first, **kwargs), **parts()}

    return paired(id, call, floats(5, 3), make, refused=("functorch",))


def last_state(m, x):
    """The last hidden state of every layer and direction."""
    state = m.layer(x)[1]
    return (state[0] if isinstance(state, tuple) else state).transpose(0, 1)


def everything(m, x):
    steps, state = m.layer(x)
    state = state if isinstance(state, tuple) else (state,)
    return torch.cat(
        [steps.flatten(1), *(s.transpose(0, 1).flatten(1) for s in state)], dim=1
    )


def time_first(m, x):
    return m.layer(x.transpose(0, 1))[0].transpose(0, 1)


def started(m, x):
    """From a state that depends on the sample."""
    state = m.start(x[:, 0]).unflatten(1, (-1, 4)).transpose(0, 1).contiguous()
    return m.layer(x, (state, state.tanh()) if isinstance(m.layer, nn.LSTM) else state)[
        0
    ]


def start_of(n_sides):
    return lambda: {"start": nn.Linear(3, 4 * n_sides)}


DEEP = {"num_layers": 2, "bidirectional": True, "dropout": 0.4}
LAYERS += [
    recurrent("lstm", nn.LSTM),
    recurrent("lstm-deep", nn.LSTM, **DEEP),
    recurrent("lstm-no-bias", nn.LSTM, bias=False),
    recurrent("lstm-projected", nn.LSTM, everything, proj_size=2),
    recurrent("lstm-projected-deep", nn.LSTM, proj_size=2, bias=False, **DEEP),
    recurrent("lstm-time-first", nn.LSTM, time_first, batch_first=False, **DEEP),
    recurrent("lstm-last-state", nn.LSTM, last_state, **DEEP),
    recurrent("lstm-last-step", nn.LSTM, lambda m, x: m.layer(x)[0][:, -1]),
    recurrent("lstm-last-cell", nn.LSTM, lambda m, x: m.layer(x)[1][1].transpose(0, 1)),
    recurrent("lstm-everything", nn.LSTM, everything, **DEEP),
    recurrent("lstm-given-state", nn.LSTM, started, start_of(4), **DEEP),
    recurrent(
        "lstm-of-itself", nn.LSTM, lambda m, x: m.layer(x[:, :3], m.layer(x)[1])[0]
    ),
    recurrent("gru", nn.GRU),
    recurrent("gru-deep", nn.GRU, everything, **DEEP),
    recurrent("gru-no-bias", nn.GRU, bias=False),
    recurrent("gru-time-first", nn.GRU, time_first, batch_first=False),
    recurrent("gru-last-state", nn.GRU, last_state, **DEEP),
    recurrent("gru-given-state", nn.GRU, started, start_of(1)),
    recurrent("rnn", nn.RNN),
    recurrent("rnn-relu-deep", nn.RNN, everything, nonlinearity="relu", **DEEP),
    recurrent("rnn-no-bias", nn.RNN, last_state, bias=False),
    recurrent("rnn-time-first", nn.RNN, time_first, batch_first=False),
    recurrent("rnn-given-state", nn.RNN, started, start_of(4), **DEEP),
]


def attention(
    id,
    call=lambda m, x: m.layer(x, x, x, need_weights=False)[0],
    batch_first=True,
    **kwargs,
):
    """Return a case of attention, two heads on sequences of five vectors of four numbers."""
    return paired(
        id,
        call,
        floats(5, 4),
        lambda: {
            "layer": nn.MultiheadAttention(4, 2, batch_first=batch_first, **kwargs)
        },
    )


def attending(**kwargs):
    """Self-attention; arguments may be functions of the inputs."""

    def call(m, x):
        given = {
            name: value(x) if callable(value) else value
            for name, value in kwargs.items()
        }
        return m.layer(x, x, x, **{"need_weights": False, **given})[0]

    return call


def with_weights(average):
    def call(m, x):
        mixed, weights = m.layer(x, x, x, average_attn_weights=average)
        return torch.cat([mixed.flatten(1), 3 * weights.flatten(1)], dim=1)

    return call


def asking(make_value=torch.clone, **kwargs):
    """Two positions ask the other three."""

    def call(m, x):
        given = {
            name: value(x) if callable(value) else value
            for name, value in kwargs.items()
        }
        keys = x[:, 2:]
        values = keys if make_value is None else make_value(keys)
        return m.layer(x[:, :2], keys, values, **{"need_weights": False, **given})[0]

    return call


def attention_time_first(m, x):
    x = x.transpose(0, 1)
    mixed, weights = m.layer(x, x, x)
    return torch.cat([mixed.transpose(0, 1).flatten(1), weights.flatten(1)], dim=1)


def asking_time_first(m, x):
    x = x.transpose(0, 1)
    return m.layer(x[:2], x[2:], x[2:].tanh())[0].transpose(0, 1)


def of_two_widths(m, x):
    return m.layer(x, x[:, 1:, :3], x[:, 1:, :2])[0]


CAUSAL = torch.ones(5, 5).triu(1).bool()
SLOPE = torch.arange(25.0).reshape(5, 5).double().cos()


def padding(x):
    return (x[:, :, 0] > 0.3) & (torch.arange(x.shape[1]) > 1)


def each_head(x):
    return (
        torch.stack([x[:, :, 0] > 0.5, x[:, :, 1] > 0.5], 1).flatten(0, 1)[:, None]
        & CAUSAL
    )


LAYERS += [
    attention("attention"),
    attention("attention-no-bias", bias=False),
    attention("attention-weights-unused", attending(need_weights=True)),
    attention("attention-weights", with_weights(average=True)),
    attention("attention-weights-by-head", with_weights(average=False)),
    attention("attention-time-first", attention_time_first, batch_first=False),
    attention("attention-causal", attending(attn_mask=CAUSAL)),
    attention("attention-causal-hint", attending(attn_mask=CAUSAL, is_causal=True)),
    attention("attention-slope", attending(attn_mask=SLOPE, need_weights=True)),
    attention("attention-mask-by-head", attending(attn_mask=each_head)),
    attention("attention-padding", attending(key_padding_mask=padding)),
    attention(
        "attention-padding-float",
        attending(key_padding_mask=lambda x: x[:, :, 1].detach()),
    ),
    attention(
        "attention-masks",
        attending(attn_mask=CAUSAL, key_padding_mask=padding, need_weights=True),
    ),
    attention(
        "attention-added-keys",
        attending(attn_mask=CAUSAL, key_padding_mask=padding),
        add_bias_kv=True,
    ),
    attention("attention-added-zeros", attending(attn_mask=SLOPE), add_zero_attn=True),
    attention(
        "attention-added-both",
        with_weights(average=True),
        add_bias_kv=True,
        add_zero_attn=True,
        bias=False,
    ),
    attention("cross-attention", asking(None)),
    attention("cross-attention-of-three", asking(torch.tanh, need_weights=True)),
    attention(
        "cross-attention-masks",
        asking(attn_mask=CAUSAL[1:3, :3], key_padding_mask=lambda x: padding(x)[:, :3]),
    ),
    attention(
        "cross-attention-time-first",
        asking_time_first,
        batch_first=False,
        add_bias_kv=True,
    ),
    attention("cross-attention-widths", of_two_widths, kdim=3, vdim=2),
    attention(
        "cross-attention-widths-no-bias",
        of_two_widths,
        kdim=3,
        vdim=2,
        bias=False,
        add_zero_attn=True,
    ),
]


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.image = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(4 + 27, 5)

    def forward(self, ids, pixels):
        return self.head(
            torch.cat(
                [self.words(ids).mean(1), self.image(pixels).tanh().flatten(1)], dim=1
            )
        )


class Residual(nn.Module):
    """In-place activation and in-place addition, as torchvision writes them."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(x))
        out += x
        return self.head(self.relu(out).mean((2, 3)))


class Doubled(nn.Linear):
    """A subclass with a forward pass of its own, which Linear's rule does not describe."""

    def forward(self, x):
        return 2 * super().forward(x)


def encoder(**kwargs):
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, dropout=0.2, **kwargs)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def vgg11():
    with torch.device("meta"):  # `redraw` draws its 129 million weights
        net = models.vgg11(num_classes=10)
    return net.to_empty(device="cpu")


def vgg11_narrow():
    """All but the two widest layers of vgg11."""
    with torch.device("meta"):
        net = models.vgg11(num_classes=10)
    net.classifier[0], net.classifier[3], net.classifier[6] = (
        nn.Linear(*s) for s in [(25088, 8), (8, 9), (9, 10)]
    )
    return net.to_empty(device="cpu")


def tied():
    net = mlp(6, 6, 6, 5)
    net[2].weight = net[0].weight
    return net


def tied_decoder():
    parts = Apply(
        lambda m, x: m.out(m.words(x).tanh().mean(1)),
        words=nn.Embedding(9, 6),
        out=nn.Linear(6, 9),
    )
    parts.out.weight = parts.words.weight
    return parts


def registered_twice():
    layer = nn.Linear(6, 6)
    return Apply(
        lambda m, x: m.head(m.b(m.a(x).tanh()).tanh()),
        a=layer,
        b=layer,
        head=nn.Linear(6, 5),
    )


def frozen(module, *prefixes):
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not name.startswith(prefixes))
    return module


def hooked():
    net = mlp(6, 6, 5)
    net[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    return net


def weight_normed(wrap):
    return nn.Sequential(wrap(nn.Linear(6, 7)), nn.Tanh(), wrap(nn.Linear(7, 5)))


def rows(m, x):
    """One Linear over (n * T) rows."""
    return m.head(m.layer(x.reshape(-1, 6)).tanh().reshape(len(x), -1))


def sequence_first(m, x):
    return m.head(m.layer(x.transpose(0, 1)).tanh().mean(0))


def stacked(m, x):
    """Both halves of every sample in one batch of 2n: sample i is rows i and n + i."""
    a, b = m.layer(torch.cat([x[:, :6], x[:, 6:]])).tanh().chunk(2)
    return m.head(a * b)


def prototypes(m, x):
    """A layer run on a constant of K rows, which are no samples."""
    return x @ m.layer(m.points.detach()).tanh().T


def positions(m, x):
    """Learned positions without a batch axis, added to every sample."""
    return m.head((m.words(x) + m.places(torch.arange(x.shape[1]))).tanh().flatten(1))


def without_grad(m, x):
    with torch.no_grad():
        x = m.layer(x)
    return m.head(x.tanh())


def sliced(m, x):
    """A part of a layer's output changed in place, the whole cut up."""
    h = m.layer(x)
    h[:, :2] *= 3
    q, k, v = h.chunk(3, dim=1)
    return m.head(q.tanh() * k + v)


def checkpointed(m, x):
    return m.head(
        torch.utils.checkpoint.checkpoint(m.layer, x, use_reentrant=False).tanh()
    )


class Power(nn.Module):
    """A parameter in an operation of its own."""

    def __init__(self):
        super().__init__()
        self.exponent = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (1 + x.abs()) ** self.exponent


class Rare(nn.Module):
    """Layers that are seldom used, and one that no rule is written for."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.ConvTranspose2d(2, 4, 3),
            nn.GroupNorm(2, 4),
            nn.PReLU(),
            Power(),
            nn.Flatten(),
        )
        self.head = nn.Bilinear(64, 64, 5)

    def forward(self, x):
        h = self.body(x)
        return self.head(h, h.tanh())


WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0], dtype=torch.float64)
NO_GHOST = ("ghost",)
LOOP_ONLY = ("ghost", "functorch")


def mlp_case(id, module=lambda: mlp(6, 8, 5), **kwargs):
    return Case(id, module, floats(6), **kwargs)


def apply_case(id, call, make_inputs, parts, **kwargs):
    return Case(id, lambda: Apply(call, **parts()), make_inputs, **kwargs)


def linear_parts():
    return {"layer": nn.Linear(6, 6), "head": nn.Linear(6, 5)}


NETS = [
    # criteria
    mlp_case(
        "probabilities",
        lambda: nn.Sequential(mlp(6, 8, 5), nn.Softmax(1)),
        settings={"criterion": nn.NLLLoss},
    ),
    mlp_case("class-weights", settings={"criterion__weight": WEIGHTS}),
    mlp_case("label-smoothing", settings={"criterion__label_smoothing": 0.2}),
    mlp_case(
        "smoothed-and-weighted",
        settings={"criterion__label_smoothing": 0.1, "criterion__weight": WEIGHTS},
    ),
    mlp_case(
        "margin-loss",
        settings={
            "criterion": nn.MultiMarginLoss,
            "criterion__p": 2,
            "criterion__margin": 9.0,
        },
    ),
    # architectures
    Case(
        "resnet18",
        lambda: models.resnet18(num_classes=10),
        floats(3, 32, 32),
        K=10,
        n=2,
    ),
    Case("vgg11", vgg11, floats(3, 32, 32), K=10, n=1, heavy=True),
    Case("vgg11-narrow", vgg11_narrow, floats(3, 32, 32), K=10, n=2),
    apply_case(
        "transformer",
        lambda m, x: m.head(m.encoder(m.words(x)).mean(1)),
        tokens(9, 6),
        lambda: {
            "words": nn.Embedding(9, 8),
            "encoder": encoder(batch_first=True),
            "head": nn.Linear(8, 5),
        },
    ),
    apply_case(
        "transformer-on-floats",  # with every parameter frozen, torch would take its fused path
        lambda m, x: m.head(m.encoder(x).mean(1)),
        floats(4, 8),
        lambda: {"encoder": encoder(batch_first=True), "head": nn.Linear(8, 5)},
    ),
    apply_case(
        "transformer-sequence-first",
        lambda m, x: m.head(m.encoder(x.transpose(0, 1)).mean(0)),
        floats(4, 8),
        lambda: {"encoder": encoder(norm_first=True), "head": nn.Linear(8, 5)},
        refused=NO_GHOST,
    ),
    apply_case(
        "gru",
        lambda m, x: m.head(m.gru(m.words(x))[0][:, -1]),
        tokens(9, 5),
        lambda: {
            "words": nn.Embedding(9, 6),
            "gru": nn.GRU(6, 7, batch_first=True),
            "head": nn.Linear(7, 5),
        },
        refused=("functorch",),
    ),
    apply_case(
        "scripted",
        lambda m, x: m.head(m.layer(x).tanh()),
        floats(6),
        lambda: {"layer": torch.jit.script(nn.Linear(6, 6)), "head": nn.Linear(6, 5)},
        refused=LOOP_ONLY,
    ),
    Case("residual-in-place", Residual, floats(3, 6, 6)),
    Case("rare-layers", Rare, floats(2, 2, 2)),
    # inputs and outputs
    Case(
        "towers",
        Towers,
        lambda n, generator: {
            "pixels": floats(2, 5, 5)(n, generator),
            "ids": tokens(9, 3)(n, generator),
        },
    ),
    apply_case(
        "tuple-output",
        lambda m, x: (m.head(m.layer(x).tanh()), m.aux(x)),
        floats(6),
        lambda: linear_parts() | {"aux": nn.Linear(6, 5)},
        silent=("aux.weight", "aux.bias"),
    ),
    # one parameter, several uses
    apply_case(
        "used-twice",
        lambda m, x: m.head(m.layer(m.layer(x).tanh()).tanh()),
        floats(6),
        linear_parts,
    ),
    apply_case(
        "used-at-two-shapes",
        lambda m, x: m.head(m.layer(x).tanh().sum(1) + m.layer(x.mean(1)).tanh()),
        floats(4, 6),
        linear_parts,
    ),
    apply_case(
        "conv-used-at-two-scales",
        lambda m, x: m.head(
            m.conv(x).tanh().mean((2, 3)) + m.conv(x[..., ::2, ::2]).tanh().mean((2, 3))
        ),
        floats(3, 6, 6),
        lambda: {"conv": nn.Conv2d(3, 4, 2), "head": nn.Linear(4, 5)},
    ),
    apply_case(
        "norms-used-twice",
        lambda m, x: m.head(m.norm(m.bn(m.norm(m.bn(x)).tanh()))),
        floats(6),
        lambda: {
            "norm": nn.LayerNorm(6),
            "bn": nn.BatchNorm1d(6),
            "head": nn.Linear(6, 5),
        },
    ),
    apply_case(
        "embedding-used-twice",
        lambda m, x: m.head(m.words(x[:, :2]).mean(1) * m.words(x[:, 2:]).mean(1)),
        tokens(4, 5),
        lambda: {"words": nn.Embedding(4, 6), "head": nn.Linear(6, 5)},
    ),
    mlp_case("registered-twice", registered_twice),
    mlp_case("tied", tied),
    Case("tied-decoder", tied_decoder, tokens(9, 4), K=9, refused=NO_GHOST),
    # parameters outside layers with a rule
    apply_case(
        "bare-parameter",
        lambda m, x: m.head(m.layer(x) * m.scale),
        floats(6),
        lambda: linear_parts() | {"scale": nn.Parameter(torch.ones(6))},
    ),
    apply_case(
        "used-functionally",
        lambda m, x: m.head(nn.functional.linear(x, m.layer.weight).tanh()),
        floats(6),
        linear_parts,
        silent=("layer.bias",),
    ),
    apply_case(
        "called-and-used-functionally",
        lambda m, x: m.head(m.layer(x).tanh() @ m.layer.weight.T),
        floats(6),
        linear_parts,
        refused=NO_GHOST,
    ),
    mlp_case(
        "weight-norm", lambda: weight_normed(nn.utils.parametrizations.weight_norm)
    ),
    mlp_case("weight-norm-old", lambda: weight_normed(nn.utils.weight_norm)),
    mlp_case(
        "subclass", lambda: nn.Sequential(Doubled(6, 6), nn.Tanh(), nn.Linear(6, 5))
    ),
    mlp_case("user-hook", hooked),
    # parameters without a gradient
    mlp_case("frozen-backbone", lambda: frozen(mlp(6, 8, 7, 5), "0.", "2.")),
    mlp_case("frozen-weight", lambda: frozen(mlp(6, 8, 5), "0.weight", "2.bias")),
    Case(
        "frozen-norm",
        lambda: frozen(Residual(), "bn1.weight", "bn2", "conv1"),
        floats(3, 6, 6),
    ),
    apply_case(
        "unused-head",
        lambda m, x: m.head(m.layer(x).tanh()),
        floats(6),
        lambda: linear_parts() | {"aux": nn.Linear(6, 5)},
        silent=("aux.weight", "aux.bias"),
    ),
    apply_case(
        "detached-body",
        lambda m, x: m.head(m.layer(x).detach().tanh()),
        floats(6),
        linear_parts,
        silent=("layer.weight", "layer.bias"),
    ),
    apply_case(
        "no-grad-body",
        without_grad,
        floats(6),
        linear_parts,
        silent=("layer.weight", "layer.bias"),
    ),
    # layouts
    apply_case(
        "rows",
        rows,
        floats(3, 6),
        lambda: {"layer": nn.Linear(6, 4), "head": nn.Linear(12, 5)},
        refused=NO_GHOST,
    ),
    apply_case(
        "sequence-first", sequence_first, floats(3, 6), linear_parts, refused=NO_GHOST
    ),
    apply_case("stacked", stacked, floats(12), linear_parts, refused=NO_GHOST),
    apply_case(
        "sliced-in-place",
        sliced,
        floats(6),
        lambda: {"layer": nn.Linear(6, 12), "head": nn.Linear(4, 5)},
    ),
    apply_case(
        "called-by-keyword",
        lambda m, x: m.head(m.layer(input=x).tanh()),
        floats(6),
        linear_parts,
    ),
    apply_case(
        "channels-last",
        lambda m, x: m.head(
            m.conv(x.contiguous(memory_format=torch.channels_last)).tanh().mean((2, 3))
        ),
        floats(3, 5, 5),
        lambda: {"conv": nn.Conv2d(3, 4, 3, padding=1), "head": nn.Linear(4, 5)},
        refused=("functorch",),
    ),
    apply_case(
        "bag-of-offsets",
        lambda m, x: m.head(
            m.bag(x.flatten(), torch.arange(len(x)) * x.shape[1]).tanh()
        ),
        tokens(9, 3),
        lambda: {"bag": nn.EmbeddingBag(9, 6), "head": nn.Linear(6, 5)},
        refused=NO_GHOST,
    ),
    apply_case(
        "checkpointed", checkpointed, floats(6), linear_parts, refused=("functorch",)
    ),
]

# A bag for every token: the first axis has the length of the mini-batch.
NETS += [
    apply_case(
        "bag-of-one",
        lambda m, x: m.head(m.bag(x, torch.arange(len(x))).tanh()),
        tokens(9),
        lambda: {"bag": nn.EmbeddingBag(9, 6), "head": nn.Linear(6, 5)},
        refused=NO_GHOST,
    ),
]


class Unruled(nn.Module):
    """A parameter in an operation of its own, and a forward pass written as a function of (module,
    inputs)."""

    def __init__(self, call):
        super().__init__()
        self.call, self.power = call, nn.Parameter(torch.ones(6))

    def forward(self, *args, **kwargs):
        return self.call(self, *args, **kwargs)


class Tempered(nn.Module):
    """A parameter without axes, in an operation of its own."""

    def __init__(self, call):
        super().__init__()
        self.call, self.power = call, nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.call(self, x)


class TimeFirst(Unruled):
    batch_first = False


class OwnLSTM(nn.LSTM):
    """A subclass, of which nothing is assumed."""


class Packing(nn.Module):
    """A recurrent layer on sequences of several lengths."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        lengths = 2 + (x[:, 0, 0] > 0).long()
        return self.gru(
            nn.utils.rnn.pack_padded_sequence(
                x, lengths, batch_first=True, enforce_sorted=False
            )
        )[1][0]


class Grouped(dict):
    """Outputs by name and by attribute, as language models give them."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        setattr(self, key, value)


Fork = namedtuple("Fork", "left right size")


def raised(m, x):
    return (1 + x.abs()) ** m.power


def raised_in_place(m, x):
    h = x.clone()
    h[:, :4] *= 2
    h = h.abs_().add_(1) ** m.power + 0
    h[:, 0].mul_(3)
    return h


def raised_if_finite(m, x):
    """A branch on values, which torch.func cannot trace."""
    if not x.isfinite().all():
        raise ValueError("not finite")
    return raised(m, x)


def mapped(m, x, table, scale, mode, flag=None):
    """With a table for all samples, as masks are, and arguments that are no tensors."""
    assert (mode, flag) == ("soft", None)
    return scale * raised(m, x @ table).log().softmax(-1) @ table


def forked(m, x):
    return Fork(raised(m, x).tanh(), raised(m, -x[:, :3].repeat(1, 2)).T, len(x))


def grouped(m, x):
    group = Grouped()
    group["hidden"], group["unused"], group["rest"] = (
        raised(m, x).tanh(),
        raised(m, 2 * x),
        (m.power.detach(), "text"),
    )
    return group


def alone(id, call, inner=raised, cls=Unruled, shape=(6,), **kwargs):
    """Return a case of a module without a rule between two linear layers."""

    def parts():
        return {
            "layer": nn.Linear(6, 6),
            "odd": cls(inner),
            "head": nn.Linear(6, 5),
        }

    return apply_case(f"alone-{id}", call, floats(*shape), parts, **kwargs)


class Hooked(Unruled):
    """Its hooks change what it gets and gives."""

    def __init__(self, call):
        super().__init__(call)
        self.register_forward_pre_hook(lambda module, args: (3 * args[0],))
        self.register_forward_hook(
            lambda module, args, output: output.log() * output.sqrt()
        )


def between(m, x):
    """One module in the middle, its output through a sigmoid."""
    return m.head(m.odd(m.layer(x)).reciprocal())


def with_table(m, x):
    return m.head(m.odd(m.layer(x), SLOPE6, scale=x[:, :1], mode="soft"))


def stateful(m, x):
    """What the module works with is no argument."""
    m.odd.context = x.detach().cos()
    return m.head(m.odd(m.layer(x)).tanh())


def of_fork(m, x):
    fork = m.odd(m.layer(x))
    return m.head(fork.left * fork[1].T.cos())


def of_transposed(m, x):
    return m.head(
        m.odd(m.layer(x).transpose(0, 1)).transpose(0, 1).reciprocal().mean(1)
    )


def direct(id, call, *shape, inputs=(4, 6)):
    """Return a case of a parameter that operations take."""

    def parts():
        return {**linear_parts(), "scale": nn.Parameter(torch.ones(shape))}

    return apply_case(f"direct-{id}", call, floats(*inputs), parts)


def class_token(m, x):
    return m.head(
        torch.cat([m.scale.expand(len(x), -1, -1), m.layer(x)], dim=1).tanh().prod(1)
    )


def in_windows(m, x):
    windows = m.layer(x).unflatten(1, (2, 2)).flatten(0, 1)
    return m.head((windows + m.scale).tanh().unflatten(0, (-1, 2)).mean((1, 2)))


def stepping(m, x):
    """A loop over a cell, by hand."""
    state = None
    for t in range(x.shape[1]):
        state = m.cell(x[:, t], state)
    return m.head(state[0] if isinstance(state, tuple) else state)


def decoder(m, x):
    return m.head(
        m.decoder(x[:, :2], m.layer(x[:, 2:]), tgt_mask=CAUSAL[:2, :2]).mean(1)
    )


def decoder_parts(**kwargs):
    def make():
        return nn.TransformerDecoderLayer(
            6, 2, dim_feedforward=7, batch_first=True, **kwargs
        )

    return lambda: {**linear_parts(), "decoder": make()}


def own_lstm_time_first(m, x):
    steps, (state, cell) = m.layer(x.transpose(0, 1))
    return m.head(steps.mean(0) * state[0].cos() + cell[0])


def lstm_parts(head, **kwargs):
    return lambda: {"layer": OwnLSTM(3, 4, **kwargs), "head": nn.Linear(head, 5)}


SLOPE6 = torch.arange(36.0).reshape(6, 6).double().cos()
NO_RECURRENT = ("functorch",)
NETS += [
    # parameters that operations take
    direct("class-token", class_token, 1, 1, 6),
    direct(
        "repeated",
        lambda m, x: m.head((m.layer(x) - m.scale.repeat(len(x), 1, 1)).tanh().mean(1)),
        4,
        6,
    ),
    direct(
        "slice",
        lambda m, x: m.head((m.layer(x) + m.scale[:, 1:5]).tanh().mean(1)),
        1,
        6,
        6,
    ),
    direct(
        "index",
        lambda m, x: m.head(
            (m.layer(x) - m.scale[torch.tensor([2, 0, 0, 1])]).tanh().mean(1)
        ),
        3,
        6,
    ),
    direct(
        "view",
        lambda m, x: m.head((m.layer(x) * m.scale.t().reshape(1, 4, 6)).tanh().mean(1)),
        6,
        4,
    ),
    direct(
        "softplus",
        lambda m, x: m.head(m.layer(x) / nn.functional.softplus(m.scale)),
        6,
        inputs=(6,),
    ),
    direct(
        "divided",
        lambda m, x: m.head(m.scale.exp() / (2 + m.layer(x).tanh())),
        6,
        inputs=(6,),
    ),
    direct(
        "one-entry",
        lambda m, x: m.head(torch.add(m.layer(x), m.scale, alpha=3).tanh()),
        1,
        inputs=(6,),
    ),
    direct("no-axes", lambda m, x: m.head(m.layer(x) * m.scale), inputs=(6,)),
    direct(
        "no-axes-exp",
        lambda m, x: m.head(m.layer(x) * m.scale.exp() + m.scale),
        inputs=(6,),
    ),
    direct(
        "twice",
        lambda m, x: m.head((m.scale * m.layer(x)).tanh() - m.scale.sigmoid()),
        6,
        inputs=(6,),
    ),
    direct(
        "in-place",
        lambda m, x: m.head(m.layer(x).mul_(m.scale).add_(m.scale).tanh()),
        6,
        inputs=(6,),
    ),
    direct("in-windows", in_windows, 1, 2, 6),
    # modules without a rule
    alone("in-place", between, raised_in_place),
    alone("no-axes", between, cls=Tempered),
    alone(
        "no-axes-untraceable",
        between,
        raised_if_finite,
        cls=Tempered,
        refused=("functorch",),
    ),
    alone("untraceable", between, raised_if_finite, refused=("functorch",)),
    alone("with-table", with_table, mapped),
    alone("fork", of_fork, forked),
    alone("group", lambda m, x: m.head(m.odd(m.layer(x)).hidden), grouped),
    alone(
        "largest",
        lambda m, x: m.head(m.odd(m.layer(x)).values),
        lambda m, x: raised(m, x).reshape(-1, 6, 1).max(2),
    ),
    alone("twice", lambda m, x: m.head(m.odd(m.odd(m.layer(x)).log()).reciprocal())),
    alone("by-keyword", lambda m, x: m.head(m.odd(x=m.layer(x)).reciprocal())),
    alone("hooked", between, cls=Hooked),
    alone("time-first", of_transposed, cls=TimeFirst, shape=(4, 6)),
    alone(
        "stateful", stateful, lambda m, x: raised(m, x) * m.context, refused=NO_GHOST
    ),
    alone(
        "output-of-all",
        lambda m, x: m.head(m.odd(m.layer(x))[0] * m.odd(x)[1]),
        lambda m, x: (raised(m, x).tanh(), m.power.exp()),
        refused=NO_GHOST,
    ),
    apply_case(
        "lstm-cell",
        stepping,
        floats(3, 6),
        lambda: {"cell": nn.LSTMCell(6, 4), "head": nn.Linear(4, 5)},
        refused=NO_RECURRENT,
    ),
    apply_case(
        "gru-cell",
        stepping,
        floats(3, 6),
        lambda: {"cell": nn.GRUCell(6, 4), "head": nn.Linear(4, 5)},
        refused=NO_RECURRENT,
    ),
    apply_case(
        "own-lstm",
        lambda m, x: m.head(everything(m, x).tanh()),
        floats(5, 3),
        lstm_parts(72, batch_first=True, **DEEP),
        refused=NO_RECURRENT,
    ),
    apply_case(
        "own-lstm-time-first",
        own_lstm_time_first,
        floats(5, 3),
        lstm_parts(4),
        refused=NO_RECURRENT,
    ),
    apply_case(
        "packed-alone",
        lambda m, x: m.head(m.layer(x)),
        floats(3, 3),
        lambda: {"layer": Packing(), "head": nn.Linear(4, 5)},
        refused=NO_RECURRENT,
    ),
    apply_case(
        "packed",
        lambda m, x: m.head(Packing.forward(m, x)),
        floats(3, 3),
        lambda: {"gru": nn.GRU(3, 4, batch_first=True), "head": nn.Linear(4, 5)},
        refused=LOOP_ONLY,
    ),
    # attention in nets
    apply_case("transformer-decoder", decoder, floats(5, 6), decoder_parts()),
    apply_case(
        "transformer-decoder-norm-first",
        decoder,
        floats(5, 6),
        decoder_parts(norm_first=True, bias=False),
    ),
]

# An axis that is not the sample is as long as the mini-batch: no shape tells them apart, only
# numbers do.
TRAPS = [
    apply_case("sequence-first", sequence_first, floats(6, 6), linear_parts),
    apply_case(
        "prototypes",
        prototypes,
        floats(6),
        lambda: {
            "layer": nn.Linear(4, 6),
            "points": nn.Parameter(torch.ones(6, 4), requires_grad=False),
        },
        K=6,
    ),
    apply_case(
        "positions",
        positions,
        tokens(9, 6),
        lambda: {
            "words": nn.Embedding(9, 3),
            "places": nn.Embedding(6, 3),
            "head": nn.Linear(18, 5),
        },
    ),
]
