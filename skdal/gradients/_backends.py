"""The choice of backend: try, prove, check, step down."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch

from skdal.exceptions import (
    GradientMismatchError,
    InvalidParameterError,
    UnsupportedLayerError,
)
from skdal.gradients._backpack import BACKPACK
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._engine import GhostBackend
from skdal.gradients._functorch import FunctorchBackend
from skdal.gradients._loop import LoopBackend
from skdal.gradients._memory import Halving
from skdal.gradients._minibatch import MiniBatch, Question
from skdal.gradients._parameters import check_direction, select_parameters
from skdal.gradients._selfcheck import refuse_noise, self_check
from skdal.gradients._statistics import Found, GradientStatistics
from skdal.gradients._uncovered import Uncovered

logger = logging.getLogger("skdal")


class Backend(Protocol):
    """Per-sample statistics of mini-batches, for one query."""

    def __call__(self, model, batch: MiniBatch, question: Question) -> Found:
        """Return what is found for a mini-batch.

        `model` has `module`, `forward(inputs)`, `losses(outputs, labels)` and
        `output_gradients(outputs, labels)`.

        Raises
        ------
        Uncovered
            It cannot handle the module.
        """


BACKENDS: dict[str, Callable[[], Backend]] = {
    "ghost": GhostBackend,
    "functorch": FunctorchBackend,
    "backpack": partial(GhostBackend, BACKPACK),
    "loop": LoopBackend,
}
_AUTO = ("ghost", "functorch", "loop")


class StatisticsPass:
    """Per-sample statistics of mini-batches, with one choice of backend for all of them.

    Parameters
    ----------
    model : object
        As a `Backend` takes it.
    direction : dict of str to tensor, or None
        For the inner products.
    layers, backend
        As in `gradient_statistics`.
    only_dot : bool
        Spare the work for squared norms; these are None then.
    """

    def __init__(
        self,
        model,
        *,
        direction=None,
        layers="all",
        backend="auto",
        only_dot=False,
    ):
        if backend not in (*BACKENDS, "auto"):
            raise InvalidParameterError(
                f'backend must be "auto" or one of {sorted(BACKENDS)}; got {backend!r}.'
            )
        refuse_cross_sample_layers(model.module)
        self._model = model
        self._direction = direction
        self._layers = layers
        self._only_dot = only_dot
        self._is_explicit = backend != "auto"
        self._names = [backend] if self._is_explicit else list(_AUTO)
        self._halving = Halving()
        self._question = None
        self._start()

    def _start(self):
        self._backend = BACKENDS[self._names[0]]()
        self._is_checked = False

    def __call__(self, inputs, labels=None):
        """Return the GradientStatistics of a mini-batch, in tensors.

        Raises
        ------
        UnsupportedLayerError
            The backend asked for cannot handle the module.
        GradientMismatchError
            The backend asked for failed the self-check, or the module does not give the same
            twice.
        SampleTooLargeError
            One sample alone runs out of memory.
        """
        if self._question is None:
            parameters = select_parameters(self._model, self._layers, inputs)
            direction = check_direction(self._direction, parameters)
            self._question = Question(parameters, direction, self._only_dot)
        parts = list(self._halving(self._run, MiniBatch(inputs, labels)))
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _run(self, batch):
        while True:
            try:
                found = self._backend(self._model, batch, self._question)
                if self._only_dot:
                    found = found._replace(sq_norm=None)
                self._is_checked = self._is_checked and found.is_proven
                if not self._is_checked:
                    self._check(batch, found)
                    self._is_checked = True
                return GradientStatistics(found.sq_norm, found.dot, found.label)
            except (Uncovered, GradientMismatchError) as error:
                self._step_down(error)

    def _check(self, batch, found):
        if self._names[0] == "loop":  # it is what the others are compared with
            refuse_noise(self._model, batch.inputs)
        else:
            self_check(self._model, batch, self._question, found)

    def _step_down(self, error):
        name = self._names[0]
        is_mismatch = isinstance(error, GradientMismatchError)
        # No backend can be right about a module that does not give the same twice.
        if is_mismatch and (self._is_explicit or error.is_noise):
            raise error
        if self._is_explicit:
            raise UnsupportedLayerError(
                f'backend="{name}" cannot handle this module: {error}. Use backend="auto", '
                "which falls back to one that can."
            ) from error
        self._names.pop(0)
        message = f'backend "{name}" is not used: {error}. Trying "{self._names[0]}".'
        if is_mismatch:
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        logger.warning(message)
        self._start()


def _joined(parts):
    """Return the statistics of consecutive parts of a mini-batch as one."""
    columns = [
        None if column[0] is None else torch.cat(column) for column in zip(*parts)
    ]
    return GradientStatistics(*columns)
