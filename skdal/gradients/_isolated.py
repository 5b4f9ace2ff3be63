"""A module without a rule, by itself: torch.func over its inputs and outputs' gradients.

The rest of the net keeps its rules. Where torch.func cannot trace the module, it is run once
per sample by plain autograd.
"""

import logging
from typing import Any, NamedTuple

import torch
from torch.func import vjp

from skdal.gradients._backward import dense_gradients
from skdal.gradients._ladder import (
    Ladder,
    per_sample,
    raise_if_foreign,
    samples_held,
    values_of,
)
from skdal.gradients.rules._forms import concatenated, explicit
from skdal.utils import reason, run_input_hooks, swapped, tree_leaves, tree_map

logger = logging.getLogger("skdal")


class SampleAxes:
    """Which axis of each tensor of a module is the sample.

    It is one that was as long as every mini-batch so far.

    Parameters
    ----------
    first : int
        That of the module's first input and output, preferred for the others.
    """

    def __init__(self, first):
        self.first = first
        self._possible = {}

    def of(self, side, tensors, n_samples):
        """Return the axes of a call's tensors; None for a tensor that samples share.

        `side` is "in" or "out".
        """
        axes = []
        for slot, x in enumerate(tensors):
            axis = None
            if x is not None:
                axis = self._of(x.shape, n_samples, (side, slot, x.ndim))
            axes.append(axis)
        return axes

    def _of(self, shape, n_samples, key):
        fitting = {axis for axis, size in enumerate(shape) if size == n_samples}
        possible = self._possible.get(key, fitting) & fitting
        self._possible[key] = possible
        return self.first if self.first in possible else min(possible, default=None)


class _Call(NamedTuple):
    """A call of the module.

    Attributes
    ----------
    n_samples : int
        Of the mini-batch.
    arguments : (tuple, dict)
        What the module got, positional and by keyword.
    grads : list of tensor or None
        Gradients of its outputs.
    axes, grad_axes : list of int or None
        Which axis of each tensor among the arguments, and of each gradient, is the sample.
    """

    n_samples: int
    arguments: Any
    grads: list
    axes: list
    grad_axes: list

    def rows(self, start, stop):
        """Return the call on some of its samples."""

        def rows_of(x, axis):
            if x is None or axis is None:
                return x
            return x.narrow(axis, start, stop - start)

        axes = iter(self.axes)
        arguments = tree_map(lambda x: rows_of(x, next(axes)), self.arguments)
        grads = [rows_of(grad, axis) for grad, axis in zip(self.grads, self.grad_axes)]
        return self._replace(n_samples=stop - start, arguments=arguments, grads=grads)


class Isolated:
    """The statistics of one module, as a rule; see `rules`.

    Parameters
    ----------
    module : torch.nn.Module
        Whose calls hold every use of these parameters.
    parameters : dict of str to Parameter
        Scored, by their names in the module.
    axes : SampleAxes
        Of its calls.
    """

    def __init__(self, module, parameters, axes):
        self._module = module
        self._parameters = parameters
        self._axes = axes
        # Failures are whatever the module raises where it cannot be traced.
        ways = [self._by_vmap, self._by_loop]
        self._gradients = Ladder(ways, (Exception,), self._tell)

    def _tell(self, why):
        logger.warning(
            "%s runs once per sample: torch.func cannot trace it (%s)",
            type(self._module).__name__,
            why,
        )

    def __call__(self, layer, inputs, output_grads, direction):
        """Return (sq_norm, dot); an input is (args, kwargs)."""
        calls = [self._call(*pair) for pair in zip(inputs, output_grads)]
        n_samples = calls[0].n_samples
        size = samples_held(self._parameters)
        parts = []
        for start in range(0, n_samples, size):
            stop = min(n_samples, start + size)
            by_call = [self._wide_gradients(call.rows(start, stop)) for call in calls]
            gradients = {own: sum(part[own] for part in by_call) for own in direction}
            parts.append(explicit(gradients, direction))
        return concatenated(parts)

    def _call(self, arguments, grads):
        dtype = _narrow_dtype(self._module)

        def narrow(x):
            return x.to(dtype) if dtype and x.is_floating_point() else x

        tensors = tree_leaves(arguments)
        grads = list(grads) if isinstance(grads, tuple) else [grads]
        n_samples = tensors[0].shape[self._axes.first]
        axes = self._axes.of("in", tensors, n_samples)
        grad_axes = self._axes.of("out", grads, n_samples)
        for grad, axis in zip(grads, grad_axes):
            if grad is not None and axis is None:
                raise NotImplementedError("no axis of one of its outputs is the sample")
        return _Call(
            n_samples,
            tree_map(narrow, arguments),
            [None if grad is None else narrow(grad) for grad in grads],
            axes,
            grad_axes,
        )

    def _wide_gradients(self, call):
        """Return the gradients (n, *shape) of a call by parameter, float32 at least."""
        try:
            gradients = self._gradients(call)
        except Exception as error:
            raise_if_foreign(error)
            raise NotImplementedError(
                f"its samples cannot be run one by one ({reason(error)})"
            ) from error
        return {
            own: gradient.to(torch.promote_types(gradient.dtype, torch.float32))
            for own, gradient in gradients.items()
        }

    def _by_vmap(self, call):
        used = [slot for slot, grad in enumerate(call.grads) if grad is not None]
        grad_axes = [call.grad_axes[slot] for slot in used]
        values = values_of(self._parameters)

        def of_sample(sample, sample_grads):
            arguments = _with_sample(call, sample)

            def outputs(values):
                with swapped(self._module, self._parameters, values):
                    tensors = tree_leaves(self._run(arguments))
                return [tensors[slot] for slot in used]

            _, pull_back = vjp(outputs, values)
            grads = [x.unsqueeze(axis) for x, axis in zip(sample_grads, grad_axes)]
            return pull_back(grads)[0]

        axes = [axis for axis in call.axes if axis is not None]
        pairs = zip(tree_leaves(call.arguments), call.axes)
        samples = [x for x, axis in pairs if axis is not None]
        grads = [call.grads[slot] for slot in used]
        return per_sample(of_sample, in_dims=(axes, grad_axes))(samples, grads)

    def _by_loop(self, call):
        rows = []
        for index in range(call.n_samples):
            sample = call.rows(index, index + 1)
            rows.append(self._of_sample(sample))
        return {
            own: torch.stack([row[slot] for row in rows])
            for slot, own in enumerate(self._parameters)
        }

    def _of_sample(self, call):
        """Return the gradients by each parameter of a call on one sample."""
        with torch.enable_grad():
            pairs = [
                (output, grad)
                for output, grad in zip(
                    tree_leaves(self._run(call.arguments)), call.grads
                )
                if grad is not None and output.requires_grad
            ]
            outputs = [output for output, _ in pairs]
            grads = [grad for _, grad in pairs]
            return dense_gradients(outputs, list(self._parameters.values()), grads)

    def _run(self, arguments):
        """Run the module on the arguments that it was seen to get.

        They come after the caller's hooks on its inputs, and what is returned goes before
        those on its outputs. The former run again, since weight norm makes its weight in
        one, but change nothing.
        """
        args, kwargs = arguments
        run_input_hooks(self._module, args, kwargs)
        return self._module.forward(*args, **kwargs)


def _with_sample(call, sample):
    """Return the arguments of a call with one sample's tensors in place of all samples'."""
    samples = iter(sample)
    axes = iter(call.axes)

    def of_sample(tensor):
        axis = next(axes)
        return tensor if axis is None else next(samples).unsqueeze(axis)

    return tree_map(of_sample, call.arguments)


def _narrow_dtype(module):
    """Return the dtype of a module in half precision, whose inputs come wider; else None."""
    for parameter in module.parameters():
        if parameter.is_floating_point() and parameter.itemsize < 4:
            return parameter.dtype
    return None
