"""The choice of backend: try, prove, check, step down.

A backend is a callable `(model, inputs, labels, parameters, direction) -> (sq_norm, dot, label)`:
one mini-batch in, float64 tensors (n,) out; `dot` is None without a direction, `labels` None asks
for each sample's own argmax. It raises `Uncovered` for a module that it cannot handle.
"""

import logging
import warnings

from skdal.exceptions import GradientMismatchError, InvalidParameterError, UnsupportedLayerError
from skdal.gradients._backpack import BackpackBackend
from skdal.gradients._checks import refuse_cross_sample_layers, self_check
from skdal.gradients._engine import GhostBackend
from skdal.gradients._functorch import functorch_backend
from skdal.gradients._loop import loop_backend
from skdal.gradients._parameters import check_direction, select_parameters
from skdal.gradients._tape import Uncovered

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
        With `module`, `forward(inputs)` and `losses(outputs, labels)`.
    direction : dict of str to tensor, or None
        For the inner products.
    layers, backend
        As in `gradient_statistics`.
    """

    def __init__(self, model, *, direction=None, layers="all", backend="auto"):
        if backend not in (*BACKENDS, "auto"):
            raise InvalidParameterError(f'backend must be "auto" or one of {sorted(BACKENDS)}; got {backend!r}.')
        refuse_cross_sample_layers(model.module)
        self._model, self._direction, self._layers = model, direction, layers
        self._explicit = backend != "auto"
        self._names = list(_AUTO if backend == "auto" else [backend])
        self._backend = BACKENDS[self._names[0]]()
        self._parameters = None
        self._checked = False

    def __call__(self, inputs, labels=None):
        """Return (sq_norm, dot, label) of a mini-batch.

        Raises
        ------
        UnsupportedLayerError
            The backend asked for cannot handle the module.
        GradientMismatchError
            The backend asked for failed the self-check.
        """
        if self._parameters is None:
            self._parameters = select_parameters(self._model, self._layers, inputs)
            self._direction = check_direction(self._direction, self._parameters)
        while True:
            try:
                found = self._backend(self._model, inputs, labels, self._parameters, self._direction)
                self._check(inputs, found)
                return found
            except (Uncovered, GradientMismatchError) as error:
                self._step_down(error)

    def _check(self, inputs, found):
        if self._names[0] == "loop" or (self._checked and not getattr(self._backend, "fresh", False)):
            return
        *statistics, labels = found
        self_check(self._model, inputs, labels, self._parameters, self._direction, statistics)
        self._checked = True

    def _step_down(self, error):
        name = self._names[0]
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
        self._backend, self._checked = BACKENDS[self._names[0]](), False
