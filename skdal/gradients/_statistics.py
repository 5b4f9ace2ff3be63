"""What a pass over samples returns."""

from typing import NamedTuple

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


def empty_statistics(n_samples, *, with_dot):
    """Return statistics of `n_samples` samples to be filled by `store`."""
    return GradientStatistics(
        np.empty(n_samples),
        np.empty(n_samples) if with_dot else None,
        np.empty(n_samples, dtype=np.int64),
    )


def store(part, total, start):
    """Copy the statistics of a mini-batch (tensors on any device) into `total` and return their number.

    Mini-batches are not kept until the end: small tensors between large ones that are freed pin the
    heap, and the process would grow with the pool.
    """
    stop = start + len(part[-1])
    for column, values in zip(total, part):
        if column is not None:
            column[start:stop] = (
                np.nan if values is None else values.detach().cpu().numpy()
            )
    return stop - start
