"""Errors of skdal: each a `SkdalError`, and each the builtin that a caller would expect."""

from __future__ import annotations

from typing import Any

import sklearn.exceptions

__all__ = [
    "CrossSampleLayerError",
    "DivergedTrainingError",
    "EmptyPoolError",
    "FailingModuleError",
    "GatherTooLargeError",
    "GradientMismatchError",
    "IllConditionedWarning",
    "InvalidDataError",
    "InvalidKernelError",
    "InvalidLabelsError",
    "InvalidParameterError",
    "InvalidSampleError",
    "MissingExtraError",
    "MissingLabeledDataError",
    "NonFiniteScoreError",
    "NotFittedError",
    "RunInUseError",
    "SampleTooLargeError",
    "SkdalError",
    "TooManyUnreadableError",
    "UnreadableSampleError",
    "UnsupportedEstimatorError",
    "UnsupportedLayerError",
    "WorkerLostError",
]


class SkdalError(Exception):
    """Base of every error that skdal raises on purpose."""


class InvalidParameterError(SkdalError, ValueError, TypeError):
    """A parameter has a value or a type that is not allowed."""


class InvalidDataError(SkdalError, ValueError):
    """Data that cannot be used: wrong kind, or pool and labeled set do not fit together."""


class InvalidSampleError(InvalidDataError):
    """A sample that cannot be fetched, cannot join a mini-batch, or that the net's module does not
    take.

    Attributes
    ----------
    reason : str
        What it is, what was expected, and the remedy.
    position : int or None
        Of the sample in `of`.
    of : str
        What it is a sample of, such as "the pool".
    key : object
        Its key, None where the pool has no keys.
    """

    def __init__(
        self,
        reason: str,
        position: int | None = None,
        of: str = "the pool",
        key: Any = None,
    ) -> None:
        super().__init__(reason, position, of, key)
        self.reason = reason
        self.position = position
        self.of = of
        self.key = key

    def __str__(self):
        key = "" if self.key is None else f" ({self.key})"
        return (
            self.reason
            if self.position is None
            else f"sample {self.position} of {self.of}{key}: {self.reason}"
        )

    def at(self, position: int | None, of: str | None = None, key: Any = None) -> Any:
        """Return the same error of a sample at another position, of `of` if given."""
        moved = type(self)(
            self.reason,
            position,
            self.of if of is None else of,
            self.key if key is None else key,
        )
        moved.__cause__ = self.__cause__
        for note in getattr(self, "__notes__", []):
            moved.add_note(note)
        return moved


class DivergedTrainingError(SkdalError, ArithmeticError):
    """A training ended in weights that are NaN or infinite; the estimator is as it was before."""


class EmptyPoolError(InvalidDataError):
    """The pool holds no sample."""


class InvalidKernelError(SkdalError, ValueError):
    """A kernel that breaks an assumption of the theory."""


class InvalidLabelsError(SkdalError, ValueError):
    """Labels that a net cannot be trained or scored with."""


class MissingLabeledDataError(SkdalError, ValueError):
    """The sampler needs the labeled set, and none was given."""


class NotFittedError(SkdalError, sklearn.exceptions.NotFittedError):
    """The estimator is not trained yet."""


class UnsupportedEstimatorError(SkdalError, TypeError, ValueError):
    """An estimator of a kind that skdal does not work with."""


class FailingModuleError(UnsupportedEstimatorError, InvalidDataError):
    """A net's module fails on all samples alike: it is wrong, or all samples have another form than
    it takes.
    """


class UnsupportedLayerError(SkdalError, NotImplementedError, ValueError):
    """The backend asked for cannot handle some layers of the module; all of them are listed."""


class CrossSampleLayerError(SkdalError, ValueError):
    """A layer mixes the samples of a mini-batch, so a sample has no gradient of its own."""


class NonFiniteScoreError(SkdalError, ValueError):
    """Some scores are NaN or infinite."""


class GradientMismatchError(SkdalError, ArithmeticError):
    """The self-check found statistics that differ from plain autograd.

    Attributes
    ----------
    is_noise : bool
        Whether the module does not give the same twice, so that no backend can be right.
    """

    def __init__(self, message: str = "", *, is_noise: bool = False) -> None:
        super().__init__(message)
        self.is_noise = is_noise


class SampleTooLargeError(SkdalError, MemoryError):
    """Not even a single sample fits into memory."""


class UnreadableSampleError(SkdalError, OSError):
    """A sample of a pool that cannot be read; pools raise it, and queries set the sample aside."""


class TooManyUnreadableError(InvalidDataError):
    """More samples of a pool cannot be read than its `max_unreadable` allows."""


class GatherTooLargeError(SkdalError, MemoryError):
    """What a sampler has to gather of a pool is above the limit of its executor."""


class MissingExtraError(SkdalError, ImportError):
    """A package is missing that is an extra of skdal."""


class WorkerLostError(SkdalError, RuntimeError):
    """Workers were lost again and again."""


class RunInUseError(SkdalError, RuntimeError):
    """Another process is busy with this run of an experiment."""


class IllConditionedWarning(UserWarning):
    """A kernel's smallest eigenvalues are lost in rounding, and were raised."""
