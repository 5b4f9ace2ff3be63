"""The tape: watches layers as a module runs, and folds their statistics on the way back."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import CheckpointError

from skdal.gradients._hooks import has_sample_axis
from skdal.gradients._uncovered import Uncovered
from skdal.utils import is_view, tree_leaves, tree_map, version_of


class Layer(NamedTuple):
    """What a tape watches: a module, or calls of a function.

    Its statistics come from its inputs and outputs.

    Attributes
    ----------
    kind : str
        "rule": a module that has one. "linear": calls of `torch.nn.functional.linear`.
        "alone": a module that is handled by itself.
    module : torch.nn.Module or None
        What runs; None for calls of a function.
    names : dict of str to str
        The layer's own name of a scored parameter ("weight") to its name in the net
        ("fc.weight").
    statistics : callable
        A rule `(layer, inputs, output_grads, direction) -> (sq_norm, dot)`; see `rules`. An
        input is what was recorded.
    sample_axis : int or None
        Of its inputs and outputs; None is not checked.
    inner_products : callable or None
        Like a rule, where the inner product alone is cheaper; any sq_norm.
    """

    kind: str
    module: Any
    names: dict
    statistics: Callable
    sample_axis: Any = 0
    inner_products: Callable | None = None


class _Root(torch.autograd.Function):
    """The identity, with a graph that begins here.

    Nothing is copied, and no gradient goes further.
    """

    @staticmethod
    def forward(ctx, anchor, output):
        # The net may change it in place, which it may not do to a view.
        return output.data

    @staticmethod
    def backward(ctx, gradient):
        return gradient.new_zeros(()), None


class _Call:
    """One call of a layer: what went in, and the gradients of what came out."""

    def __init__(self, inputs, n_outputs):
        self.inputs = tree_map(torch.Tensor.detach, inputs)
        self.grads = [None] * n_outputs
        self._versions = [version_of(x) for x in tree_leaves(inputs)]

    @property
    def is_intact(self):
        """Whether no input was changed in place since."""
        return [version_of(x) for x in tree_leaves(self.inputs)] == self._versions

    @property
    def is_reached(self):
        """Whether a gradient of one of its outputs came."""
        return any(grad is not None for grad in self.grads)

    def taken(self):
        """Return inputs and output gradients, float32 at least, and let go of them.

        Hooks on the outputs hold the call as long as the graph lives.
        """
        inputs = tree_map(_wide, self.inputs)
        grads = tuple(None if grad is None else _wide(grad) for grad in self.grads)
        self.inputs = None
        self.grads = []
        return inputs, grads[0] if len(grads) == 1 else grads


class Tape:
    """Records one mini-batch and accumulates its statistics.

    Parameters
    ----------
    layers : dict of str to Layer
        What to watch, by name.
    direction : dict of str to tensor, or None
        By the parameters' names in the net.
    n_samples : int
        Length of the mini-batch.
    only_dot : bool
        Whether squared norms may be left out.

    Attributes
    ----------
    ran : set of str
        Names of the layers that were called.
    roots : list of tensor
        What to differentiate by, so that gradients reach every layer and go no further.
    shares : dict of str to (sq_norm, dot)
        Each layer's own part, (n,) each.
    """

    def __init__(
        self,
        layers,
        direction,
        n_samples,
        *,
        only_dot=False,
    ):
        self.layers = layers
        self.direction = direction
        self.n_samples = n_samples
        self._only_dot = only_dot
        self.ran = set()
        self.roots = []
        self.shares = {}
        self._calls = {}
        self._n_awaited = {}

    def record(self, name, inputs, output):
        """Record a call; as a hook on the output, return what stands in its place.

        The graph is rooted here if nothing below requires a gradient.
        """
        self.ran.add(name)
        if not torch.is_grad_enabled():
            return None
        call = _Call(inputs, len(tree_leaves(output)))
        self._calls.setdefault(name, []).append(call)
        self._n_awaited.setdefault(name, 0)
        slots = iter(range(len(call.grads)))

        def watched(tensor):
            return self._watched(name, call, next(slots), tensor)

        return tree_map(watched, output)

    def _watched(self, name, call, slot, output):
        if not output.is_floating_point():
            return output
        if not output.requires_grad:
            self.roots.append(output.new_zeros((), requires_grad=True))
            output = _Root.apply(self.roots[-1], output)
        elif len(call.grads) > 1 or is_view(output):
            # What the layer itself makes of one output, such as another output, is no use of
            # it. And what is done in place to a view, as some versions of torch give, goes
            # around the hook on it.
            output = output.clone()
        self._n_awaited[name] += 1
        output.register_hook(lambda gradient: self._collect(name, call, slot, gradient))
        return output

    def fold_rest(self):
        """Fold the layers of which not every output reaches the loss."""
        for name in list(self._calls):
            self._fold(name)

    def _collect(self, name, call, slot, gradient):
        if not call.is_intact:
            self._give_up(name, "its input was changed in place")
        # The axes of further outputs, such as states, are known to their rules alone.
        values = (call.inputs,) if slot else (call.inputs, gradient)
        axis = self.layers[name].sample_axis
        if axis is not None:
            for x in values:
                if not has_sample_axis(x, axis, self.n_samples):
                    self._give_up(name, "the first axis is not the sample")
        call.grads[slot] = gradient
        self._n_awaited[name] -= 1
        if not self._n_awaited[name]:
            self._fold(name)

    def _fold(self, name):
        calls = [call for call in self._calls.pop(name) if call.is_reached]
        if not calls:
            return
        layer = self.layers[name]
        taken = [call.taken() for call in calls]
        inputs = [call_inputs for call_inputs, _ in taken]
        grads = [call_grads for _, call_grads in taken]
        direction = self._slices_of(layer)
        device = tree_leaves(inputs[0])[0].device.type
        rule = layer.statistics
        if self._only_dot and layer.inner_products:
            rule = layer.inner_products
        try:
            with torch.no_grad(), torch.autocast(device, enabled=False):
                self.add(name, *rule(layer.module, inputs, grads, direction))
        except NotImplementedError as error:
            # A rule says that it does not describe this call.
            self._give_up(name, str(error))

    def _slices_of(self, layer):
        """Return the direction's slices by a layer's own names, None without a direction."""
        if self.direction is None:
            return dict.fromkeys(layer.names)
        return {own: _wide(self.direction[name]) for own, name in layer.names.items()}

    def add(self, name, sq_norm, dot):
        """Add a layer's statistics (n,)."""
        if dot is not None:
            dot = dot.double()
        self.shares[name] = sq_norm.double(), dot

    def _give_up(self, name, reason):
        layer = self.layers[name]
        problem = f"{name} ({type(layer.module).__name__}): {reason}"
        raise Uncovered(dict.fromkeys(layer.names.values(), problem))


@contextmanager
def refusing_checkpoints():
    """Refuse a module of which a part runs again in the backward pass of a block.

    Raises
    ------
    Uncovered
        It does.
    """
    try:
        yield
    except CheckpointError as error:
        problem = "it runs again in the backward pass (checkpointing)"
        raise Uncovered({"the module": problem}) from error


def _wide(x):
    return x.float() if x.is_floating_point() and x.itemsize < 4 else x
