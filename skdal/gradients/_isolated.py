"""A module without a rule, by itself: torch.func over its input and its output's gradient.

The rest of the net keeps its rules. Where torch.func cannot trace the module, it is run once a
sample by plain autograd.
"""

import logging
import warnings

import torch
from torch.func import vjp, vmap

from skdal.gradients._tape import mapped, tensors_in
from skdal.gradients.rules import concatenated, explicit
from skdal.utils import swapped

logger = logging.getLogger("skdal")

_CHUNK_VALUES = 2**24  # gradient entries held at once


class Isolated:
    """The statistics of one module, as a rule; see `rules`.

    Parameters
    ----------
    module : torch.nn.Module
        Whose calls hold every use of these parameters.
    parameters : dict of str to Parameter
        Scored, by their names in the module.
    sample_axis : int
        Of its inputs and outputs.
    """

    def __init__(self, module, parameters, sample_axis):
        self._module, self.parameters, self._axis = module, parameters, sample_axis
        self._per_sample = self._by_vmap

    def __call__(self, layer, inputs, output_grads, direction):
        """Return (sq_norm, dot); an input is (args, kwargs)."""
        n = tensors_in(inputs[0])[0].shape[self._axis]
        size = sum(parameter.numel() for parameter in self.parameters.values())
        rows = max(1, _CHUNK_VALUES // size)
        parts = []
        for start in range(0, n, rows):
            few = slice(start, min(n, start + rows))
            calls = [(self._rows(x, few, n), self._rows(g, few, n)) for x, g in zip(inputs, output_grads)]
            found = [self._gradients(x, g, few.stop - few.start, n) for x, g in calls]
            gradients = {name: sum(gradient[name] for gradient in found) for name in self.parameters}
            parts.append(explicit(gradients, direction))
        return concatenated(parts)

    def _gradients(self, inputs, grads, n_rows, n):
        try:
            return self._per_sample(inputs, grads, n_rows)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
            if self._per_sample != self._by_vmap:
                raise
            reason = str(error).strip().splitlines()[0]
            logger.warning(
                "%s runs once a sample: torch.func cannot trace it (%s)", type(self._module).__name__, reason
            )
            self._per_sample = self._by_loop
            return self._per_sample(inputs, grads, n_rows)

    def _by_vmap(self, inputs, grads, n_rows):
        tensors = tensors_in(inputs)
        batched = [self._has_axis(x, n_rows) for x in tensors]
        grads = tensors_in(grads)

        def gradients(samples, sample_grads):
            samples = iter(samples)
            whole = iter([next(samples).unsqueeze(self._axis) if b else x for x, b in zip(tensors, batched)])
            args, kwargs = mapped(lambda _: next(whole), inputs)

            def outputs(values):
                with swapped(self._module, self.parameters, values):
                    return self._used(self._module(*args, **kwargs), grads)

            _, pull_back = vjp(outputs, values)
            return pull_back([grad.unsqueeze(self._axis) for grad in sample_grads])[0]

        values = {name: parameter.detach() for name, parameter in self.parameters.items()}
        samples = [x for x, b in zip(tensors, batched) if b]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # of torch.func
            return vmap(gradients, in_dims=self._axis)(samples, grads)

    def _by_loop(self, inputs, grads, n_rows):
        rows = []
        for i in range(n_rows):
            args, kwargs = self._rows(inputs, slice(i, i + 1), n_rows)
            with torch.enable_grad():
                outputs = self._used(self._module(*args, **kwargs), grads)
                sample_grads = tensors_in(self._rows(grads, slice(i, i + 1), n_rows))
                parameters = list(self.parameters.values())
                found = torch.autograd.grad(outputs, parameters, grad_outputs=sample_grads, allow_unused=True)
            rows.append([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)])
        return {name: torch.stack(column) for name, column in zip(self.parameters, zip(*rows))}

    @staticmethod
    def _used(outputs, grads):
        """Return the outputs that have a gradient."""
        if isinstance(grads, tuple):
            return [output for output, grad in zip(tensors_in(outputs), grads) if grad is not None]
        return tensors_in(outputs)[:1]

    def _rows(self, values, rows, n):
        index = (*[slice(None)] * self._axis, rows)
        return mapped(lambda x: x[index] if self._has_axis(x, n) else x, values)

    def _has_axis(self, x, n):
        return x.ndim > self._axis and x.shape[self._axis] == n
