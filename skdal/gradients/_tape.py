"""The tape: watches layers as a module runs and folds their statistics during the backward pass."""

import copy
import inspect
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch


class Uncovered(Exception):
    """The rules cannot account for these parameters; internal, handled by the choice of backend.

    Attributes
    ----------
    problems : dict of str to str
        Parameter name to the reason.
    """

    def __init__(self, problems):
        super().__init__(
            "; ".join(f"{name}: {reason}" for name, reason in problems.items())
        )
        self.problems = problems


class Layer(NamedTuple):
    """What a tape watches: a module, or calls of a function, whose statistics come from its inputs and outputs.

    Attributes
    ----------
    module : torch.nn.Module or None
        What runs; None for calls of a function.
    names : dict of str to str
        The layer's own name of a scored parameter ("weight") to its name in the net ("fc.weight").
    statistics : callable
        A rule `(layer, inputs, output_grads, direction) -> (sq_norm, dot)`; see `rules`. An input is
        what was recorded.
    sample_axis : int or None
        Of its inputs and outputs; None is not checked.
    inner_products : callable or None
        Like a rule, where the inner product alone is cheaper; any sq_norm.
    """

    module: Any
    names: dict
    statistics: Callable
    sample_axis: Any = 0
    inner_products: Any = None


@contextmanager
def output_hooks(modules, hook):
    """Call `hook(name, (args, kwargs), output)` after each call of the modules (by name), for the block.

    Hooks are first in line, so that they see what the layer computed and not what a hook of the
    caller made of it. What `hook` returns, if not None, replaces the output.
    """

    def make(name):
        def forward_hook(module, args, kwargs, output):
            return hook(name, (args, kwargs), output)

        return forward_hook

    handles = []
    try:
        for name, module in modules.items():
            if isinstance(
                module, torch.jit.ScriptModule
            ):  # takes no hooks, has no rule
                continue
            handles.append(
                module.register_forward_hook(make(name), with_kwargs=True, prepend=True)
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def arguments(module, args, kwargs):
    """Return the one input of a call, or the tuple of all arguments of `forward` in their order."""
    if len(args) == 1 and not kwargs:
        return args[0]
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    if len(bound.arguments) == 1:
        return next(iter(bound.arguments.values()))
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def tensors_in(values):
    """Return the tensors in a tensor, or in tuples, lists and dicts of them."""
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (tuple, list)):
        return []
    return [tensor for value in values for tensor in tensors_in(value)]


def mapped(function, values):
    """Return `values`, a tensor or tuples, lists and dicts of them, with a function applied to each tensor."""
    if isinstance(values, torch.Tensor):
        return function(values)
    if isinstance(values, dict):
        changed = copy.copy(values)  # a class of its own may hold more than items
        for key, value in values.items():
            changed[key] = mapped(function, value)
        return changed
    if isinstance(values, (tuple, list)):
        items = [mapped(function, value) for value in values]
        return (
            type(values)(*items) if hasattr(values, "_fields") else type(values)(items)
        )
    return values


def has_sample_axis(values, axis, n_samples):
    """Tell whether an axis of a layer's input or output, the first tensor of several, is the sample."""
    first = next(iter(tensors_in(values)), None)
    return first is not None and first.ndim > axis and first.shape[axis] == n_samples


class _Root(torch.autograd.Function):
    """The identity, with a graph that begins here: nothing is copied, no gradient goes further."""

    @staticmethod
    def forward(ctx, anchor, output):
        return output.data  # no view: the net may change it in place

    @staticmethod
    def backward(ctx, gradient):
        return gradient.new_zeros(()), None


class _Call:
    """One call of a layer: what went in, and the gradients of what came out."""

    def __init__(self, inputs, n_outputs):
        self.inputs = mapped(torch.Tensor.detach, inputs)
        self._versions = [x._version for x in tensors_in(inputs)]
        self.grads = [None] * n_outputs

    @property
    def is_intact(self):
        """Whether no input was changed in place since."""
        return [x._version for x in tensors_in(self.inputs)] == self._versions

    def release(self):
        """Let go of all tensors."""
        self.inputs, self.grads = None, []


class Tape:
    """Records one mini-batch and accumulates its statistics.

    Parameters
    ----------
    layers : dict of str to Layer
        What to watch, by name.
    direction : dict of str to tensor, or None
        By the parameters' names in the net.
    only_dot : bool
        Whether squared norms may be left out.

    Attributes
    ----------
    n_samples : int
        Length of the mini-batch, to be set before the backward pass.
    ran : set of str
        Names of the layers that were called.
    roots : list of tensor
        What to differentiate by, so that gradients reach every layer and go no further.
    shares : dict of str to (sq_norm, dot)
        Each layer's own part, (n,) each.
    """

    def __init__(self, layers, direction, only_dot=False):
        self.layers, self.direction, self.only_dot, self.n_samples = (
            layers,
            direction,
            only_dot,
            None,
        )
        self.ran, self.roots, self.shares = set(), [], {}
        self._calls, self._pending = {}, {}

    def record(self, name, inputs, output):
        """Forward hook: root the graph here if nothing below requires a gradient, watch the output."""
        self.ran.add(name)
        if not torch.is_grad_enabled():
            return None
        call = _Call(inputs, len(tensors_in(output)))
        self._calls.setdefault(name, []).append(call)
        self._pending.setdefault(name, 0)
        slots = iter(range(len(call.grads)))
        return mapped(
            lambda tensor: self._watched(name, call, next(slots), tensor), output
        )

    def _watched(self, name, call, slot, output):
        if not output.is_floating_point():
            return output
        if not output.requires_grad:
            self.roots.append(output.new_zeros((), requires_grad=True))
            output = _Root.apply(self.roots[-1], output)
        elif len(call.grads) > 1 or output._is_view():
            # What the layer itself makes of it, such as another output, is no use of this one; and what is done in
            # place to a view, as some versions of torch give, goes around the hook on it.
            output = output.clone()
        self._pending[name] += 1
        output.register_hook(lambda gradient: self._collect(name, call, slot, gradient))
        return output

    def fold_rest(self):
        """Fold the layers of which not every output reaches the loss."""
        for name in list(self._calls):
            self._fold(name)

    def _collect(self, name, call, slot, gradient):
        if not call.is_intact:
            self._give_up(name, "its input was changed in place")
        axis = self.layers[name].sample_axis
        values = (call.inputs,) if slot else (call.inputs, gradient)
        if axis is not None and not all(
            has_sample_axis(x, axis, self.n_samples) for x in values
        ):
            self._give_up(name, "the first axis is not the sample")
        call.grads[slot] = gradient
        self._pending[name] -= 1
        if not self._pending[name]:
            self._fold(name)

    def _fold(self, name):
        layer = self.layers[name]
        rule = (
            layer.inner_products
            if self.only_dot and layer.inner_products
            else layer.statistics
        )
        calls = [
            call
            for call in self._calls.pop(name)
            if any(grad is not None for grad in call.grads)
        ]
        if not calls:
            return
        inputs = [mapped(_wide, call.inputs) for call in calls]
        grads = [
            tuple(g if g is None else _wide(g) for g in call.grads) for call in calls
        ]
        grads = [g[0] if len(g) == 1 else g for g in grads]
        for call in calls:
            call.release()  # hooks on the outputs hold it as long as the graph lives
        slices = {
            own: None if self.direction is None else _wide(self.direction[full])
            for own, full in layer.names.items()
        }
        device = tensors_in(inputs[0])[0].device.type
        try:
            with torch.no_grad(), torch.autocast(device, enabled=False):
                self.add(name, *rule(layer.module, inputs, grads, slices))
        except (
            NotImplementedError
        ) as error:  # a rule says that it does not describe this call
            self._give_up(name, str(error))

    def add(self, name, sq_norm, dot):
        """Add a layer's statistics (n,)."""
        self.shares[name] = sq_norm.double(), None if dot is None else dot.double()

    def _give_up(self, name, reason):
        layer = self.layers[name]
        raise Uncovered(
            dict.fromkeys(
                layer.names.values(),
                f"{name} ({type(layer.module).__name__}): {reason}",
            )
        )


def _wide(x):
    return x.float() if x.is_floating_point() and x.itemsize < 4 else x
