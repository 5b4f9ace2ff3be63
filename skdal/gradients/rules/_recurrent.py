"""Recurrent layers: linear layers on the steps of a sequence, which is run once more to see between them."""

import torch
import torch.nn.functional as F
from torch import nn

from skdal.gradients.rules._forms import explicit, total
from skdal.gradients.rules._linear import matrix_statistics


def recurrent(layer, inputs, output_grads, direction):
    """Statistics of RNN, LSTM and GRU of any depth, in both directions, with projections; see `rules`.

    With z_t = W_ih x_t + b_ih and u_t = W_hh h_(t-1) + b_hh every weight is that of a linear layer whose
    positions are the steps; torch's own kernel does not give the gradients of z and u, so the
    steps are run anew.
    """
    taps = {}
    for call, grads in zip(inputs, output_grads):
        _run_backward(layer, call, grads, taps)
    parts = []
    for own, v in direction.items():
        a, b = (torch.cat(steps, dim=1) for steps in zip(*taps[own]))
        parts.append(explicit({own: b.sum(1)}, {own: v}) if own.startswith("bias") else matrix_statistics(a, b, v))
    return total(parts)


def _run_backward(layer, call, grads, taps):
    """Run a call again and append to `taps`, by parameter, its (inputs (n, t, d), output gradients (n, t, p))."""
    x, state = call if isinstance(call, tuple) else (call, None)
    if not isinstance(x, torch.Tensor) or x.ndim != 3:
        raise NotImplementedError("a packed or unbatched sequence")
    with torch.enable_grad():
        run = _Run(layer, x if layer.batch_first else x.transpose(0, 1), state)
        output, *last = run.outputs
        output = output if layer.batch_first else output.transpose(0, 1)
        pairs = [(out, grad) for out, grad in zip((output, *last), grads) if grad is not None]
        outputs, seeds = zip(*pairs)
        found = torch.autograd.grad(outputs, run.values, grad_outputs=seeds, allow_unused=True)
    found = iter(torch.zeros_like(z) if g is None else g for z, g in zip(run.values, found))
    for names, a, values in run.taps:
        b = torch.stack([next(found) for _ in values], dim=1)
        for own in names:
            taps.setdefault(own, []).append((a.detach(), b))


class _Run:
    """The steps of a recurrent layer in the autograd graph.

    Attributes
    ----------
    outputs : list of tensor
        As the layer gives them: sequence (n, t, h), then the last states (layers, n, h).
    taps : list of (names, inputs, values)
        For each linear map, its parameters, inputs (n, t, d) and outputs (list of t tensors).
    values : list of tensor
        All of these outputs.
    """

    def __init__(self, layer, x, state):
        self.layer, self.taps, self.values = layer, [], []
        self._ways = ["", "_reverse"][: 1 + layer.bidirectional]
        states = self._initial(x, state)
        lasts = []
        for depth in range(layer.num_layers):
            sides = []
            for way in self._ways:
                steps, last = self._steps(x, [s[len(lasts)] for s in states], f"_l{depth}{way}")
                sides.append(steps)
                lasts.append(last)
            x = torch.cat(sides, dim=2)
        self.outputs = [x, *(torch.stack(s) for s in zip(*lasts))]

    def _initial(self, x, state):
        layer = self.layer
        if state is not None:
            return list(state) if isinstance(state, tuple) else [state]
        sizes = [layer.proj_size or layer.hidden_size]
        sizes += [layer.hidden_size] if isinstance(layer, nn.LSTM) else []
        return [x.new_zeros(layer.num_layers * len(self._ways), len(x), size) for size in sizes]

    def _steps(self, x, state, suffix):
        order = range(x.shape[1])
        order = order if not suffix.endswith("reverse") else reversed(order)
        inputs, hiddens, raws, results = [], [], [], {}
        z, u, r = [], [], []
        for t in order:
            inputs.append(x[:, t])
            hiddens.append(state[0])
            z.append(self._linear("ih", suffix, x[:, t]))
            u.append(self._linear("hh", suffix, state[0]))
            raw, *rest = self._cell(z[-1], u[-1], state)
            if getattr(self.layer, "proj_size", 0):
                raws.append(raw)
                r.append(self._watched(F.linear(raw, getattr(self.layer, f"weight_hr{suffix}"))))
                raw = r[-1]
            state = [raw, *rest]
            results[t] = raw
        for kind, a, values in (("ih", inputs, z), ("hh", hiddens, u)):
            names = [f"weight_{kind}{suffix}"] + ([f"bias_{kind}{suffix}"] if self.layer.bias else [])
            self._tap(names, a, values)
        if r:
            self._tap([f"weight_hr{suffix}"], raws, r)
        return torch.stack([results[t] for t in range(x.shape[1])], dim=1), state

    def _tap(self, names, inputs, values):
        self.taps.append((names, torch.stack(inputs, dim=1), values))
        self.values += values

    def _linear(self, kind, suffix, x):
        weight = getattr(self.layer, f"weight_{kind}{suffix}").detach()
        bias = getattr(self.layer, f"bias_{kind}{suffix}").detach() if self.layer.bias else None
        return self._watched(F.linear(x, weight.to(x), None if bias is None else bias.to(x)))

    @staticmethod
    def _watched(value):
        return value if value.requires_grad else value.requires_grad_()

    def _cell(self, z, u, state):
        """Return the new state (h, ...) from both linear maps and the old state."""
        if isinstance(self.layer, nn.LSTM):
            i, f, g, o = (z + u).chunk(4, dim=1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        if isinstance(self.layer, nn.GRU):
            (r, s, n), (hr, hs, hn) = z.chunk(3, dim=1), u.chunk(3, dim=1)
            s = (s + hs).sigmoid()
            return ((1 - s) * (n + (r + hr).sigmoid() * hn).tanh() + s * state[0],)
        return ((z + u).tanh() if self.layer.nonlinearity == "tanh" else (z + u).relu(),)
