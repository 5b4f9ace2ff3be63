"""Imbalanced forms of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdal.datasets._images import ImageData
from skdal.exceptions import InvalidParameterError


def imbalanced(data: Any, ratio: float, *, seed: int = 0) -> Any:
    """Return a data set whose training images follow an exponential class profile; the test images
    stay.

    Class c of K keeps n_c = int(n_max * ratio ** (-c / (K - 1))) images, drawn by `seed`, with the
    largest n_max that all classes allow: CIFAR-10 at ratio 100 keeps 12,406.

    Parameters
    ----------
    data : ImageData
    ratio : float
        Images of the first class over those of the last, at least 1.
    seed : int, default=0

    Raises
    ------
    InvalidParameterError
        The ratio is below 1, or leaves a class without images.
    """
    if not ratio >= 1:
        raise InvalidParameterError(
            f"the imbalance ratio must be at least 1; got {ratio!r}."
        )
    labels = data.train.targets
    counts = np.bincount(labels, minlength=len(data.class_names))
    wanted = profile(counts, ratio)
    if (wanted < 1).any():
        raise InvalidParameterError(
            f"an imbalance ratio of {ratio} leaves {wanted.tolist()} images of the classes, "
            f"which have {counts.tolist()}; use a smaller ratio."
        )
    rng = np.random.default_rng(seed)
    kept = [
        rng.choice(np.flatnonzero(labels == c), n, replace=False)
        for c, n in enumerate(wanted)
    ]
    return ImageData(
        data.train.take(np.sort(np.concatenate(kept))), data.test, data.class_names
    )


def profile(counts, ratio):
    """Return how many images each class keeps of those that it has."""
    shares = float(ratio) ** (-np.arange(len(counts)) / max(1, len(counts) - 1))
    n_max = int(min(np.asarray(counts) / shares))
    return (n_max * shares).astype(np.int64)
