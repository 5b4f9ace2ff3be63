"""What the verification experiments have in common: settings, and the images that kernels are of."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import check_known, write_atomically


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
        """Raise if kernels of that precision are not there."""
        check_known("dtype", self.dtype, ("float64", "float32"))

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
            f"are drawn from; {settings.dataset} has {n}. Take a larger data set, or --quick sizes."
        )


def read_json(file):
    """Return what a file holds.

    Raises
    ------
    InvalidDataError
        It is damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidDataError(f"{file} is damaged ({error}); move it away to compute it again.") from error


THEORY_NET = {"kind": "conv", "depth": 3, "readout": "gap"}  # three convolutions and global average pooling


def kept(file, make):
    """Return what a JSON file holds; make and store it if there is none."""
    if not file.exists():
        text = json.dumps(make(), allow_nan=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda out: out.write(text.encode()))
    return read_json(file)


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
        raise InvalidDataError(f"{file} is damaged ({error}); move it away to compute it again.") from error


def as_one_hot(labels, n_classes):
    """Return labels (n, K) of integers (n,)."""
    return F.one_hot(torch.as_tensor(labels), n_classes).double().numpy()


def extreme_eigenvalues(theta):
    """Return the smallest and the largest eigenvalue of a kernel."""
    return np.linalg.eigvalsh(theta.astype(np.float64))[[0, -1]].tolist()
