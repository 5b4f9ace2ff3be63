"""Recurrent layers: linear layers on the steps of a sequence, which is run once more to see between them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from skdal.gradients.rules._forms import explicit, total
from skdal.gradients.rules._linear import matrix_statistics


def recurrent(layer, inputs, output_grads, direction):
    """Statistics of RNN, LSTM and GRU of any depth, in both directions, with projections; see `rules`.

    With z_t = W_ih x_t + b_ih and u_t = W_hh h_(t-1) + b_hh every weight is that of a linear layer whose
    positions are the steps; torch's own kernels do not give the gradients of z and u, so the
    steps are run anew.
    """
    taps = {}
    for call, grads in zip(inputs, output_grads):
        for own, tap in _taps(layer, call, grads):
            taps.setdefault(own, []).append(tap)
    parts = []
    for own, v in direction.items():
        a, b = (torch.cat(steps, dim=1) for steps in zip(*taps[own]))
        parts.append(
            explicit({own: b.sum(1)}, {own: v})
            if own.startswith("bias")
            else matrix_statistics(a, b, v)
        )
    return total(parts)


def _taps(layer, call, grads):
    """Yield each parameter of a call with its linear map's inputs (n, t, d) and output gradients (n, t, p)."""
    x, state = call if type(call) is tuple else (call, None)
    if not isinstance(x, torch.Tensor) or x.ndim != 3:
        raise NotImplementedError("a packed or unbatched sequence")
    if layer.training and layer.dropout:
        raise NotImplementedError("dropout between its layers")
    with torch.enable_grad():
        output, last, sides = _run(
            layer, x if layer.batch_first else x.transpose(0, 1), state
        )
        output = output if layer.batch_first else output.transpose(0, 1)
        pairs = [
            (out, grad) for out, grad in zip((output, *last), grads) if grad is not None
        ]
        outputs, seeds = zip(*pairs)
        watched = [value for side in sides for value in (side.z, *side.projected)]
        found = torch.autograd.grad(
            outputs, watched, grad_outputs=seeds, allow_unused=True
        )
    found = iter(
        torch.zeros_like(value) if grad is None else grad
        for value, grad in zip(watched, found)
    )
    for side in sides:
        yield from side.taps(layer, next(found), [next(found) for _ in side.projected])


class _Side(NamedTuple):
    """The steps of one layer in one direction; lists are in the order in which these were run.

    Attributes
    ----------
    suffix : str
        Of its parameters' names.
    x, z : tensor (n, t, d), tensor (n, t, p)
        The sequence in that order, and what W_ih makes of it.
    before : list of tensor (n, h)
        State before each step.
    resets : list of tensor (n, hidden_size)
        Of a GRU: what each step multiplies a part of u by.
    raw, projected : list of tensor
        With a projection: the state before it and after it.
    """

    suffix: str
    x: torch.Tensor
    z: torch.Tensor
    before: list
    resets: list
    raw: list
    projected: list

    def taps(self, layer, z_grad, projected_grads):
        u_grad = z_grad
        if self.resets:  # z and u only differ in the last third
            kept, last = z_grad.tensor_split([2 * layer.hidden_size], dim=2)
            u_grad = torch.cat([kept, last * torch.stack(self.resets, dim=1)], dim=2)
        before = torch.stack(self.before, dim=1)
        for kind, a, b in (("ih", self.x, z_grad), ("hh", before, u_grad)):
            yield f"weight_{kind}{self.suffix}", (a.detach(), b)
            yield f"bias_{kind}{self.suffix}", (a.detach(), b)
        if self.projected:
            a, b = torch.stack(self.raw, dim=1), torch.stack(projected_grads, dim=1)
            yield f"weight_hr{self.suffix}", (a.detach(), b)


def _run(layer, x, state):
    """Return the sequence (n, t, h), the last states (tensors (layers, n, h)) and all sides of a layer."""
    ways = ["", "_reverse"][: 1 + layer.bidirectional]
    states, sides, last = _initial_states(layer, x, state), [], []
    for depth in range(layer.num_layers):
        outputs = []
        for way in ways:
            side, steps, end = _run_side(
                layer, f"_l{depth}{way}", x, [s[len(sides)] for s in states]
            )
            sides.append(side)
            outputs.append(steps)
            last.append(end)
        x = torch.cat(outputs, dim=2)
    return x, [torch.stack(ends) for ends in zip(*last)], sides


def _initial_states(layer, x, state):
    if state is not None:
        return list(state) if isinstance(state, tuple) else [state]
    sizes = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * isinstance(
        layer, nn.LSTM
    )
    n_sides = layer.num_layers * (1 + layer.bidirectional)
    return [x.new_zeros(n_sides, len(x), size) for size in sizes]


def _run_side(layer, suffix, x, state):
    """Return the side, its outputs (n, t, h) in the order of the sequence, and its last state."""
    reverse = suffix.endswith("reverse")
    x = x.flip(1) if reverse else x
    own = {
        name.removesuffix(suffix): p.detach().to(x)
        for name, p in layer.named_parameters()
        if name.endswith(suffix)
    }
    z = F.linear(x, own["weight_ih"], own.get("bias_ih"))
    side = _Side(
        suffix, x, z if z.requires_grad else z.requires_grad_(), [], [], [], []
    )
    outputs = []
    for step in z.unbind(1):
        side.before.append(state[0].detach())
        u = F.linear(state[0], own["weight_hh"], own.get("bias_hh"))
        hidden, *rest = _cell(layer, step, u, state, side.resets)
        if "weight_hr" in own:
            side.raw.append(hidden)
            hidden = F.linear(hidden, own["weight_hr"])
            side.projected.append(hidden)
        state = [hidden, *rest]
        outputs.append(hidden)
    outputs = torch.stack(outputs[::-1] if reverse else outputs, dim=1)
    return side, outputs, state


def _cell(layer, z, u, state, resets):
    """Return the new state (h, ...) from both linear maps and the old state."""
    if isinstance(layer, nn.LSTM):
        i, f, g, o = (z + u).chunk(4, dim=1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if isinstance(layer, nn.GRU):
        (r, s, n), (hr, hs, hn) = z.chunk(3, dim=1), u.chunk(3, dim=1)
        r, s = (r + hr).sigmoid(), (s + hs).sigmoid()
        resets.append(r.detach())
        n = (n + r * hn).tanh()
        return (n + s * (state[0] - n),)
    return ((z + u).tanh() if layer.nonlinearity == "tanh" else (z + u).relu(),)
