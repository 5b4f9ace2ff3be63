"""Rows of whatever holds samples: arrays, tensors, sparse matrices, frames, dicts, Datasets."""

from collections.abc import Mapping
from numbers import Number

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from skdal.exceptions import InvalidDataError
from skdal.utils._digest import digest
from skdal.utils._frames import append_to, full_name, has_names, is_array, library_of

_ALLOWED = (
    "an array, memmap, tensor, CSR matrix, DataFrame (pandas, polars), pyarrow Table, dict of "
    "arrays, SliceDataset, datasets.Dataset or torch Dataset (map style)"
)


def is_torch_dataset(X):
    """Tell whether X is a map-style torch Dataset."""
    return isinstance(X, Dataset)


def count_rows(X):
    """Return the number of samples in X.

    Raises
    ------
    InvalidDataError
        X has no length, or the parts of a dict differ in theirs, or X is a DataLoader.
    """
    if isinstance(X, DataLoader):
        raise InvalidDataError(
            "X is a DataLoader, which holds mini-batches and no samples; pass its Dataset, "
            "X.dataset. What it sets beside the Dataset goes to the net, such as "
            "iterator_valid__num_workers=4 and iterator_valid__collate_fn."
        )
    if _is_mapping(X):
        lengths = {key: count_rows(value) for key, value in X.items()}
        if len(set(lengths.values())) != 1:
            raise InvalidDataError(
                f"the entries of X have different lengths {lengths}; give one row per sample in "
                "each."
            )
        return next(iter(lengths.values()))
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) > 0:
        return int(shape[0])
    try:
        return len(X)
    except TypeError:
        raise InvalidDataError(
            f"X is {type(X).__name__}, which has no length; pass {_ALLOWED}."
        ) from None


def take_rows(X, indices):
    """Return the samples of X at `indices` (a slice or an integer array), in the same kind of
    container.

    Lazily for Datasets.

    Raises
    ------
    InvalidDataError
        X is of a kind that is not known here.
    """
    if is_torch_dataset(X):
        return Subset(X, _positions(indices, len(X)).tolist())
    if sparse.issparse(X):
        return X.tocsr()[indices]
    if _is_mapping(X):
        return {key: take_rows(value, indices) for key, value in X.items()}
    if library := library_of(X):
        return library.take(X, indices)
    if isinstance(X, (list, tuple)):
        return [X[i] for i in _positions(indices, len(X))]
    if isinstance(X, torch.Tensor) and not isinstance(indices, slice):
        return X[torch.as_tensor(np.asarray(indices), device=X.device)]
    if not is_array(X) and not isinstance(X, torch.Tensor) and not _is_slice_dataset(X):
        raise InvalidDataError(
            f"samples of {full_name(X)} cannot be taken by position; pass {_ALLOWED}."
        )
    return X[indices]


def concat_rows(first, second):
    """Return the samples of `first` followed by those of `second`, in the kind of container that
    `first` is.

    Datasets by ConcatDataset.

    Raises
    ------
    InvalidDataError
        The two do not go together, or are of a kind that is not known here.
    """
    if is_torch_dataset(first) != is_torch_dataset(second):
        raise InvalidDataError(
            f"cannot append {type(second).__name__} to {type(first).__name__}: pass both as torch "
            "Dataset or neither."
        )
    if is_torch_dataset(first):
        return ConcatDataset([*_members(first), second])
    if _is_mapping(first):
        if not _is_mapping(second) or set(first) != set(second):
            raise InvalidDataError(
                f"the new samples need the keys {sorted(first)}; got {second!r:.200}."
            )
        return {key: concat_rows(value, second[key]) for key, value in first.items()}
    try:
        return _concat_arrays(first, second)
    except InvalidDataError:
        raise
    except (ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise InvalidDataError(
            f"cannot append {_name_and_shape(second)} to {_name_and_shape(first)}: {error}"
        ) from error


def iter_shards(X, n_rows):
    """Yield X in consecutive pieces of `n_rows` samples; the last one may be shorter."""
    for rows in row_slices(count_rows(X), n_rows):
        yield take_rows(X, rows)


def row_slices(n_rows, length):
    """Yield slices of `length` over `n_rows`; the last one may be shorter."""
    for start in range(0, n_rows, length):
        yield slice(start, min(n_rows, start + length))


def rows_digest(X, n_rows=None, like=None):
    """Return a digest of the first `n_rows` samples of X, or of all; None of what would have to be
    loaded for it.

    Values are brought to the types of the digest `like`, since appending may widen them.
    """
    X = X if n_rows is None else take_rows(X, slice(0, n_rows))
    if _is_mapping(X):
        return {
            key: rows_digest(value, like=like and like.get(key))
            for key, value in X.items()
        }
    if sparse.issparse(X):
        rows = X.tocsr().copy()
        rows.sum_duplicates()
        return [
            _digest(rows.data, like and like[0]),
            *(_digest(part.astype(np.int64)) for part in (rows.indices, rows.indptr)),
        ]
    if isinstance(X, torch.Tensor):
        return _digest(X.detach().double().cpu().numpy(), like)
    if library := library_of(X):
        X = library.values(X)
        if isinstance(X, dict):
            return rows_digest(X, like=like)
    if isinstance(X, (list, tuple)):
        X = np.asarray(X)
    return _digest(X, like) if isinstance(X, np.ndarray) else None


def _digest(array, like=None):
    """Return (dtype, digest) of an array, in the dtype of another digest."""
    if like is not None and like[0] != array.dtype.str:
        array = array.astype(like[0])
    found = (
        repr(array.tolist()).encode()
        if array.dtype.hasobject
        else np.ascontiguousarray(array)
    )
    return array.dtype.str, digest([found], n_digits=128)


def sample_shape(X):
    """Return the shape of one sample of X: dicts and lists of shapes for those of parts; None where
    it has none.

    A Dataset is asked for its first item, of which the first element counts if it is a pair.
    """
    if _is_mapping(X):
        return {key: sample_shape(value) for key, value in X.items()}
    if isinstance(X, (list, tuple)):
        return np.shape(X[0]) if X else None
    if is_torch_dataset(X) or not hasattr(X, "dtype") and not hasattr(X, "iloc"):
        return _item_shape(X[0]) if len(X) else None
    return tuple(X.shape[1:])


def _name_and_shape(X):
    return f"{full_name(X)} of shape {tuple(getattr(X, 'shape', ())) or np.shape(X)}"


def _members(dataset):
    """Return the parts of a ConcatDataset, so that a thousand rounds do not nest a thousand
    deep.
    """
    return dataset.datasets if type(dataset) is ConcatDataset else [dataset]


def _is_mapping(X):
    return isinstance(X, Mapping) and not sparse.issparse(
        X
    )  # a dok_matrix is a dict, too


def _item_shape(item):
    if isinstance(item, (list, tuple)) and len(item) in (1, 2):
        item = item[0]
    return _shape(item)


def _shape(x):
    if isinstance(x, Mapping):
        return {key: _shape(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        is_row = len(x) > 0 and all(isinstance(part, Number) for part in x)
        return (len(x),) if is_row else [_shape(part) for part in x]
    if isinstance(x, Number):
        return ()
    return tuple(x.shape) if hasattr(x, "shape") else None


def _positions(indices, length):
    if isinstance(indices, slice):
        return np.arange(length)[indices]
    return np.asarray(indices)


def _concat_arrays(first, second):
    if library := library_of(first):
        return append_to(library, first, second)
    if has_names(second) or library_of(second) is None and not _is_known(second):
        raise InvalidDataError(
            f"cannot append {full_name(second)} to {full_name(first)}; pass the new ones as "
            f"{full_name(first)}, "
            f"too{f', such as {library_of(second).array}' if has_names(second) else ''}."
        )
    if sparse.issparse(first):
        return sparse.vstack([first, second], format="csr")
    if isinstance(first, torch.Tensor):
        return torch.cat(
            [first, torch.as_tensor(_array_of(second), device=first.device)]
        )
    if isinstance(first, list):
        return _concat_lists(first, list(_array_of(second)))
    if _is_slice_dataset(first):
        parts = [
            Subset(part.dataset, part.indices_.tolist()) for part in (first, second)
        ]
        return type(first)(ConcatDataset(parts), idx=first.idx)
    if not _is_known(first):
        raise InvalidDataError(
            f"samples cannot be appended to {full_name(first)}; pass {_ALLOWED}."
        )
    return _concat_plain(np.asarray(first), np.asarray(_array_of(second)))


def _concat_lists(first, second):
    """Return two lists as one; numpy would make text of numbers that stand beside text."""
    if first and second and isinstance(first[0], str) != isinstance(second[0], str):
        raise TypeError(
            f"the new ones are such as {second[0]!r:.40}, and were such as {first[0]!r:.40} so far"
        )
    return first + second


def _concat_plain(first, second):
    """Return two arrays as one; numpy would make text of numbers that stand beside text."""
    kinds = [array.dtype.kind for array in (first, second)]
    if any(kind in "US" for kind in kinds) and any(kind in "biufc" for kind in kinds):
        raise TypeError(
            f"the new ones are of type {second.dtype}, and were of type {first.dtype} so far"
        )
    return np.concatenate([first, second])


def _array_of(X):
    """Return a series, or a frame without names, as an array; anything else as it is."""
    return X if library_of(X) is None else np.asarray(X)


def _is_known(X):
    """Tell whether X is one of the containers that are not frames."""
    is_plain = isinstance(X, (list, tuple, torch.Tensor)) or sparse.issparse(X)
    return is_plain or _is_slice_dataset(X) or is_array(X)


def _is_slice_dataset(X):
    return hasattr(X, "indices_")  # skorch's
