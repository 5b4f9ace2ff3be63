"""What the verification experiments have in common: settings, and the images that kernels are
of.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from skdal.exceptions import InvalidParameterError
from skdal.utils import (
    AS_JSON,
    check_known,
    check_values,
    digest,
    integer_from,
    is_count,
    is_positive_integer,
    kept,
)


def _is_name(value):
    return isinstance(value, str) and bool(value)


def _are(values, is_one):
    return isinstance(values, (tuple, list)) and values and all(map(is_one, values))


def _ascend(values):
    return _are(values, is_count) and all(a < b for a, b in zip(values, values[1:]))


def _are_sizes(values):
    return _are(values, is_positive_integer) and len(set(values)) == len(values)


def _are_names(values):
    return _are(values, _is_name) and len(set(values)) == len(values)


_CHECKS = {
    "dataset": (_is_name, "a name"),
    "pixels": integer_from(1),
    "n_initial": integer_from(1),
    "n_query": integer_from(1),
    "n_candidates": integer_from(1),
    "budget": integer_from(1),
    "n_draws": integer_from(2),
    "n_ratio_draws": integer_from(2),
    "batches": (_are_sizes, "a tuple of different integers of at least 1"),
    "epochs": (_ascend, "a tuple of ascending integers of at least 0"),
    "models": (_are_names, "a tuple of different names"),
    "seed": integer_from(0),
}


@dataclass(frozen=True)
class TheorySettings:
    """A verification experiment, in the paper's sizes.

    Parameters
    ----------
    dataset : str
        A key of `DATASETS`, an .npz file or a folder.
    pixels : int
        Images are averaged down to this side for infinite kernels.
    dtype : {"float64", "float32"}
        Of infinite kernels.
    n_initial, n_query : int
        Sizes of S and Q.
    n_draws : int
        Random queries, from `n_candidates` fixed random images.
    n_candidates : int
    budget : int
        Labels asked for in all, where there are rounds.
    batches : tuple of int
        Sizes of a query, where several are compared.
    epochs : tuple of int
        Of training, after which approximation ratios are taken.
    models : tuple of str
        Nets that these are taken of.
    n_ratio_draws : int
        Random queries that they are averaged over.
    seed : int
    """

    dataset: str = "cifar10"
    pixels: int = 16
    dtype: str = "float64"
    n_initial: int = 500
    n_query: int = 250
    n_draws: int = 150
    n_candidates: int = 1000
    budget: int = 1000
    batches: tuple = (100, 250, 500, 1000)
    epochs: tuple = (0, 1, 2, 5, 10, 20, 40, 80)
    models: tuple = ("cnn", "resnet18")
    n_ratio_draws: int = 50
    seed: int = 0

    def __post_init__(self):
        """Raise if a setting is not allowed."""
        check_known("dtype", self.dtype, ("float64", "float32"))
        check_values(vars(self), _CHECKS)

    def digest(self, *names: Any) -> Any:
        """Return a hash of some of the settings."""
        held = json.dumps({name: getattr(self, name) for name in names}, sort_keys=True)
        return digest([held.encode()], n_digits=12, method="sha256")

    def to_dict(self) -> Any:
        """Return the settings for JSON."""
        return dataclasses.asdict(self)


QUICK = TheorySettings(
    dataset="digits",
    pixels=8,
    n_initial=60,
    n_query=30,
    n_draws=40,
    n_candidates=120,
    budget=80,
    batches=(16, 40, 80),
    epochs=(0, 2, 10, 40),
    models=("digits_cnn", "cnn_gap"),
    n_ratio_draws=50,
)


def kernel_images(images, indices, pixels):
    """Return images as infinite kernels take them: normalized by channel, averaged down to `pixels`
    a side.

    Parameters
    ----------
    images : Images
    indices : array of int (n,)
    pixels : int

    Returns
    -------
    tensor (n, channels, pixels, pixels), float64

    Raises
    ------
    InvalidParameterError
        The images are smaller.
    """
    batch, _ = images.batch(indices)
    if pixels > min(batch.shape[2:]):
        raise InvalidParameterError(
            f"the images are of {tuple(batch.shape[2:])} pixels and cannot be averaged down to "
            f"{pixels}; ask for fewer (--pixels)."
        )
    return F.adaptive_avg_pool2d(batch.double().contiguous(), pixels)


def check_enough(settings, data, n_more):
    """Raise if there are not as many training images as labels at the start and `n_more`."""
    n = len(data.train)
    needed = settings.n_initial + n_more
    if needed > n:
        raise InvalidParameterError(
            f"{needed} training images are needed, {settings.n_initial} labeled at the start "
            f"and {n_more} that queries are drawn from; {settings.dataset} has {n}. Take a "
            "larger data set, or smaller sizes (--quick has them)."
        )


THEORY_NET = {
    "kind": "conv",
    "depth": 3,
    "readout": "gap",
}  # three convolutions and global average pooling


def kept_rows(file, make):
    """Return the list that a JSON file holds; see `kept`."""
    return kept(file, make, AS_JSON, partial(fault_of, kind=list))


def fault_of(value, kind):
    """Say what is wrong with a result that was read from JSON, which has to be of a kind and not
    empty, or None.
    """
    if isinstance(value, kind) and value:
        return None
    return f"no {kind.__name__} of results"


def as_one_hot(labels, n_classes):
    """Return labels (n, K) of integers (n,)."""
    return F.one_hot(torch.as_tensor(labels), n_classes).double().numpy()


def extreme_eigenvalues(theta):
    """Return the smallest and the largest eigenvalue of a kernel."""
    return np.linalg.eigvalsh(theta.astype(np.float64))[[0, -1]].tolist()
