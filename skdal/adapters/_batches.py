"""Mini-batches of any X through the net's own Dataset and DataLoader, in index order."""

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy import sparse
from skorch import NeuralNet
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    default_collate,
)

from skdal.adapters._accelerate import loaders_forgotten
from skdal.adapters._blame import refuse_samples
from skdal.adapters._devices import device_of, on_device
from skdal.adapters._foreign import (
    is_foreign,
    looking_at_first,
    refuse_stopped,
)
from skdal.adapters._frames import check_inputs
from skdal.adapters._item_labels import refuse_label
from skdal.adapters._items import described, input_of, is_pair, remedy_for_parts
from skdal.adapters._kinds import final_estimator
from skdal.adapters._labels import check_labels
from skdal.exceptions import (
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
)
from skdal.utils import count_rows, is_torch_dataset, preserved_rng, sample_shape


def default_batch_size(X, estimator=None):
    """Return the mini-batch length used where none is given.

    2**19 values a mini-batch by the shape of the first sample, rounded down to a power of two, from
    16 to 256: 128 for 32x32 colour images, 16 for 224x224, 256 for a few hundred features. 1 for an
    estimator that ends in a net which predicts one sample at a time, since its samples may be of
    many sizes.
    """
    net = final_estimator(estimator)
    if isinstance(net, NeuralNet) and own_batch_size(net) == 1:
        return 1
    values = max(1, sum(map(math.prod, _shapes(sample_shape(X)))))
    return int(min(256, max(16, 2 ** int(math.log2(max(1, 2**19 / values))))))


def _shapes(shape):
    if isinstance(shape, Mapping):
        return [one for part in shape.values() for one in _shapes(part)]
    if isinstance(shape, list):
        return [one for part in shape for one in _shapes(part)]
    return [] if shape is None else [shape]


def own_batch_size(net):
    """Return the length of the mini-batches in which a net predicts."""
    return net.get_params_for("iterator_valid").get("batch_size", net.batch_size)


class NetSamples:
    """The samples of X, labeled or not, as a net is given them: fetched, put together, and on its
    device.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : data
        In the form that `paired` returns.
    y : array (n_samples,), optional
        Labels.
    collate : callable, optional
        Makes a mini-batch of a list of items; None: what the net predicts with.
    """

    def __init__(self, net, X, y=None, collate=None):
        self.net = net
        self.dataset = _dataset_of(net, X, y)
        self._collate = collate

    def fetch(self, i):
        """Return an item, (x, label)."""
        return self.dataset[i]

    def input_of(self, item):
        """Return x of an item."""
        return item[0] if is_pair(item) else item

    def collated(self, items):
        """Return the inputs of a mini-batch of items."""
        if self._collate is None:
            self._collate = self._own_collate()
        inputs, _ = self._collate(items)
        return on_device(inputs, device_of(self.net))

    def _own_collate(self):
        iterator = _iterator(self.net, self.dataset, 1)
        if isinstance(iterator, DataLoader):
            return iterator.collate_fn
        return lambda items: next(iter(_iterator(self.net, Items(items), len(items))))


def _dataset_of(net, X, y):
    try:
        return net.get_dataset(X, None if is_torch_dataset(X) else y)
    except Exception as error:
        is_own = (
            type(net).get_dataset is not NeuralNet.get_dataset
        )  # which knows better what it refuses
        if is_own or not is_foreign(error):
            raise
        raise InvalidDataError(
            f"the net's get_dataset makes no Dataset of X, a {type(X).__name__}. Give arrays "
            "or tensors; lists in a dict count as several inputs, and a datasets.Dataset "
            "gives tensors with "
            'ds.with_format("torch"). It '
            f"raised {type(error).__name__}: {error}"
        ) from error


class Items(Dataset):
    """A list of items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class NetBatches:
    """The mini-batches of X in index order: an iterable of (inputs, labels).

    `inputs` are a tensor, or a dict or list of tensors, `labels` an int64 tensor (n,) or None, on
    the net's device.

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
        Samples per mini-batch.
    of : str
        What they are samples of, for errors.

    Attributes
    ----------
    samples : NetSamples
    rows : range
        Those of the mini-batch that was given last.

    Raises
    ------
    InvalidSampleError
        A sample cannot be fetched, or cannot join a mini-batch.
    """

    def __init__(self, net, X, y=None, *, labeled, batch_size, of="the pool"):
        check_inputs(X, net)
        X = paired(X, y, labeled)
        self.samples = NetSamples(net, X, y)
        self.rows = range(0)
        self.of = of
        self._labeled = labeled
        self._batch_size = batch_size
        self._n_rows = count_rows(X)
        self._device = device_of(net)

    def __iter__(self):
        with loaders_forgotten(self.samples.net):
            yield from self._batches()

    def _batches(self):
        net = self.samples.net
        dataset = self.samples.dataset
        stop = 0
        iterator = _iterator(net, dataset, self._batch_size)
        if _is_plain(iterator) and _is_sliceable(dataset.X):
            iterator = _slices(dataset.X, dataset.y, self._batch_size)
        for inputs, labels in self._explained(iterator):
            start = stop
            stop = stop + count_rows(labels)
            self.rows = range(start, stop)
            if self._labeled:
                labels = torch.as_tensor(self.checked(labels), device=self._device)
            yield inputs, labels if self._labeled else None
        if stop != self._n_rows:
            raise InvalidDataError(
                f"the net's iterator_valid gave {stop} of {self._n_rows} samples; use one that "
                "gives each sample once (no drop_last, no sampler)."
            )

    def checked(self, labels, n_outputs=None):
        """Return the labels of the mini-batch that was given last; an error tells whose label it
        is.
        """
        return labels_in(self.samples, self.rows, labels, n_outputs, of=self.of)

    def _explained(self, iterator):
        """Yield the mini-batches, inputs on the net's device; an error in making one tells of which
        sample it is.
        """
        found = iter(iterator)
        while True:
            try:
                inputs, labels = next(found)
                inputs = on_device(inputs, self._device)
            except StopIteration:
                start = self.rows.stop
                last = min(start + self._batch_size, self._n_rows)
                refuse_stopped(self.samples.dataset, range(start, last), self.of)
                return
            except Exception as error:
                if is_foreign(error):
                    last = min(self.rows.stop + self._batch_size, self._n_rows)
                    refuse_samples(
                        self.samples, range(self.rows.stop, last), error, of=self.of
                    )
                raise
            yield inputs, labels


def n_batches_of(net, dataset, training):
    """Return how many mini-batches an epoch of a Dataset has, None where its iterator is no
    DataLoader of torch.
    """
    with preserved_rng(), loaders_forgotten(net):
        iterator = net.get_iterator(dataset, training=training)
    is_known = isinstance(iterator, DataLoader)
    return len(iterator) if is_known else None


def labels_in(samples, rows, labels, n_outputs=None, *, of):
    """Return the labels of a mini-batch as integers in [0, K).

    Parameters
    ----------
    samples : NetSamples
    rows : iterable of int
        Positions of the mini-batch, or of more samples, if its own are not known.
    labels : array-like (n,)
    n_outputs : int, optional
        K, the number of the net's outputs.
    of : str
        What they are samples of.

    Raises
    ------
    InvalidLabelsError
        Names the sample, where its item tells.
    """
    try:
        return check_labels(labels, n_outputs=n_outputs)
    except InvalidLabelsError as error:
        with preserved_rng():
            refuse_label(samples, rows, n_outputs, error, of)
        raise


def _iterator(net, dataset, batch_size):
    settings = net.get_params_for("iterator_valid")
    for name in ("shuffle", "drop_last", "sampler", "batch_sampler"):
        if settings.get(name):
            raise InvalidParameterError(
                f"the net has iterator_valid__{name}={settings[name]!r:.60}; scoring needs "
                f"each sample once, in order. Remove it from the net (iterator_train__{name} "
                "may stay)."
            )
    view = object.__new__(type(net))
    view.__dict__.update(net.__dict__, iterator_valid__batch_size=batch_size)
    iterator = view.get_iterator(dataset, training=False)
    if isinstance(iterator, DataLoader) and not isinstance(
        iterator.sampler, SequentialSampler
    ):
        raise InvalidParameterError(
            f"the net's iterator_valid draws with {type(iterator.sampler).__name__}; scoring "
            "needs each sample once, in order. Use a DataLoader that does not shuffle "
            "(iterator_train may)."
        )
    return iterator


def _is_plain(iterator):
    """Tell whether an iterator does what `_slices` does: torch's own loader over skorch's own
    Dataset.
    """
    return (
        type(iterator) is DataLoader
        and type(iterator.dataset) is SkorchDataset
        and iterator.collate_fn is default_collate
        and iterator.num_workers == 0
    )


def _is_sliceable(X):
    if isinstance(X, dict):
        return bool(X) and all(_is_sliceable(value) for value in X.values())
    is_array = (
        type(X) in (np.ndarray, np.memmap)
        and X.dtype.kind in "biuf"
        and X.dtype.isnative
    )
    return (is_array or type(X) is torch.Tensor) and X.ndim > 1


def _slices(X, y, batch_size):
    """Yield the mini-batches of data in memory as a loader would, without collecting them item by
    item.
    """
    for start in range(0, count_rows(X), batch_size):
        rows = slice(start, start + batch_size)
        inputs = _copied(X, rows)
        n = count_rows(inputs)
        yield (
            inputs,
            torch.zeros(n, dtype=torch.int64)
            if y is None
            else torch.as_tensor(y[rows]),
        )


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
    check_inputs(X)
    if sparse.issparse(X):
        return sparse.csr_matrix(
            X
        )  # skorch cannot take rows of a csr_array; the data are not copied
    if not is_torch_dataset(X):
        return X
    if not labeled or y is not None:
        return _Paired(X, y if labeled else None)
    with preserved_rng(), looking_at_first(X, "the labeled set"):  # it may draw
        first = X[0] if count_rows(X) else (None, None)
    if not is_pair(first):
        raise InvalidDataError(
            f"an item of the labeled Dataset is a {described(first)}, without a label. "
            f"{remedy_for_parts(first) or 'Give (x, label) pairs, or pass y.'}"
        )
    return _with_listed_positions(X)


def _with_listed_positions(X):
    """Return a Subset whose positions are a list, since skorch fails on a range and on a tuple;
    others as they are.
    """
    if not isinstance(X, Subset) or "indices" not in vars(X):
        return X
    dataset = _with_listed_positions(X.dataset)
    is_list = not isinstance(X.indices, (range, tuple))
    if is_list and dataset is X.dataset:
        return X
    subset = copy.copy(X)
    subset.dataset = dataset
    subset.indices = X.indices if is_list else list(X.indices)
    return subset


def check_net_rows(X):
    """Raise if a net cannot be given the samples of X one by one."""
    if isinstance(X, IterableDataset):
        raise InvalidDataError(
            "an IterableDataset has no positions to return; use a map-style torch Dataset."
        )
    if isinstance(X, (list, tuple)):
        raise InvalidDataError(
            f"X is a {type(X).__name__}, which skorch reads as several inputs; pass "
            "numpy.asarray(X), or a dict of arrays for a module with several inputs."
        )


class _Paired(Dataset):
    """A Dataset's samples with the labels given, or zeros, in place of its own."""

    def __init__(self, dataset, y):
        self.dataset = dataset
        self.y = y

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        return input_of(self.dataset[i]), 0 if self.y is None else int(self.y[i])
