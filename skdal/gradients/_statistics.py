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


def concatenate(parts):
    """Return the statistics of mini-batches (tensors on any device) as one of arrays."""
    columns = [
        None if column[0] is None else np.concatenate([c.cpu().numpy() for c in column]) for column in zip(*parts)
    ]
    return GradientStatistics(*columns)
