"""Rules of layers with several inputs or uses, called directly, against plain autograd, one sample
at a time."""

import pytest
import torch
from torch import nn

from skdal.gradients.rules import rule_for

N = 5
GENERATOR = torch.Generator()


def normal(*shape):
    return torch.randn(N, *shape, generator=GENERATOR, dtype=torch.float64)


def bags(length, vocabulary=4):
    return torch.randint(vocabulary, (N, length), generator=GENERATOR)


def bag(*args, **kwargs):
    return lambda: nn.EmbeddingBag(*args, **kwargs)


# layer, then the positional inputs of each of its uses
USES = {
    "bilinear": (lambda: nn.Bilinear(4, 3, 5), lambda: [(normal(4), normal(3))]),
    "bilinear-no-bias": (
        lambda: nn.Bilinear(4, 3, 5, bias=False),
        lambda: [(normal(4), normal(3))],
    ),
    "bilinear-positions": (
        lambda: nn.Bilinear(4, 3, 5),
        lambda: [(normal(7, 4), normal(7, 3))],
    ),
    "bilinear-grid": (
        lambda: nn.Bilinear(2, 3, 1),
        lambda: [(normal(2, 3, 2), normal(2, 3, 3))],
    ),
    "bilinear-twice": (
        lambda: nn.Bilinear(4, 3, 2),
        lambda: [(normal(6, 4), normal(6, 3)), (normal(4), normal(3))],
    ),
    "bag-mean": (bag(4, 3), lambda: [(bags(6),)]),
    "bag-mean-padded": (bag(4, 3, padding_idx=1), lambda: [(bags(3), None, None)]),
    "bag-mean-often": (
        bag(4, 3, padding_idx=-1),
        lambda: [(bags(t),) for t in (2, 5, 3)],
    ),
    "bag-sum": (bag(4, 3, mode="sum"), lambda: [(bags(6),)]),
    "bag-sum-only-padding": (
        bag(4, 3, mode="sum", padding_idx=0),
        lambda: [(bags(2) * (bags(1) > 1),)],
    ),
    "bag-mean-only-padding": (
        bag(4, 3, padding_idx=0),
        lambda: [(bags(2) * (bags(1) > 1),)],
    ),
    "bag-max-only-padding": (
        bag(4, 3, mode="max", padding_idx=0),
        lambda: [(bags(2) * (bags(1) > 1),)],
    ),
    "bag-weighted": (bag(4, 3, mode="sum"), lambda: [(bags(6), None, normal(6))]),
    "bag-weighted-padded": (
        bag(4, 3, mode="sum", padding_idx=2),
        lambda: [(bags(6), None, normal(6))],
    ),
    "bag-weighted-once": (
        bag(4, 3, mode="sum"),
        lambda: [(bags(6), None, normal(6)), (bags(4),)],
    ),
    "bag-max": (bag(4, 6, mode="max"), lambda: [(bags(6),)]),
    "bag-max-padded": (bag(4, 6, mode="max", padding_idx=0), lambda: [(bags(2),)]),
    "bag-max-often": (
        bag(4, 6, mode="max"),
        lambda: [(bags(2),), (bags(3),), (bags(1),)],
    ),
    "bag-int32": (bag(4, 3), lambda: [(bags(6).int(),)]),
    "groupnorm-twice": (
        lambda: nn.GroupNorm(2, 6),
        lambda: [(normal(6, 3),), (normal(6),)],
    ),
    "instancenorm-twice": (
        lambda: nn.InstanceNorm1d(2, affine=True),
        lambda: [(normal(2, 3),), (normal(2, 5),)],
    ),
    "rmsnorm-twice": (lambda: nn.RMSNorm(4), lambda: [(normal(4),), (normal(2, 4),)]),
    "prelu-twice": (lambda: nn.PReLU(3), lambda: [(normal(3),), (normal(3, 4),)]),
}


@pytest.fixture(params=USES.values(), ids=USES)
def use(request):
    """A layer, the inputs of its uses, output gradients and a direction."""
    make_layer, make_inputs = request.param
    GENERATOR.manual_seed(0)
    layer = make_layer().double().eval()
    for parameter in layer.parameters():
        parameter.data.normal_(generator=GENERATOR)
    inputs = make_inputs()
    grads = [normal(*layer(*x).shape[1:]) for x in inputs]
    direction = {
        name: torch.randn(p.shape, generator=GENERATOR).double()
        for name, p in layer.named_parameters()
    }
    return layer, inputs, grads, direction


def sample_gradient(layer, inputs, grads, i):
    """Return the gradient of one sample by name: that of the sum of its output gradients times its
    outputs."""
    rows = [[None if x is None else x[i : i + 1] for x in xs] for xs in inputs]
    value = sum((layer(*xs) * g[i : i + 1]).sum() for xs, g in zip(rows, grads))
    return dict(
        zip(
            dict(layer.named_parameters()),
            torch.autograd.grad(value, list(layer.parameters())),
        )
    )


@pytest.mark.parametrize("with_dot", [True, False])
def test_rule(use, with_dot):
    layer, inputs, grads, direction = use
    given = [xs[0] if len(xs) == 1 else xs for xs in inputs]
    gradients = [sample_gradient(layer, inputs, grads, i) for i in range(N)]
    for names in ([*direction], *([name] for name in direction)):
        chosen = {name: direction[name] if with_dot else None for name in names}
        with torch.no_grad():
            sq_norm, dot = rule_for(layer)(layer, given, grads, chosen)
        expected = torch.stack(
            [sum(g[name].square().sum() for name in names) for g in gradients]
        )
        torch.testing.assert_close(sq_norm, expected, rtol=1e-12, atol=1e-14)
        if not with_dot:
            assert dot is None
            continue
        expected = torch.stack(
            [
                sum((g[name] * direction[name]).sum() for name in names)
                for g in gradients
            ]
        )
        torch.testing.assert_close(dot, expected, rtol=1e-12, atol=1e-12)


def test_the_largest_of_equals_is_torchs_own_pick():
    layer = nn.EmbeddingBag(4, 3, mode="max").double()
    layer.weight.data.fill_(1.0)
    GENERATOR.manual_seed(0)
    inputs, grads = bags(3), normal(3)
    direction = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)
    _, dot = rule_for(layer)(layer, [inputs], [grads], {"weight": direction})
    expected = [
        (sample_gradient(layer, [(inputs,)], [grads], i)["weight"] * direction).sum()
        for i in range(N)
    ]
    torch.testing.assert_close(dot, torch.stack(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rms_norm_has_the_epsilon_of_its_dtype(dtype):
    layer = nn.RMSNorm(4, dtype=dtype)
    x = torch.full(
        (N, 4), 1e-4, dtype=dtype
    )  # its square is a tenth of float32's epsilon
    sq_norm, _ = rule_for(layer)(layer, [x], [torch.ones_like(x)], {"weight": None})
    gradients = [
        sample_gradient(layer, [(x,)], [torch.ones_like(x)], i)["weight"]
        for i in range(N)
    ]
    torch.testing.assert_close(
        sq_norm, torch.stack([g.square().sum() for g in gradients])
    )


REFUSED = {
    "bag-offsets": (bag(4, 3), lambda: (bags(1)[:, 0], torch.arange(N), None)),
    "bag-flat": (bag(4, 3), lambda: bags(1)[:, 0]),
    "instancenorm-one-sample": (
        lambda: nn.InstanceNorm1d(N, affine=True),
        lambda: normal(4),
    ),
    "instancenorm2d-one-sample": (
        lambda: nn.InstanceNorm2d(N, affine=True),
        lambda: normal(4, 4),
    ),
}


@pytest.mark.parametrize("make_layer, make_inputs", REFUSED.values(), ids=REFUSED)
def test_a_first_axis_that_is_not_the_sample_is_refused(make_layer, make_inputs):
    layer, inputs = make_layer().double(), make_inputs()
    with pytest.raises(NotImplementedError, match="first axis"):
        rule_for(layer)(layer, [inputs], [normal(3)], {"weight": None})
