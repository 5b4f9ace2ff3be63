"""Mini-batches of any X through the net's own Dataset and DataLoader, in index order."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy import sparse
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, default_collate

from skdal.adapters._accelerate import loaders_forgotten
from skdal.adapters._devices import device_of, on_device
from skdal.adapters._labels import check_labels
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import count_rows, is_torch_dataset, preserved_rng, sample_shape


def default_batch_size(X):
    """Return the mini-batch length used where none is given, a function of the sample's shape alone.

    2**19 values a mini-batch, rounded down to a power of two, from 16 to 256: 128 for 32x32 colour
    images, 16 for 224x224, 256 for a few hundred features.
    """
    shape = sample_shape(X)
    shapes = list(shape.values()) if isinstance(shape, Mapping) else [shape]
    values = max(1, sum(math.prod(s) for s in shapes if s is not None))
    return int(min(256, max(16, 2 ** int(math.log2(max(1, 2**19 / values))))))


def iter_net_batches(net, X, y=None, *, labeled, batch_size):
    """Yield (inputs, labels) mini-batches of X in index order.

    Parameters
    ----------
    net : skorch.NeuralNet
        Its `get_dataset` and `get_iterator(training=False)` make the mini-batches.
    X : data
        Whatever skorch takes, or a torch Dataset.
    y : array (n_samples,), optional
        Labels.
    labeled : bool
        Whether labels are wanted: `y`, or the second element of a Dataset's pairs.
    batch_size : int
        Samples a mini-batch.

    Yields
    ------
    inputs : tensor, or dict or list of tensors
        On the net's device.
    labels : int64 tensor (n,) or None
        On the net's device.
    """
    with loaders_forgotten(net):
        yield from _batches(net, X, y, labeled, batch_size)


def _batches(net, X, y, labeled, batch_size):
    n_rows = count_rows(X)
    dataset = net.get_dataset(paired(X, y, labeled), None if is_torch_dataset(X) else y)
    iterator = _iterator(net, dataset, batch_size)
    if _is_plain(iterator) and _is_sliceable(dataset.X):
        iterator = _slices(dataset.X, dataset.y, batch_size)
    seen = 0
    device = device_of(net)
    for inputs, labels in iterator:
        inputs = on_device(inputs, device)
        seen += count_rows(labels)
        yield inputs, torch.as_tensor(check_labels(labels), device=device) if labeled else None
    if seen != n_rows:
        raise InvalidDataError(
            f"the net's iterator_valid gave {seen} of {n_rows} samples; use one that gives each sample once "
            "(no drop_last, no sampler)."
        )


def _iterator(net, dataset, batch_size):
    settings = net.get_params_for("iterator_valid")
    for name in ("shuffle", "drop_last", "sampler", "batch_sampler"):
        if settings.get(name):
            raise InvalidParameterError(
                f"the net has iterator_valid__{name}={settings[name]!r:.60}; scoring needs each sample once, in order. "
                f"Remove it from the net (iterator_train__{name} may stay)."
            )
    view = object.__new__(type(net))
    view.__dict__.update(net.__dict__, iterator_valid__batch_size=batch_size)
    iterator = view.get_iterator(dataset, training=False)
    if isinstance(iterator, DataLoader) and not isinstance(iterator.sampler, SequentialSampler):
        raise InvalidParameterError(
            f"the net's iterator_valid draws with {type(iterator.sampler).__name__}; scoring needs each sample once, "
            "in order. Use a DataLoader that does not shuffle (iterator_train may)."
        )
    return iterator


def _is_plain(iterator):
    """Tell whether an iterator does what `_slices` does: torch's own loader over skorch's own Dataset."""
    return (
        type(iterator) is DataLoader
        and type(iterator.dataset) is SkorchDataset
        and iterator.collate_fn is default_collate
        and iterator.num_workers == 0
    )


def _is_sliceable(X):
    if isinstance(X, dict):
        return bool(X) and all(_is_sliceable(value) for value in X.values())
    is_array = type(X) in (np.ndarray, np.memmap) and X.dtype.kind in "biuf" and X.dtype.isnative
    return (is_array or type(X) is torch.Tensor) and X.ndim > 1


def _slices(X, y, batch_size):
    """Yield the mini-batches of data in memory as a loader would, without collecting them item by item."""
    for start in range(0, count_rows(X), batch_size):
        rows = slice(start, start + batch_size)
        inputs = _copied(X, rows)
        n = count_rows(inputs)
        yield inputs, torch.zeros(n, dtype=torch.int64) if y is None else torch.as_tensor(y[rows])


def _copied(X, rows):
    if isinstance(X, dict):
        return {key: _copied(value, rows) for key, value in X.items()}
    if isinstance(X, torch.Tensor):
        return X[rows].detach().clone()
    return torch.from_numpy(np.array(X[rows], order="C"))


def paired(X, y, labeled):
    """Return X in a form of which skorch can unpack every mini-batch into two parts.

    Parameters
    ----------
    X : data
        Not a list.
    y : array (n_samples,) or None
        Labels to pair the items of a Dataset with.
    labeled : bool
        Whether the items of a Dataset need labels: `y`, or else their own.
    """
    check_net_rows(X)
    check_columns(X)
    if sparse.issparse(X):
        return sparse.csr_matrix(X)  # skorch cannot take rows of a csr_array; the data are not copied
    if not is_torch_dataset(X):
        return X
    if not labeled or y is not None:
        return _Paired(X, y if labeled else None)
    with preserved_rng():  # a Dataset may draw when it is asked for an item
        first = X[0] if count_rows(X) else (None, None)
    if not is_pair(first):
        raise InvalidDataError(
            f"the labeled Dataset gives items of type {type(first).__name__}; give (x, label) pairs, or pass y."
        )
    return X


def check_net_rows(X):
    """Raise if a net cannot be given the samples of X one by one."""
    if isinstance(X, IterableDataset):
        raise InvalidDataError("an IterableDataset has no positions to return; use a map-style torch Dataset.")
    if isinstance(X, (list, tuple)):
        raise InvalidDataError(
            f"X is a {type(X).__name__}, which skorch reads as several inputs; pass numpy.asarray(X), or a dict of "
            "arrays for a module with several inputs."
        )


def check_columns(X):
    """Raise if X is a frame of which skorch cannot give the columns to a module."""
    if strange := [name for name in getattr(X, "columns", ()) if not isinstance(name, str)]:
        raise InvalidDataError(
            f"X is a {type(X).__name__} with columns such as {strange[0]!r}; skorch gives each column to the module's "
            "argument of that name, so names must be strings. Pass X.to_numpy(numpy.float32) for one argument."
        )


def is_pair(item):
    """Tell whether a Dataset's item is (x, y) rather than x alone."""
    return isinstance(item, (tuple, list)) and len(item) == 2


class _Paired(Dataset):
    """A Dataset's samples with the labels given, or zeros, in place of its own."""

    def __init__(self, dataset, y):
        self.dataset = dataset
        self.y = y

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        item = self.dataset[i]
        alone = isinstance(item, (tuple, list)) and len(item) == 1  # TensorDataset(X)
        return item[0] if alone or is_pair(item) else item, 0 if self.y is None else int(self.y[i])
