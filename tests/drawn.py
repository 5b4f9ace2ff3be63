"""Layers with a rule in all their options, and small nets of them, as hypothesis draws them."""

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from cases import redraw
from hypothesis import strategies as st
from torch import nn

WIDTH = 211  # values of a sample; what needs more takes them over and over
RECURRENT = ("RNN", "LSTM", "GRU")
# What these give is not to be changed in place: torch refuses it of LSTM, and the engine where it
# is a view.
KEPT = ("LSTM", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "Bilinear")


@dataclass(frozen=True)
class Part:
    """A layer of a net and how it is used.

    Attributes
    ----------
    cls : str
        Its class in `torch.nn`.
    options : dict
        Arguments of the class.
    shapes : tuple of tuple of int
        Of its inputs without the sample axis, one entry a use.
    call : dict
        How it is called, where there is a choice.
    in_series : bool
        Whether the second use takes what the first gave.
    activation : str
        Of its outputs, in `ACTIVATIONS`.
    """

    cls: str
    options: dict
    shapes: tuple
    call: dict = field(default_factory=dict)
    in_series: bool = False
    activation: str = "tanh"


@dataclass(frozen=True)
class Draw:
    """A net, its samples, and what is asked of them.

    Attributes
    ----------
    parts : tuple of Part
        The net's layers.
    n, seed, dtype, channels_last
        Of the samples; parameters and direction come from the seed, too.
    own_labels : bool
        Whether each sample's label is the predicted one.
    wanted : {"both", "norm", "dot"}
        Which statistics.
    scored : tuple of int
        Which parameters count, modulo their number; all if empty.
    freeze : bool
        Whether the others are frozen, or left out by `layers`.
    chunk : int
        Values that a chunk of samples may have.
    """

    parts: tuple
    n: int
    seed: int
    dtype: str
    channels_last: bool
    own_labels: bool
    wanted: str
    scored: tuple
    freeze: bool
    chunk: int


# --- what hypothesis draws ------------------------------------------------------------------------

small, flags = st.integers(1, 3), st.booleans()


def draws(parts):
    """Draw problems whose nets have the drawn `parts`."""
    return st.builds(
        Draw,
        parts=parts,
        n=st.sampled_from([4, 1, 2, 3, 5]),
        seed=st.integers(0, 2**16),
        dtype=st.sampled_from(["float64", "float64", "float64", "float32"]),
        channels_last=flags,
        own_labels=flags,
        wanted=st.sampled_from(["both", "both", "norm", "dot"]),
        scored=st.lists(st.integers(0, 7), max_size=2).map(tuple),
        freeze=flags,
        chunk=st.sampled_from([2**40, 1, 100, 1000]),
    )


@st.composite
def parts(draw, cls):
    """Draw a layer of a class and its uses."""
    options, shape, call = draw(OPTIONS[cls])
    first = draw(shape)
    shapes = draw(st.sampled_from([(first,), (first, first), None])) or (
        first,
        draw(shape),
    )
    activation = draw(
        st.sampled_from(["tanh", "relu", "identity"] + ["relu_"] * (cls not in KEPT))
    )
    return Part(cls, options, shapes, call, len(shapes) > 1 and draw(flags), activation)


def space(n_axes, low=1, high=4):
    return st.tuples(*[st.integers(low, high)] * n_axes)


def spaces(least, most):
    return st.integers(least, most).flatmap(space)


def shaped(channels, sizes):
    return sizes.map(lambda sizes: (channels, *sizes))


@st.composite
def linear(draw):
    options = {
        "in_features": draw(st.integers(1, 5)),
        "out_features": draw(st.integers(1, 4)),
        "bias": draw(flags),
    }
    shape = spaces(0, 3).map(lambda positions: (*positions, options["in_features"]))
    return options, shape, {}


# By number of spatial axes: the largest kernel, dilation, padding, and size above the smallest that
# works.
MOST = {1: (5, 3, 4, 6), 2: (4, 3, 3, 4), 3: (3, 2, 1, 2)}


@st.composite
def convolution(draw, n_axes):
    kernels, dilations, paddings, spread = MOST[n_axes]
    groups, kernel, dilation = (
        draw(small),
        draw(space(n_axes, 1, kernels)),
        draw(space(n_axes, 1, dilations)),
    )
    padding = draw(
        st.one_of(space(n_axes, 0, paddings), st.sampled_from(["same", "valid"]))
    )
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    options = {
        "in_channels": groups * draw(small),
        "out_channels": groups * draw(small),
        "kernel_size": kernel,
        "stride": (1,) * n_axes if padding == "same" else draw(space(n_axes, 1, 4)),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(flags),
        "padding_mode": mode,
    }
    lows = [
        _smallest(mode, k, step, pad)
        for k, step, pad in zip(kernel, dilation, _pads(options))
    ]
    sizes = st.tuples(*(st.integers(low, low + spread) for low in lows))
    return options, shaped(options["in_channels"], sizes), {}


def _pads(options):
    if options["padding"] == "same":
        return [
            step * (k - 1) / 2
            for k, step in zip(options["kernel_size"], options["dilation"])
        ]
    return (
        [0] * len(options["kernel_size"])
        if options["padding"] == "valid"
        else options["padding"]
    )


def _smallest(mode, kernel, dilation, pad):
    """Return the size of the smallest axis that a padding mode and a kernel allow."""
    least = {"reflect": math.ceil(pad) + (pad > 0), "circular": math.ceil(pad)}.get(
        mode, 1
    )
    return max(1, least, int(dilation * (kernel - 1) + 1 - 2 * pad))


@st.composite
def transposed_convolution(draw, n_axes):
    kernels, dilations, paddings, spread = MOST[n_axes]
    groups, kernel, dilation = (
        draw(small),
        draw(space(n_axes, 1, kernels)),
        draw(space(n_axes, 1, dilations)),
    )
    stride, padding = draw(space(n_axes, 1, 3)), draw(space(n_axes, 0, paddings))
    extra = st.tuples(
        *(st.integers(0, max(steps) - 1) for steps in zip(stride, dilation))
    )
    options = {
        "in_channels": groups * draw(small),
        "out_channels": groups * draw(small),
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "output_padding": draw(extra),
        "dilation": dilation,
        "groups": groups,
        "bias": draw(flags),
    }
    axes = list(zip(kernel, stride, dilation, padding))
    lows = [1 + max(0, math.ceil((2 * pad - d * (k - 1)) / s)) for k, s, d, pad in axes]
    sizes = st.tuples(*(st.integers(low, low + max(1, spread - 2)) for low in lows))
    above = draw(st.none() | st.tuples(*(st.integers(0, s - 1) for s in stride)))
    return options, shaped(options["in_channels"], sizes), {"above_smallest": above}


def smallest_output(options, sizes):
    """Return the sizes that a transposed convolution gives without output padding."""
    axes = zip(
        sizes,
        options["kernel_size"],
        options["stride"],
        options["dilation"],
        options["padding"],
    )
    return [(size - 1) * s - 2 * pad + d * (k - 1) + 1 for size, k, s, d, pad in axes]


@st.composite
def batch_norm(draw, n_axes):
    channels = draw(small)
    sizes = spaces(0, 1) if n_axes == 1 else space(n_axes)
    return (
        {"num_features": channels, "eps": draw(st.sampled_from([1e-5, 0.1]))},
        shaped(channels, sizes),
        {},
    )


@st.composite
def layer_norm(draw, cls):
    shape = draw(
        spaces(1, 2).filter(lambda shape: math.prod(shape) > 1)
    )  # one value alone is always normalised to 0
    options = {"normalized_shape": shape, "eps": draw(st.sampled_from([1e-5, 0.1]))}
    options |= (
        {"bias": draw(flags)}
        if cls is nn.LayerNorm
        else {"eps": draw(st.sampled_from([None, 1e-5, 0.1]))}
    )
    return options, spaces(0, 2).map(lambda positions: (*positions, *shape)), {}


@st.composite
def group_norm(draw):
    groups, channels = draw(small), draw(small)
    options = {
        "num_groups": groups,
        "num_channels": groups * channels,
        "eps": draw(st.sampled_from([1e-5, 0.1])),
    }
    # torch refuses groups of one value
    return (
        options,
        shaped(groups * channels, spaces(0, 3)).filter(
            lambda shape: math.prod(shape) > groups
        ),
        {},
    )


@st.composite
def instance_norm(draw, n_axes):
    channels, tracking = draw(small), draw(flags)
    options = {
        "num_features": channels,
        "eps": draw(st.sampled_from([1e-5, 0.1])),
        "affine": True,
    }
    options["track_running_stats"] = tracking
    shape = shaped(channels, space(n_axes)).filter(
        lambda shape: tracking or math.prod(shape[1:]) > 1
    )
    return options, shape, {}


@st.composite
def embedding(draw):
    vocabulary = draw(st.integers(1, 5))
    padding = draw(st.none() | st.integers(-vocabulary, vocabulary - 1))
    options = {
        "num_embeddings": vocabulary,
        "embedding_dim": draw(small),
        "padding_idx": padding,
    }
    return options | {"sparse": draw(flags)}, spaces(0, 3), {}


@st.composite
def embedding_bag(draw):
    (options, _, _), mode = (
        draw(embedding()),
        draw(st.sampled_from(["sum", "mean", "max"])),
    )
    options |= {"mode": mode, "sparse": options["sparse"] and mode != "max"}
    return options, space(1, 1, 6), {"weighted": mode == "sum" and draw(flags)}


@st.composite
def prelu(draw):
    channels = draw(small)
    return (
        {"num_parameters": draw(st.sampled_from([1, channels]))},
        shaped(channels, spaces(0, 2)),
        {},
    )


@st.composite
def bilinear(draw):
    options = {
        "in1_features": draw(small),
        "in2_features": draw(small),
        "out_features": draw(small),
    }
    return options | {"bias": draw(flags)}, spaces(0, 2), {}


@st.composite
def recurrent(draw, cls):
    width = draw(small)
    options = {
        "input_size": draw(small),
        "hidden_size": width,
        "num_layers": draw(st.integers(1, 2)),
        "bias": draw(flags),
        "batch_first": draw(flags),
        "bidirectional": draw(flags),
    }
    options |= (
        {"nonlinearity": draw(st.sampled_from(["tanh", "relu"]))}
        if cls is nn.RNN
        else {}
    )
    options |= {"proj_size": draw(st.integers(0, width - 1))} if cls is nn.LSTM else {}
    used = st.lists(
        st.integers(0, 2 if cls is nn.LSTM else 1), min_size=1, max_size=2, unique=True
    )
    call = {"outputs": tuple(draw(used)), "with_state": draw(flags)}
    return (
        options,
        st.integers(1, 5).map(lambda length: (length, options["input_size"])),
        call,
    )


# Class to what is drawn of it: (options, strategy of shapes, call), see `Part`.
OPTIONS = {
    "Linear": linear(),
    **{f"Conv{n}d": convolution(n) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": transposed_convolution(n) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": batch_norm(n) for n in (1, 2, 3)},
    **{f"InstanceNorm{n}d": instance_norm(n) for n in (1, 2, 3)},
    "LayerNorm": layer_norm(nn.LayerNorm),
    "RMSNorm": layer_norm(nn.RMSNorm),
    "GroupNorm": group_norm(),
    "Embedding": embedding(),
    "EmbeddingBag": embedding_bag(),
    "PReLU": prelu(),
    "Bilinear": bilinear(),
    **{cls: recurrent(getattr(nn, cls)) for cls in RECURRENT},
}

any_part = st.sampled_from(sorted(OPTIONS)).flatmap(parts)


# --- what is made of it ---------------------------------------------------------------------------

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "relu_": torch.relu_,
    "identity": lambda x: x,
}


class Net(nn.Module):
    """Layers of any input shapes, one after the other, and a fixed linear map to K outputs."""

    def __init__(self, parts, channels_last=False, K=3):
        super().__init__()
        self.parts, self.channels_last, self.K = parts, channels_last, K
        self.layers = nn.ModuleList(
            getattr(nn, part.cls)(**part.options) for part in parts
        )

    def forward(self, source):
        """Return (n, K) for samples (n, WIDTH)."""
        x = source
        for part, layer in zip(self.parts, self.layers):
            x = self._run(part, layer, x, source)
        width = x.shape[1]
        return (
            x
            @ torch.arange(1, width * self.K + 1)
            .double()
            .cos()
            .reshape(width, self.K)
            .to(x)
            / width**0.5
        )

    def _run(self, part, layer, x, source):
        found = []
        for use, shape in enumerate(part.shapes):
            given = found[-1] if part.in_series and found else x
            feed, feed_exactly = (
                partial(self._fed, z, source, 7 * use) for z in (given, source)
            )
            outputs = CALLS.get(part.cls, plain)(part, layer, shape, feed, feed_exactly)
            found.append(
                torch.cat(
                    [ACTIVATIONS[part.activation](y).flatten(1) for y in outputs], dim=1
                )
            )
        # An embedding reads the samples themselves, so what came before goes around it.
        return torch.cat(found + [x] * part.cls.startswith("Embedding"), dim=1)

    def _fed(self, x, source, offset, *shape):
        """Return (n, *shape) of x over and over, with the samples so that no normalisation cancels
        it."""
        index = torch.arange(offset, offset + math.prod(shape))
        values = (
            x[:, index % x.shape[1]] * source[:, (index + WIDTH // 2) % WIDTH]
            + source[:, index % WIDTH]
        )
        values = values.reshape(len(x), *shape)
        return (
            values.movedim(1, -1).contiguous().movedim(-1, 1)
            if self.channels_last and shape
            else values
        )


def plain(part, layer, shape, feed, feed_exactly):
    return [layer(feed(*shape))]


def call_transposed(part, layer, shape, feed, feed_exactly):
    above = part.call["above_smallest"]
    if above is None:
        return [layer(feed(*shape))]
    sizes = [
        size + more
        for size, more in zip(smallest_output(part.options, shape[1:]), above)
    ]
    return [layer(feed(*shape), output_size=sizes)]


def tokens(part, shape, feed_exactly):
    """Return integers that no rounding can change: they come from the samples alone."""
    return (feed_exactly(*shape) * 64).abs().long() % part.options["num_embeddings"]


def call_embedding(part, layer, shape, feed, feed_exactly):
    return [layer(tokens(part, shape, feed_exactly))]


def call_bag(part, layer, shape, feed, feed_exactly):
    weights = feed(*shape) if part.call["weighted"] else None
    return [layer(tokens(part, shape, feed_exactly), per_sample_weights=weights)]


def call_bilinear(part, layer, shape, feed, feed_exactly):
    return [
        layer(
            feed(*shape, layer.in1_features), feed(*shape, layer.in2_features).flip(-1)
        )
    ]


def call_recurrent(part, layer, shape, feed, feed_exactly):
    x = feed(*shape)
    state = _state(layer, feed) if part.call["with_state"] else None
    sequence, last = layer(x if layer.batch_first else x.transpose(0, 1), state)
    outputs = [sequence if layer.batch_first else sequence.transpose(0, 1)]
    outputs += [
        value.transpose(0, 1)
        for value in (last if isinstance(last, tuple) else (last,))
    ]
    return [outputs[i] for i in part.call["outputs"]]


def _state(layer, feed):
    sides = layer.num_layers * (1 + layer.bidirectional)
    h = feed(sides, layer.proj_size or layer.hidden_size).transpose(0, 1).contiguous()
    return (
        (h, feed(sides, layer.hidden_size).transpose(0, 1).contiguous())
        if isinstance(layer, nn.LSTM)
        else h
    )


CALLS = {
    **{f"ConvTranspose{n}d": call_transposed for n in (1, 2, 3)},
    "Embedding": call_embedding,
    "EmbeddingBag": call_bag,
    "Bilinear": call_bilinear,
    **dict.fromkeys(RECURRENT, call_recurrent),
}


def made(draw):
    """Return the net in eval mode, its samples (n, WIDTH), labels (n,) and a direction of all
    parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.seed)
        net = Net(draw.parts, draw.channels_last).double()
        redraw(net)
        X = (
            torch.randn(draw.n, WIDTH) * 64
        ).round() / 64  # products of two are exact in float32, see `tokens`
        y = torch.randint(net.K, (draw.n,))
        direction = {
            name: torch.randn(p.shape).double() for name, p in net.named_parameters()
        }
    dtype = getattr(torch, draw.dtype)
    return net.to(dtype).eval(), X.to(dtype), y, direction


# --- bare parameters
# --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """A use of a parameter that no layer owns.

    Attributes
    ----------
    shape : tuple of int
        Of what it meets, without the sample axis.
    function : str
        What is made of the parameter before, in `FUNCTIONS`.
    operation : str
        How it meets the rest, in `OPERATIONS`.
    """

    shape: tuple
    function: str
    operation: str


@dataclass(frozen=True)
class Bare:
    """A net with a parameter that no layer owns, and its samples.

    Attributes
    ----------
    shape : tuple of int
        Of the parameter.
    uses : tuple of Use
        One after the other.
    is_inside : bool
        Whether a module of its own holds the parameter and its uses.
    n, seed : int
        Number of samples; what samples and parameters are drawn from.
    """

    shape: tuple
    uses: tuple
    is_inside: bool
    n: int
    seed: int


@st.composite
def bares(draw):
    """Draw a parameter of up to four axes, and uses that it broadcasts in, or is broadcast in."""
    shape = draw(spaces(0, 4).filter(lambda shape: math.prod(shape) <= 12))
    uses = draw(st.lists(uses_of(shape), min_size=1, max_size=3).map(tuple))
    return Bare(
        shape,
        uses,
        draw(flags),
        draw(st.sampled_from([4, 1, 2, 3, 5])),
        draw(st.integers(0, 2**16)),
    )


@st.composite
def uses_of(draw, shape):
    # Axes of size 1 may lie on the sample axis and before it; the others meet axes of the samples.
    first = next((axis for axis, size in enumerate(shape) if size > 1), len(shape))
    n_axes = draw(st.integers(len(shape) - first, max(3, len(shape) - first)))
    meets = [1] * (n_axes - len(shape)) + list(shape)[max(0, len(shape) - n_axes) :]
    met = tuple(
        draw(st.integers(1, 3) if size == 1 else st.sampled_from([1, size]))
        for size in meets
    )
    return Use(
        met,
        draw(st.sampled_from(sorted(FUNCTIONS))),
        draw(st.sampled_from(sorted(OPERATIONS))),
    )


FUNCTIONS = {
    "itself": lambda p: p,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "tanh": torch.tanh,
    "neg": torch.neg,
    "half": lambda p: p.double().float().double(),
    "square": torch.square,
    "viewed": lambda p: p.reshape(-1).view(p.shape),
    "turned": lambda p: p.permute(*reversed(range(p.ndim))).permute(
        *reversed(range(p.ndim))
    ),
    "picked": lambda p: p[torch.arange(len(p)).flip(0)] if p.ndim else p.clone(),
    "first": lambda p: p.reshape(-1)[0],
    "part": lambda p: p[..., :1] if p.ndim else p[None],
    "whole": lambda p: p.sum(),
}
OPERATIONS = {
    "add": lambda x, p: x + p,
    "add twice": lambda x, p: torch.add(x, p, alpha=2),
    "subtract": lambda x, p: x - p,
    "subtract from": lambda x, p: p - x,
    "multiply": lambda x, p: x * p,
    "multiply by": lambda x, p: p * x,
    "divide": lambda x, p: x / (p + 3),
    "divide by": lambda x, p: p / (2 + x.tanh()),
    "in place": lambda x, p: (
        x.clone().mul_(p)
        if torch.broadcast_shapes(x.shape, p.shape) == x.shape
        else x * p
    ),
    "expand": lambda x, p: (
        x.tanh() * p.expand(torch.broadcast_shapes(x.shape, p.shape))
    ),
    # of these the engine knows nothing
    "power": lambda x, p: (1 + x.abs()) ** p,
    "lerp": lambda x, p: torch.lerp(*torch.broadcast_tensors(x, x.cos(), p)),
    "where": lambda x, p: torch.where(x > 0, x, p),
    "product": lambda x, p: (x[..., None] @ p.reshape(1, -1)).tanh().sum(-1),
}


class BareNet(nn.Module):
    """A layer, the uses of a bare parameter, and a fixed linear map to three outputs."""

    def __init__(self, shape, uses, is_inside):
        super().__init__()
        gate = nn.Parameter(torch.ones(shape))
        self.layer = nn.Linear(12, 12)
        self.gates = BareUses(uses, gate if is_inside else None)
        self.gate = None if is_inside else gate

    def forward(self, x):
        x = self.layer(x).tanh()
        x = self.gates(x) if self.gate is None else self.gates.run(x, self.gate)
        width = x.shape[1]
        return (
            x
            @ torch.arange(1, width * 3 + 1).to(x).cos().reshape(width, 3)
            / width**0.5
        )


class BareUses(nn.Module):
    """What a bare parameter does to (n, d), a module's own or one that is given."""

    def __init__(self, uses, gate):
        super().__init__()
        self.uses, self.gate = uses, gate

    def forward(self, x):
        return self.run(x, self.gate)

    def run(self, x, gate):
        """Return (n, ...) of x (n, ...) and what all uses give, each of what came before."""
        for offset, use in enumerate(self.uses):
            index = torch.arange(offset, offset + math.prod(use.shape)) % x.shape[1]
            met = x[:, index].reshape(len(x), *use.shape)
            found = OPERATIONS[use.operation](met, FUNCTIONS[use.function](gate))
            x = torch.cat([x, found.reshape(len(x), -1).sin()], dim=1)
        return x


def made_bare(draw):
    """Return the net in eval mode, its samples (n, 12), labels (n,) and a direction of all
    parameters; float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.seed)
        net = BareNet(draw.shape, draw.uses, draw.is_inside).double()
        redraw(net)
        X, y = torch.randn(draw.n, 12).double(), torch.randint(3, (draw.n,))
        direction = {
            name: torch.randn(p.shape).double() for name, p in net.named_parameters()
        }
    return net.eval(), X, y, direction
