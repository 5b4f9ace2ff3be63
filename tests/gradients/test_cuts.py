"""Scores do not depend on how samples are cut into mini-batches, whatever torch computes each of
them with.

Nets are drawn that mix convolutions, norms, attention and changes of shape and layout. What a
backend gives for all samples together, for them in pieces, and for each alone is compared with
plain autograd in float64. As in `test_fuzz.py`, `SKDAL_FUZZ` draws more of them, and
`SKDAL_FUZZ_SEED` the same again.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from reference import reference, total
from stacks import LAYOUTS, made, spelled_out, stacks
from test_fuzz import Model, fuzz
from torch import nn

from skdal.exceptions import UnsupportedLayerError
from skdal.gradients.parts import StatisticsPass

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}  # of the largest score
BACKENDS = ("ghost", "functorch", "loop", "backpack")


@pytest.mark.parametrize("backend", BACKENDS)
def test_cuts(backend):
    fuzz(lambda stack: check(stack, backend), stacks(), 20)


def check(stack, backend):
    net, X, y, direction = made(stack)
    expected = plain(net, X, y, direction)
    dtype = getattr(torch, stack.dtype)
    narrow = copy.deepcopy(net).to(dtype)
    rows = LAYOUTS[stack.layout](X.to(dtype))
    alone = [slice(i, i + 1) for i in range(stack.n)][:: max(1, stack.n // 3)]
    pieces = [slice(0, stack.n), *pieces_of(stack), *alone]
    allowed = [
        max(TOLERANCES[stack.dtype], slack)
        for slack in condition(net, X, y, direction, expected, dtype)
    ]

    def run():
        return StatisticsPass(Model(narrow), direction=direction, backend=backend)

    for piece in pieces:
        try:
            sq_norm, dot, _ = run()(rows[piece], y[piece])
        except UnsupportedLayerError:
            assert backend in ("functorch", "backpack")
            return
        for found, wanted, most in zip((sq_norm, dot), expected, allowed):
            error = (found - wanted[piece]).abs().max() / scale_of(wanted)
            assert error <= most, (
                f"{backend} {piece}: error {error:.1e}, allowed {most:.1e}"
            )


def pieces_of(stack):
    edges = sorted({0, stack.n, *(cut % stack.n for cut in stack.cuts)})
    return [slice(a, b) for a, b in zip(edges, edges[1:])]


def plain(net, X, y, direction):
    twin = SimpleNamespace(module_=spelled_out(net), criterion_=nn.CrossEntropyLoss())
    found = reference(twin, X, y, direction)
    return total(found.sq_norm), total(found.dot)


def scale_of(values):
    return values.abs().max() + 1e-12


def condition(net, X, y, direction, expected, dtype):
    """Return how far rounding of samples and parameters moves the statistics: what no kernel can do
    better than."""
    eps, generator = torch.finfo(dtype).eps, torch.Generator().manual_seed(0)

    def rounded(x):
        return x * (1 + eps * torch.randn(x.shape, generator=generator, dtype=x.dtype))

    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.copy_(rounded(p))
    moved = plain(other, rounded(X), y, direction)
    return [
        30 * float((a - b).abs().max() / scale_of(b)) for a, b in zip(moved, expected)
    ]
