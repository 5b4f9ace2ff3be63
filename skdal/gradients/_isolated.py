"""A module without a rule, by itself: torch.func over its inputs and its outputs' gradients.

The rest of the net keeps its rules. Where torch.func cannot trace the module, it is run once a
sample by plain autograd.
"""

import logging
import warnings
from typing import Any, NamedTuple

import torch
from torch.func import vjp, vmap

from skdal.gradients._backward import differentiate
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._tape import mapped, tensors_in
from skdal.gradients.rules import concatenated, explicit
from skdal.utils import reason, swapped

logger = logging.getLogger("skdal")

_CHUNK_VALUES = 2**24  # gradient entries held at once


class SampleAxes:
    """Which axis of each tensor of a module is the sample: one that was as long as every mini-batch so far.

    Parameters
    ----------
    first : int
        That of the module's first input and output, preferred for the others.
    """

    def __init__(self, first):
        self.first, self._possible = first, {}

    def of(self, kind, tensors, n):
        """Return the axes of a call's tensors on n samples; None for a tensor that they share."""
        return [
            None if x is None else self._of(x.shape, n, (kind, slot, x.ndim))
            for slot, x in enumerate(tensors)
        ]

    def _of(self, shape, n, key):
        fitting = {axis for axis, size in enumerate(shape) if size == n}
        self._possible[key] = possible = self._possible.get(key, fitting) & fitting
        return self.first if self.first in possible else min(possible, default=None)


class _Call(NamedTuple):
    """A call of the module on n samples: its arguments (args, kwargs), its outputs' gradients, the axes of both."""

    n: int
    arguments: Any
    grads: list
    axes: list
    grad_axes: list

    def rows(self, start, stop):
        """Return the call on some of its samples."""
        axes = iter(self.axes)
        cut = lambda x, axis: (
            x if x is None or axis is None else x.narrow(axis, start, stop - start)
        )
        arguments = mapped(lambda x: cut(x, next(axes)), self.arguments)
        grads = [cut(grad, axis) for grad, axis in zip(self.grads, self.grad_axes)]
        return self._replace(n=stop - start, arguments=arguments, grads=grads)


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
        self._module, self.parameters, self._axes = module, parameters, axes
        self._ways = [self._by_vmap, self._by_loop]

    def __call__(self, layer, inputs, output_grads, direction):
        """Return (sq_norm, dot); an input is (args, kwargs)."""
        calls = [self._call(*pair) for pair in zip(inputs, output_grads)]
        n, size = (
            calls[0].n,
            sum(parameter.numel() for parameter in self.parameters.values()),
        )
        rows, parts = max(1, _CHUNK_VALUES // size), []
        for start in range(0, n, rows):
            found = [
                self._gradients(call.rows(start, min(n, start + rows)))
                for call in calls
            ]
            parts.append(
                explicit(
                    {
                        own: sum(gradients[own] for gradients in found)
                        for own in direction
                    },
                    direction,
                )
            )
        return concatenated(parts)

    def _call(self, arguments, grads):
        tensors, grads = (
            tensors_in(arguments),
            list(grads) if isinstance(grads, tuple) else [grads],
        )
        n, dtype = tensors[0].shape[self._axes.first], _narrow_dtype(self._module)
        axes, grad_axes = (
            self._axes.of("in", tensors, n),
            self._axes.of("out", grads, n),
        )
        if any(
            grad is not None and axis is None for grad, axis in zip(grads, grad_axes)
        ):
            raise NotImplementedError("no axis of one of its outputs is the sample")
        narrow = lambda x: x.to(dtype) if dtype and x.is_floating_point() else x
        return _Call(
            n,
            mapped(narrow, arguments),
            [g if g is None else narrow(g) for g in grads],
            axes,
            grad_axes,
        )

    def _gradients(self, call):
        """Return the gradients (n, *shape) of a call, by parameter, in float32 at least."""
        why = "it failed before"
        while self._ways:
            try:
                gradients = self._ways[0](call)
                return {
                    own: g.to(torch.promote_types(g.dtype, torch.float32))
                    for own, g in gradients.items()
                }
            except (
                Exception
            ) as error:  # whatever the module raises where it cannot be traced
                if is_out_of_memory(error):
                    raise
                why = reason(error)
                self._ways.pop(0)
                if self._ways:
                    logger.warning(
                        "%s runs once a sample: torch.func cannot trace it (%s)",
                        type(self._module).__name__,
                        why,
                    )
        raise NotImplementedError(f"its samples cannot be run one by one ({why})")

    def _by_vmap(self, call):
        tensors = tensors_in(call.arguments)
        used = [slot for slot, grad in enumerate(call.grads) if grad is not None]
        axes, grad_axes = (
            [a for a in call.axes if a is not None],
            [call.grad_axes[slot] for slot in used],
        )

        def gradients(samples, sample_grads):
            samples = iter(samples)
            whole = [
                x if axis is None else next(samples).unsqueeze(axis)
                for x, axis in zip(tensors, call.axes)
            ]
            whole = iter(whole)
            arguments = mapped(lambda _: next(whole), call.arguments)

            def outputs(values):
                with swapped(self._module, self.parameters, values):
                    found = tensors_in(self._run(arguments))
                return [found[slot] for slot in used]

            _, pull_back = vjp(outputs, values)
            return pull_back(
                [grad.unsqueeze(axis) for grad, axis in zip(sample_grads, grad_axes)]
            )[0]

        values = {own: parameter.detach() for own, parameter in self.parameters.items()}
        samples = [x for x, axis in zip(tensors, call.axes) if axis is not None]
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "There is a performance drop"
            )  # of torch.func
            return vmap(gradients, in_dims=(axes, grad_axes))(
                samples, [call.grads[slot] for slot in used]
            )

    def _by_loop(self, call):
        rows = []
        for i in range(call.n):
            sample = call.rows(i, i + 1)
            with torch.enable_grad():
                pairs = zip(tensors_in(self._run(sample.arguments)), sample.grads)
                pairs = [
                    (output, grad)
                    for output, grad in pairs
                    if grad is not None and output.requires_grad
                ]
                rows.append(
                    self._sample_gradients(*zip(*pairs))
                    if pairs
                    else self._sample_gradients([], [])
                )
        return {
            own: torch.stack([row[slot] for row in rows])
            for slot, own in enumerate(self.parameters)
        }

    def _sample_gradients(self, outputs, grads):
        parameters = list(self.parameters.values())
        found = differentiate(outputs, parameters, grads, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g.to_dense()
            for p, g in zip(parameters, found)
        ]

    def _run(self, arguments):
        """Run the module on the arguments that it was seen to get, and return what it was seen to give.

        They come after the caller's hooks on its inputs, and go before those on its outputs. The
        former run again, since weight norm makes its weight in one, but change nothing.
        """
        module, (args, kwargs) = self._module, arguments
        for key, hook in module._forward_pre_hooks.items():
            hook(
                module, args, kwargs
            ) if key in module._forward_pre_hooks_with_kwargs else hook(module, args)
        return module.forward(*args, **kwargs)


def _narrow_dtype(module):
    """Return the dtype of a module in half precision, whose inputs come wider here; else None."""
    return next(
        (
            p.dtype
            for p in module.parameters()
            if p.is_floating_point() and p.itemsize < 4
        ),
        None,
    )
