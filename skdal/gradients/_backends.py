"""The choice of backend: try, prove, check, step down.

A backend is a callable `(model, inputs, labels, parameters, direction) -> (sq_norm, dot, label)`:
one mini-batch in, float64 tensors (n,) out; `dot` is None without a direction, `labels` None asks
for each sample's own argmax. It raises `Uncovered` for a module that it cannot handle.
"""

import logging
import warnings

import torch

from skdal.exceptions import (
    GradientMismatchError,
    InvalidParameterError,
    UnsupportedLayerError,
)
from skdal.gradients._backpack import BackpackBackend
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._engine import GhostBackend
from skdal.gradients._functorch import functorch_backend
from skdal.gradients._loop import loop_backend
from skdal.gradients._memory import Halving
from skdal.gradients._parameters import check_direction, select_parameters
from skdal.gradients._selfcheck import refuse_noise, self_check
from skdal.gradients._tape import Uncovered, tensors_in

logger = logging.getLogger("skdal")

BACKENDS = {
    "ghost": GhostBackend,
    "functorch": lambda: functorch_backend,
    "backpack": BackpackBackend,
    "loop": lambda: loop_backend,
}
_AUTO = ("ghost", "functorch", "loop")


class StatisticsPass:
    """Per-sample statistics, a mini-batch at a time, with one choice of backend for all of them.

    Parameters
    ----------
    model : object
        With `module`, `forward(inputs)`, `losses(outputs, labels)` and `output_gradients(outputs, labels)`.
    direction : dict of str to tensor, or None
        For the inner products.
    layers, backend
        As in `gradient_statistics`.
    only_dot : bool
        Spare the work for squared norms; these are None then.
    """

    def __init__(
        self, model, *, direction=None, layers="all", backend="auto", only_dot=False
    ):
        if backend not in (*BACKENDS, "auto"):
            raise InvalidParameterError(
                f'backend must be "auto" or one of {sorted(BACKENDS)}; got {backend!r}.'
            )
        refuse_cross_sample_layers(model.module)
        self._model, self._direction, self._layers, self._only_dot = (
            model,
            direction,
            layers,
            only_dot,
        )
        self._explicit = backend != "auto"
        self._names = list(_AUTO if backend == "auto" else [backend])
        self._halving, self._parameters = Halving(), None
        self._start()

    def _start(self):
        self._backend, self._checked = BACKENDS[self._names[0]](), False
        if self._names[0] == "ghost":
            self._backend.only_dot = self._only_dot

    def __call__(self, inputs, labels=None):
        """Return (sq_norm, dot, label) of a mini-batch.

        Raises
        ------
        UnsupportedLayerError
            The backend asked for cannot handle the module.
        GradientMismatchError
            The backend asked for failed the self-check, or the module does not give the same twice.
        SampleTooLargeError
            One sample alone runs out of memory.
        """
        if self._parameters is None:
            self._parameters = select_parameters(self._model, self._layers, inputs)
            self._direction = check_direction(self._direction, self._parameters)
        parts = list(
            self._halving(self._run, inputs, labels, len(tensors_in(inputs)[0]))
        )
        if len(parts) == 1:
            return parts[0]
        return tuple(
            None if column[0] is None else torch.cat(column) for column in zip(*parts)
        )

    def _run(self, inputs, labels):
        while True:
            try:
                sq_norm, dot, labels_used = self._backend(
                    self._model, inputs, labels, self._parameters, self._direction
                )
                self._checked = self._checked and not getattr(
                    self._backend, "fresh", False
                )
                found = (None if self._only_dot else sq_norm), dot, labels_used
                self._check(inputs, found)
                return found
            except (Uncovered, GradientMismatchError) as error:
                self._step_down(error)

    def _check(self, inputs, found):
        if self._checked:
            return
        *statistics, labels = found
        if self._names[0] == "loop":
            refuse_noise(self._model, inputs)
        else:
            shares = getattr(self._backend, "shares", {})
            self_check(
                self._model,
                inputs,
                labels,
                self._parameters,
                self._direction,
                statistics,
                shares,
            )
        # Rows that are sorted or routed within the module may lie otherwise in the next mini-batch.
        self._checked = not getattr(self._backend, "reorders", False)

    def _step_down(self, error):
        name = self._names[0]
        if getattr(error, "is_noise", False):  # no backend can be right
            raise error
        if self._explicit:
            if isinstance(error, GradientMismatchError):
                raise error
            raise UnsupportedLayerError(
                f'backend="{name}" cannot handle this module: {error}. Use backend="auto", which falls back to one '
                "that can."
            ) from error
        self._names.pop(0)
        message = f'backend "{name}" is not used: {error}. Trying "{self._names[0]}".'
        if isinstance(error, GradientMismatchError):
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        logger.warning(message)
        self._start()
