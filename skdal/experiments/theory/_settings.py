"""What the verification experiments have in common: settings, and the images that kernels are of."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import check_known, is_count, write_atomically


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
        wrong = [
            f"{name} must be {allowed}; got {value!r}"
            for name, value, allowed in self._faults()
        ]
        if wrong:
            raise InvalidParameterError("; ".join(wrong) + ".")

    def _faults(self):
        from_1, from_2 = (
            lambda v, least=least: is_count(v) and v >= least for least in (1, 2)
        )
        are = lambda values, is_one: (
            isinstance(values, (tuple, list))
            and len(values) > 0
            and all(map(is_one, values))
        )
        ascends = lambda values: (
            are(values, is_count) and all(a < b for a, b in zip(values, values[1:]))
        )
        differ = lambda values, is_one: (
            are(values, is_one) and len(set(values)) == len(values)
        )
        is_name = lambda v: isinstance(v, str) and bool(v)
        sizes = ("pixels", "n_initial", "n_query", "n_candidates", "budget")
        checks = {
            "dataset": (is_name, "a name"),
            **dict.fromkeys(sizes, (from_1, "an integer of at least 1")),
            **dict.fromkeys(
                ("n_draws", "n_ratio_draws"), (from_2, "an integer of at least 2")
            ),
            "batches": (
                lambda v: differ(v, from_1),
                "a tuple of different integers of at least 1",
            ),
            "epochs": (ascends, "a tuple of ascending integers of at least 0"),
            "models": (lambda v: differ(v, is_name), "a tuple of different names"),
            "seed": (is_count, "an integer of at least 0"),
        }
        return [
            (k, getattr(self, k), allowed)
            for k, (is_allowed, allowed) in checks.items()
            if not is_allowed(getattr(self, k))
        ]

    def digest(self, *names):
        """Return a hash of some of the settings."""
        held = json.dumps({name: getattr(self, name) for name in names}, sort_keys=True)
        return hashlib.sha256(held.encode()).hexdigest()[:12]

    def to_dict(self):
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
    """Return images as infinite kernels take them: normalized by channel, averaged down to `pixels` a side.

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
            f"the images are of {tuple(batch.shape[2:])} pixels and cannot be averaged down to {pixels}; "
            "ask for fewer (--pixels)."
        )
    return F.adaptive_avg_pool2d(batch.double().contiguous(), pixels)


def check_enough(settings, data, n_more):
    """Raise if there are not as many training images as labels at the start and `n_more`."""
    n, needed = len(data.train), settings.n_initial + n_more
    if needed > n:
        raise InvalidParameterError(
            f"{needed} training images are needed, {settings.n_initial} labeled at the start and {n_more} that queries "
            f"are drawn from; {settings.dataset} has {n}. Take a larger data set, or smaller sizes (--quick has them)."
        )


def read_json(file, kind):
    """Return what a file holds: a dict or a list, not empty.

    Raises
    ------
    InvalidDataError
        It is damaged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidDataError(
            f"{file} is damaged ({error}); move it away to compute it again."
        ) from error
    if not isinstance(found, kind) or not found:
        raise InvalidDataError(
            f"{file} is damaged (no {kind.__name__} of results); move it away to compute it again."
        )
    return found


THEORY_NET = {
    "kind": "conv",
    "depth": 3,
    "readout": "gap",
}  # three convolutions and global average pooling


def kept(file, make):
    """Return the list that a JSON file holds; make and store it if there is none.

    Raises
    ------
    InvalidDataError
        It is damaged.
    """
    if not file.exists():
        text = json.dumps(make(), allow_nan=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda out: out.write(text.encode()))
    return read_json(file, list)


def kept_array(file, make):
    """Return the array that an .npy file holds; make and store it if there is none.

    Raises
    ------
    InvalidDataError
        It is damaged.
    """
    if not file.exists():
        array = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda out: np.save(out, array))
        return array
    try:
        return np.load(file)
    except (ValueError, EOFError) as error:
        raise InvalidDataError(
            f"{file} is damaged ({error}); move it away to compute it again."
        ) from error


def as_one_hot(labels, n_classes):
    """Return labels (n, K) of integers (n,)."""
    return F.one_hot(torch.as_tensor(labels), n_classes).double().numpy()


def extreme_eigenvalues(theta):
    """Return the smallest and the largest eigenvalue of a kernel."""
    return np.linalg.eigvalsh(theta.astype(np.float64))[[0, -1]].tolist()
