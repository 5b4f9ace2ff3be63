"""Nets that mix convolutions, norms, attention, pooling and changes of shape and layout, as
hypothesis draws them.

What torch computes a layer with depends on shape, layout, number of samples and dtype. Axes of size
1, groups, layouts with gaps and mini-batches of one sample are drawn often, since its kernels
differ there.
"""

import copy
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from cases import redraw
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

K = 3
MOST = 300  # values of a sample between two steps


@dataclass(frozen=True)
class Stack:
    """A net, its samples, and how they are cut.

    Attributes
    ----------
    shape : tuple of int
        Of a sample.
    steps : tuple of (str, dict)
        Names in `MAKERS` and their arguments.
    n : int
        Number of samples.
    cuts : tuple of int
        Where the samples are cut, modulo n.
    layout : str
        Of the samples, in `LAYOUTS`.
    weights_last : bool
        Whether the weights of convolutions have their channels last in memory.
    dtype : str
    seed : int
    """

    shape: tuple
    steps: tuple
    n: int
    cuts: tuple
    layout: str
    weights_last: bool
    dtype: str
    seed: int


# --- steps that are no layers
# -----------------------------------------------------------------------


class Permute(nn.Module):
    def __init__(self, axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(0, *(axis + 1 for axis in self.axes))


class Reshape(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


class Every(nn.Module):
    """Some values of an axis, a view with gaps."""

    def __init__(self, axis, start, step):
        super().__init__()
        self.axis, self.rows = axis, (start, step)

    def forward(self, x):
        start, step = self.rows
        return x[(slice(None), *[slice(None)] * self.axis, slice(start, None, step))]


class Flip(nn.Module):
    def __init__(self, axis):
        super().__init__()
        self.axis = axis

    def forward(self, x):
        return x.flip(self.axis + 1)


class Widen(nn.Module):
    """An axis of size 1, repeated as a view without memory of its own."""

    def __init__(self, axis, size):
        super().__init__()
        self.axis, self.size = axis, size

    def forward(self, x):
        return x.unsqueeze(self.axis + 1).expand(
            *x.shape[: self.axis + 1], self.size, *x.shape[self.axis + 1 :]
        )


class Layout(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return LAYOUTS[self.name](x)


class Residual(nn.Module):
    """A step added to what it takes."""

    def __init__(self, step):
        super().__init__()
        self.step = MAKERS[step[0]](**step[1])

    def forward(self, x):
        return x + self.step(x)


class SelfAttention(nn.Module):
    def __init__(self, width, heads, mask, need_weights, batch_first, bias):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            width, heads, batch_first=batch_first, bias=bias
        )
        self.mask, self.need_weights = mask, need_weights

    def forward(self, x):
        x = x if self.attention.batch_first else x.transpose(0, 1)
        length = x.shape[1 if self.attention.batch_first else 0]
        mask = torch.ones(length, length).triu(1).bool() if self.mask else None
        y = self.attention(x, x, x, attn_mask=mask, need_weights=self.need_weights)[0]
        return y if self.attention.batch_first else y.transpose(0, 1)


class DotProducts(nn.Module):
    """`scaled_dot_product_attention` of one projection, the heads as views of it."""

    def __init__(self, width, heads, mask):
        super().__init__()
        self.projection, self.heads, self.mask = (
            nn.Linear(width, 3 * width),
            heads,
            mask,
        )

    def forward(self, x):
        q, k, v = (
            z.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for z in self.projection(x).chunk(3, dim=2)
        )
        length = x.shape[1]
        mask = (
            torch.arange(length * length, device=x.device)
            .view(length, length)
            .to(x.dtype)
            .cos()
        )
        how = {"none": {}, "causal": {"is_causal": True}, "slope": {"attn_mask": mask}}[
            self.mask
        ]
        return F.scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2)


def last(x):
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim]) if x.ndim in formats else x


def gaps(x):
    """A view of every other value in memory of twice the size."""
    return torch.stack([x, x.detach()], dim=-1)[..., 0]


def moved(x):
    """The sample's axis last in memory."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


LAYOUTS = {
    "plain": lambda x: x.contiguous(),
    "channels last": last,
    "gaps": gaps,
    "samples last": moved,
}


# --- what is drawn
# ----------------------------------------------------------------------------------

few, flags = st.integers(1, 3), st.booleans()
# Size 1 often: torch tells layouts apart by strides, which an axis of size 1 leaves open.
sizes = st.sampled_from([1, 1, 2, 3, 4, 5])


def groups_of(draw, channels):
    return draw(
        st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0])
    )


def convolution(draw, shape):
    n_axes, channels = len(shape) - 1, shape[0]
    groups = groups_of(draw, channels)

    def per_axis(most):
        return tuple(draw(st.integers(1, most)) for _ in range(n_axes))

    options = {
        "in_channels": channels,
        "out_channels": groups * draw(few),
        "groups": groups,
        "bias": draw(flags),
    }
    options |= {
        "kernel_size": per_axis(3),
        "stride": per_axis(2),
        "dilation": per_axis(2),
    }
    options["padding"] = tuple(draw(st.integers(0, 2)) for _ in range(n_axes))
    axes = zip(
        shape[1:], options["kernel_size"], options["dilation"], options["padding"]
    )
    assume(all(size + 2 * pad >= d * (k - 1) + 1 for size, k, d, pad in axes))
    return f"Conv{n_axes}d", options


def transposed(draw, shape):
    name, options = convolution(draw, shape)
    axes = zip(
        shape[1:],
        *(options[o] for o in ("kernel_size", "stride", "dilation", "padding")),
    )
    assume(
        all((size - 1) * s + d * (k - 1) + 1 > 2 * pad for size, k, s, d, pad in axes)
    )
    return name.replace("Conv", "ConvTranspose"), options


def norm(draw, shape):
    eps, channels, n_axes = {"eps": 0.1}, shape[0], len(shape) - 1
    kinds = [(f"BatchNorm{max(1, n_axes)}d", {"num_features": channels})]
    kinds += [
        ("LayerNorm", {"normalized_shape": shape[-draw(st.integers(1, len(shape))) :]})
    ]
    if math.prod(shape[1:]) > 1:
        kinds += [
            (
                "GroupNorm",
                {"num_groups": groups_of(draw, channels), "num_channels": channels},
            )
        ]
        if n_axes:
            kinds += [
                (f"InstanceNorm{n_axes}d", {"num_features": channels, "affine": True})
            ]
    name, options = draw(st.sampled_from(kinds))
    return name, options | eps


def pool(draw, shape):
    n_axes = len(shape) - 1
    kernel = tuple(draw(st.integers(1, min(3, size))) for size in shape[1:])
    stride = tuple(draw(st.integers(1, 2)) for _ in kernel)
    kinds = [(f"AvgPool{n_axes}d", {"kernel_size": kernel, "stride": stride})]
    kinds += [(f"MaxPool{n_axes}d", {"kernel_size": kernel, "stride": stride})]
    kinds += [
        (f"AdaptiveAvgPool{n_axes}d", {"output_size": tuple(draw(few) for _ in kernel)})
    ]
    return draw(st.sampled_from(kinds))


def attention(draw, shape):
    width = shape[1]
    options = {"width": width, "heads": groups_of(draw, width)}
    if draw(flags):
        return "DotProducts", options | {
            "mask": draw(st.sampled_from(["none", "causal", "slope"]))
        }
    options |= {
        name: draw(flags) for name in ("mask", "need_weights", "batch_first", "bias")
    }
    return "SelfAttention", options


def dense(draw, shape):
    return "Linear", {
        "in_features": shape[-1],
        "out_features": draw(st.integers(1, 5)),
        "bias": draw(flags),
    }


def reshape(draw, shape):
    total, found = math.prod(shape), []
    for _ in range(draw(st.integers(0, 3))):
        found.append(groups_of(draw, total))
        total //= found[-1]
    return "Reshape", {"shape": (*found, total)}


def permute(draw, shape):
    return "Permute", {"axes": tuple(draw(st.permutations(range(len(shape)))))}


def view(draw, shape):
    axis = draw(st.integers(0, len(shape) - 1))
    kinds = [
        (
            "Every",
            {
                "axis": axis,
                "start": draw(st.integers(0, shape[axis] - 1)),
                "step": draw(few),
            },
        )
    ]
    kinds += [
        ("Flip", {"axis": axis}),
        ("Layout", {"name": draw(st.sampled_from(sorted(LAYOUTS)))}),
    ]
    kinds += [("Widen", {"axis": axis, "size": draw(few)})] * (len(shape) < 4)
    return draw(st.sampled_from(kinds))


def activation(draw, shape):
    return draw(st.sampled_from([("Tanh", {}), ("GELU", {}), ("Softplus", {})]))


def residual(draw, shape):
    kinds = [norm] + [attention] * (len(shape) == 2)
    return "Residual", {"step": draw(st.sampled_from(kinds))(draw, shape)}


# By the number of a sample's axes.
ANY = [norm, dense, reshape, permute, view, activation, residual]
SPATIAL = [convolution, convolution, transposed, pool, *ANY]
KINDS = {1: ANY, 2: [attention, attention, *SPATIAL], 3: SPATIAL, 4: SPATIAL}

OWN = (
    Permute,
    Reshape,
    Every,
    Flip,
    Widen,
    Layout,
    Residual,
    SelfAttention,
    DotProducts,
)
MAKERS = {cls.__name__: cls for cls in OWN}
for n_axes in (1, 2, 3):
    for name in (
        "Conv",
        "ConvTranspose",
        "BatchNorm",
        "InstanceNorm",
        "AvgPool",
        "MaxPool",
        "AdaptiveAvgPool",
    ):
        MAKERS[f"{name}{n_axes}d"] = getattr(nn, f"{name}{n_axes}d")
MAKERS |= {
    name: getattr(nn, name)
    for name in ("LayerNorm", "GroupNorm", "Linear", "Tanh", "GELU", "Softplus")
}


@st.composite
def stacks(draw):
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=4)))
    first, steps = shape, []
    for _ in range(draw(st.integers(1, 6))):
        step = draw(st.sampled_from(KINDS[len(shape)]))(draw, shape)
        shape = shape_after(step, shape)
        assume(0 < math.prod(shape) <= MOST and len(shape) <= 4)
        steps.append(step)
    return Stack(
        first,
        tuple(steps),
        n=draw(st.sampled_from([2, 2, 3, 3, 4, 5, 17])),
        cuts=tuple(draw(st.lists(st.integers(1, 32), max_size=3))),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        weights_last=draw(flags),
        dtype=draw(st.sampled_from(["float32", "float32", "float64"])),
        seed=draw(st.integers(0, 2**16)),
    )


def shape_after(step, shape):
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return tuple(
            MAKERS[step[0]](**step[1]).eval()(torch.zeros(2, *shape)).shape[1:]
        )


def made(stack):
    """Return the net in eval mode, its samples (n, *shape), labels (n,) and a direction of all
    parameters, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stack.seed)
        layers = [MAKERS[name](**options) for name, options in stack.steps]
        shape = stack.shape
        for step in stack.steps:
            shape = shape_after(step, shape)
        net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(math.prod(shape), K)
        ).double()
        redraw(net)
        X, y = torch.randn(stack.n, *stack.shape).double(), torch.randint(K, (stack.n,))
        direction = {
            name: torch.randn(p.shape).double() for name, p in net.named_parameters()
        }
    if stack.weights_last:
        for parameter in net.parameters():
            parameter.data = last(parameter.data)
    return net.eval(), X, y, direction


# --- the twin
# ---------------------------------------------------------------------------------------


def spelled_out(net):
    """Return a copy of a net whose norms are written out, so that torch has no kernel to choose for
    them."""
    twin = copy.deepcopy(net)
    for part in twin.modules():
        for kind, forward in SPELLED.items():
            if isinstance(part, kind):
                part.forward = partial(forward, part)
    return twin


def batch_norm(part, x):
    return affine(part, x, along(part.running_mean, x), along(part.running_var, x))


def instance_norm(part, x):
    axes = tuple(range(2, x.ndim))
    return affine(part, x, x.mean(axes, keepdim=True), variance(x, axes))


def group_norm(part, x):
    groups = x.reshape(len(x), part.num_groups, -1)
    mean, var = groups.mean(2, keepdim=True), variance(groups, 2)
    return affine(part, ((groups - mean) / (var + part.eps).sqrt()).reshape(x.shape))


def layer_norm(part, x):
    axes = tuple(range(-len(part.normalized_shape), 0))
    return (x - x.mean(axes, keepdim=True)) / (
        variance(x, axes) + part.eps
    ).sqrt() * part.weight + part.bias


def affine(part, x, mean=None, var=None):
    x = x if mean is None else (x - mean) / (var + part.eps).sqrt()
    return x * along(part.weight, x) + along(part.bias, x)


def variance(x, axes):
    return (x - x.mean(axes, keepdim=True)).square().mean(axes, keepdim=True)


def along(values, x):
    """Return values (c,) along the channels of x (n, c, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


SPELLED = {
    _BatchNorm: batch_norm,
    _InstanceNorm: instance_norm,
    nn.GroupNorm: group_norm,
    nn.LayerNorm: layer_norm,
}
