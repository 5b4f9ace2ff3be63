"""What a pass over samples returns."""

from typing import Any, NamedTuple

import numpy as np


class GradientStatistics(NamedTuple):
    """Per-sample gradient statistics.

    Attributes
    ----------
    sq_norm : float64 array (n_samples,)
        Squared length of each sample's gradient.
    dot : float64 array (n_samples,) or None
        Inner product of each sample's gradient with the direction; None without a direction.
    label : int64 array (n_samples,)
        The label under which the gradient was taken.
    """

    sq_norm: np.ndarray
    dot: np.ndarray | None
    label: np.ndarray


class Found(NamedTuple):
    """What a backend finds for a mini-batch.

    Attributes
    ----------
    sq_norm : float64 tensor (n,)
        Squared length of each sample's gradient.
    dot : float64 tensor (n,) or None
        Inner product of each sample's gradient with the direction; None without a direction.
    label : int64 tensor (n,)
        The label under which the gradient was taken.
    shares : dict of tuple of str to (sq_norm, dot)
        Parts of both, by the names of the parameters that each is over; empty where the
        backend knows no parts.
    is_proven : bool
        Whether a self-check of an earlier mini-batch of the same query holds for this one,
        too.
    """

    sq_norm: Any
    dot: Any
    label: Any
    shares: dict = {}
    is_proven: bool = True


def empty_statistics(n_samples, *, with_dot):
    """Return statistics of `n_samples` samples to be filled by `store`."""
    return GradientStatistics(
        np.empty(n_samples),
        np.empty(n_samples) if with_dot else None,
        np.empty(n_samples, dtype=np.int64),
    )


def store(part, total, start):
    """Copy the statistics of a mini-batch (tensors) into `total` and return their number.

    Mini-batches are not kept until the end: small tensors between large ones that are freed
    pin the heap, and the process would grow with the pool.
    """
    stop = start + len(part.label)
    for column, values in zip(total, part):
        if column is None:
            continue
        if values is None:
            column[start:stop] = np.nan
        else:
            column[start:stop] = values.detach().cpu().numpy()
    return stop - start
