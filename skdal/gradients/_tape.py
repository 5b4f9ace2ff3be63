"""The tape: runs a module with hooks and folds each layer's statistics during the backward pass."""

from collections import Counter
from contextlib import contextmanager

import torch

from skdal.gradients.rules import rule_for


class Uncovered(Exception):
    """The rules cannot account for these parameters; internal, handled by the choice of backend.

    Attributes
    ----------
    problems : dict of str to str
        Parameter name to the reason.
    """

    def __init__(self, problems):
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in problems.items()))
        self.problems = problems


@contextmanager
def output_hooks(owners, hook):
    """Call `hook(module_name, inputs, output)` after each call of an owner, for the block.

    Hooks are first in line, so that they see what the layer computed and not what a hook of the
    caller made of it. What `hook` returns, if not None, replaces the output.
    """

    def make(name):
        def forward_hook(module, args, kwargs, output):
            inputs = args[0] if args else next(iter(kwargs.values()), None)
            return hook(name, inputs, output)

        return forward_hook

    handles = []
    try:
        for name, owner in owners.items():
            if isinstance(owner.module, torch.jit.ScriptModule):  # takes no hooks, has no rule
                continue
            handles.append(owner.module.register_forward_hook(make(name), with_kwargs=True, prepend=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def has_sample_axis(inputs, output, n_samples):
    """Tell whether the first axis of a layer's input and output is the sample."""
    tensors = (inputs, output)
    return all(isinstance(x, torch.Tensor) and x.ndim > 0 and len(x) == n_samples for x in tensors)


class Tape:
    """Records one mini-batch and accumulates its statistics.

    Parameters
    ----------
    owners : dict of str to Owner
        The modules with scored parameters.
    direction : dict of str to tensor, or None
        By the parameters' names in the net.

    Attributes
    ----------
    ran : set of str
        Names of the owners that were called.
    """

    def __init__(self, owners, direction):
        self.owners, self.direction, self.n_samples = owners, direction, None
        self.ran, self.roots = set(), []
        self._inputs, self._pending, self._uses = {}, Counter(), {}
        self.sq_norm, self.dot = 0.0, None if direction is None else 0.0

    def record(self, name, inputs, output):
        """Forward hook: root the graph here if nothing below requires a gradient, watch the output."""
        self.ran.add(name)
        if not torch.is_grad_enabled() or rule_for(self.owners[name].module) is None:
            return None
        if not output.requires_grad:
            root = output.detach().requires_grad_()
            self.roots.append(root)
            output = root.clone()  # the net may change it in place
        self._pending[name] += 1
        call = len(self._inputs)
        self._inputs[call] = inputs.detach(), inputs._version
        output.register_hook(lambda gradient: self._collect(name, call, gradient))
        return output

    def backward(self, losses):
        """Run the data-only backward pass of the losses (n,); return (sq_norm, dot), float64 (n,)."""
        self.n_samples = len(losses)
        if self.roots and losses.requires_grad:
            torch.autograd.grad(losses.sum(), self.roots, allow_unused=True)
        for name in list(self._uses):  # uses that do not reach the loss have not reported
            self._fold(name)
        zeros = torch.zeros(self.n_samples, dtype=torch.float64, device=losses.device)
        return zeros + self.sq_norm, None if self.dot is None else zeros + self.dot

    def _collect(self, name, call, gradient):
        inputs, version = self._inputs[call]
        self._inputs[call] = None  # an activation is kept no longer than its layer needs it
        if inputs._version != version:
            self._give_up(name, "its input was changed in place")
        if not has_sample_axis(inputs, gradient, self.n_samples):
            self._give_up(name, "its first axis is not the sample")
        self._uses.setdefault(name, []).append((inputs, gradient))
        self._pending[name] -= 1
        if not self._pending[name]:
            self._fold(name)

    def _fold(self, name):
        module, names = self.owners[name]
        inputs, gradients = zip(*self._uses.pop(name))
        slices = {own: None if self.direction is None else self.direction[full] for own, full in names.items()}
        with torch.no_grad(), torch.autocast(gradients[0].device.type, enabled=False):
            sq_norm, dot = rule_for(module)(
                module, [_wide(x) for x in inputs], [_wide(g) for g in gradients], _wide_values(slices)
            )
        self.sq_norm = self.sq_norm + sq_norm.double()
        if dot is not None:
            self.dot = self.dot + dot.double()

    def _give_up(self, name, reason):
        module, names = self.owners[name]
        raise Uncovered(dict.fromkeys(names.values(), f"{name} ({type(module).__name__}): {reason}"))


def _wide(x):
    return x.float() if x.is_floating_point() and x.itemsize < 4 else x


def _wide_values(slices):
    return {name: None if value is None else _wide(value) for name, value in slices.items()}
