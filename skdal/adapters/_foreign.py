"""Errors that are not ours: which of them may be explained, and the first item of a Dataset, where
many come up.
"""

from contextlib import contextmanager

import torch

from skdal.exceptions import InvalidSampleError, SkdalError
from skdal.utils import is_torch_dataset


def is_foreign(error):
    """Tell whether an error may be explained: no error of skdal, no warning, and memory has not run
    out.
    """
    if isinstance(
        error, (SkdalError, MemoryError, torch.OutOfMemoryError, Warning)
    ) or not isinstance(error, Exception):
        return False
    words = str(error)
    return (
        "can't allocate memory" not in words and "CUDA error" not in words
    )  # after which no kernel runs


def quoted(error):
    """Return the words that name an error."""
    words = " ".join(str(error).split())
    return f"The error was {type(error).__name__}: {words[:300]}"


def not_fetched(error):
    """Return what to say of a sample whose `__getitem__` raises an error."""
    ends = (
        ", which would end a pass over the data without a word"
        if isinstance(error, StopIteration)
        else ""
    )
    return (
        f"it cannot be fetched{ends}: {quoted(error)}. Look at the __getitem__ of the Dataset "
        "for this sample."
    )


@contextmanager
def looking_at_first(X, of="the pool"):
    """Run a block that looks at the first item of X; of a Dataset, an error of others is told as
    the sample's.

    Raises
    ------
    InvalidSampleError
        The item cannot be fetched.
    """
    try:
        yield
    except Exception as error:
        if not is_torch_dataset(X) or not is_foreign(error):
            raise
        raise InvalidSampleError(not_fetched(error), 0, of) from error


def refuse_stopped(dataset, rows, of):
    """Raise an InvalidSampleError if one of some samples raises StopIteration.

    To whoever iterates over mini-batches, it looks as if the data were at their end.

    Parameters
    ----------
    dataset : Dataset
    rows : iterable of int
        Positions among which to look; as many samples are fetched as it takes.
    of : str
        What they are samples of.
    """
    for i in rows:
        try:
            dataset[i]
        except StopIteration as error:
            raise InvalidSampleError(not_fetched(error), i, of) from error
