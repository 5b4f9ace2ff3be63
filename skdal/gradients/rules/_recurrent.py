"""Recurrent layers: linear layers on the steps of a sequence.

The sequence is run once more to see between its steps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from skdal.gradients.rules._forms import explicit, total
from skdal.gradients.rules._linear import matrix_statistics


def recurrent(layer, inputs, output_grads, direction):
    """Statistics of RNN, LSTM and GRU of any depth, both ways, projected; see `rules`.

    With z_t = W_ih x_t + b_ih and u_t = W_hh h_(t-1) + b_hh every weight is that of a linear
    layer whose positions are the steps; torch's own kernels do not give the gradients of z
    and u, so the steps are run anew.
    """
    taps = {own: [] for own in direction}
    for call, grads in zip(inputs, output_grads):
        for own, tap in _taps(layer, call, grads):
            if own in taps:
                taps[own].append(tap)
    parts = []
    for own, v in direction.items():
        a = [tap.a for tap in taps[own]]
        b = [tap.b for tap in taps[own]]
        a = torch.cat(a, dim=1)
        b = torch.cat(b, dim=1)
        if own.startswith("bias"):
            gradient = b.sum(1)
            parts.append(explicit({own: gradient}, {own: v}))
        else:
            parts.append(matrix_statistics(a, b, v))
    return total(parts)


class _Tap(NamedTuple):
    """What goes in and out of a linear map.

    Attributes
    ----------
    a : tensor (n, t, d)
        Inputs.
    b : tensor (n, t, p)
        Output gradients.
    """

    a: torch.Tensor
    b: torch.Tensor


def _taps(layer, call, grads):
    """Yield each parameter of a call with the _Tap of its linear map."""
    x, state = _input_and_state(layer, call)
    with torch.enable_grad():
        output, last, sides = _run(layer, x, state)
        if not layer.batch_first:
            output = output.transpose(0, 1)
        pairs = [
            (out, grad) for out, grad in zip((output, *last), grads) if grad is not None
        ]
        watched = []
        for side in sides:
            watched += [side.z, *side.projected]
        gradients = torch.autograd.grad(
            [out for out, _ in pairs],
            watched,
            grad_outputs=[grad for _, grad in pairs],
            allow_unused=True,
        )
    gradients = iter(
        torch.zeros_like(value) if grad is None else grad
        for value, grad in zip(watched, gradients)
    )
    for side in sides:
        z_grad = next(gradients)
        projected_grads = [next(gradients) for _ in side.projected]
        yield from side.taps(layer, z_grad, projected_grads)


def _input_and_state(layer, call):
    """Return the sequences (n, t, d) and the states that they begin in, None for zeros."""
    x = call
    state = None
    if type(call) is tuple:
        x, state = call
    if not isinstance(x, torch.Tensor) or x.ndim != 3:
        raise NotImplementedError("a packed or unbatched sequence")
    if layer.training and layer.dropout:
        raise NotImplementedError("dropout between its layers")
    return x if layer.batch_first else x.transpose(0, 1), state


class _Side(NamedTuple):
    """The steps of one layer in one direction; lists are in the order of their run.

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
        """Yield each parameter with the _Tap of its linear map."""
        before = torch.stack(self.before, dim=1).detach()
        of_input = _Tap(self.x.detach(), z_grad)
        of_state = _Tap(before, self._u_grad(layer, z_grad))
        for kind, tap in (("ih", of_input), ("hh", of_state)):
            yield f"weight_{kind}{self.suffix}", tap
            yield f"bias_{kind}{self.suffix}", tap
        if self.projected:
            a = torch.stack(self.raw, dim=1).detach()
            b = torch.stack(projected_grads, dim=1)
            yield f"weight_hr{self.suffix}", _Tap(a, b)

    def _u_grad(self, layer, z_grad):
        """Return the gradient of u; that of z differs in the last third of a GRU alone."""
        if not self.resets:
            return z_grad
        same, last = z_grad.tensor_split([2 * layer.hidden_size], dim=2)
        last = last * torch.stack(self.resets, dim=1)
        return torch.cat([same, last], dim=2)


def _run(layer, x, state):
    """Run a recurrent layer.

    Returns
    -------
    sequence : tensor (n, t, h)
        What it gives.
    last : list of tensor (n_sides, n, h)
        Its last states.
    sides : list of _Side
        All, in the order of their states.
    """
    ways = ["", "_reverse"] if layer.bidirectional else [""]
    states = _initial_states(layer, x, state)
    sides = []
    last = []
    for depth in range(layer.num_layers):
        outputs = []
        for way in ways:
            start = [s[len(sides)] for s in states]
            side, steps, end = _run_side(layer, f"_l{depth}{way}", x, start)
            sides.append(side)
            outputs.append(steps)
            last.append(end)
        x = torch.cat(outputs, dim=2)
    return x, [torch.stack(ends) for ends in zip(*last)], sides


def _initial_states(layer, x, state):
    if state is not None:
        return list(state) if isinstance(state, tuple) else [state]
    sizes = [layer.proj_size or layer.hidden_size]
    if isinstance(layer, nn.LSTM):
        sizes.append(layer.hidden_size)
    n_sides = layer.num_layers * (1 + layer.bidirectional)
    return [x.new_zeros(n_sides, len(x), size) for size in sizes]


def _run_side(layer, suffix, x, state):
    """Return the side, its outputs (n, t, h) in the sequence's order, and its last state."""
    is_reverse = suffix.endswith("reverse")
    x = x.flip(1) if is_reverse else x
    own = {
        name.removesuffix(suffix): p.detach().to(x)
        for name, p in layer.named_parameters()
        if name.endswith(suffix)
    }
    z = F.linear(x, own["weight_ih"], own.get("bias_ih"))
    z = z if z.requires_grad else z.requires_grad_()
    side = _Side(suffix, x, z, before=[], resets=[], raw=[], projected=[])
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
    outputs = torch.stack(outputs[::-1] if is_reverse else outputs, dim=1)
    return side, outputs, state


def _cell(layer, z, u, state, resets):
    """Return the new state (h, ...) from both linear maps and the old state."""
    if isinstance(layer, nn.LSTM):
        return _lstm_cell(z, u, state)
    if isinstance(layer, nn.GRU):
        return _gru_cell(z, u, state, resets)
    if layer.nonlinearity == "tanh":
        return ((z + u).tanh(),)
    return ((z + u).relu(),)


def _lstm_cell(z, u, state):
    i, f, g, o = (z + u).chunk(4, dim=1)
    _, c = state
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return h, c


def _gru_cell(z, u, state, resets):
    zr, zs, zn = z.chunk(3, dim=1)
    ur, us, un = u.chunk(3, dim=1)
    r = (zr + ur).sigmoid()
    s = (zs + us).sigmoid()
    resets.append(r.detach())
    n = (zn + r * un).tanh()
    return (n + s * (state[0] - n),)
