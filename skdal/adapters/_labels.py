"""Labels of nets: integers in [0, K)."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import DataConversionWarning

from skdal.exceptions import InvalidLabelsError
from skdal.utils import count_rows, is_torch_dataset

_REMEDY = "Encode them with sklearn.preprocessing.LabelEncoder and keep it to translate back."


def check_labels(y, n_rows=None, n_outputs=None):
    """Return labels as an int64 array (n_rows,) after checking them.

    Parameters
    ----------
    y : array-like (n_rows,)
        Class labels.
    n_rows : int, optional
        Number of samples they belong to.
    n_outputs : int, optional
        K, the number of the net's outputs.

    Raises
    ------
    InvalidLabelsError
        Not one-dimensional, not integers, of another length, or out of range.
    """
    labels = _one_dimensional(y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y))
    if n_rows is not None and len(labels) != n_rows:
        raise InvalidLabelsError(f"X has {n_rows} samples and y has {len(labels)} labels; pass one label a sample.")
    labels = _integers(labels)
    _check_range(labels, n_outputs)
    return labels


def _one_dimensional(labels):
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
            "(n_samples,), for example using ravel().",
            DataConversionWarning,
            stacklevel=2,
        )
        return labels[:, 0]
    if labels.ndim != 1:
        raise InvalidLabelsError(
            f"y has shape {labels.shape}; skdal works on one class label a sample (multilabel and one-hot targets are "
            "not supported). Pass integer labels of shape (n_samples,), for one-hot: y.argmax(axis=1)."
        )
    return labels


def _integers(labels):
    """Return labels of an integer type, or of another one whose values are all integers, as int64."""
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    values = np.array(labels.tolist()) if labels.dtype.kind == "O" else labels
    if values.dtype.kind in "iuf" and np.isfinite(values).all() and np.array_equal(values, np.round(values)):
        return values.astype(np.int64)
    if values.dtype.kind == "c":
        raise InvalidLabelsError(f"Complex data not supported; labels of nets are integers. {_REMEDY}")
    kind = "continuous" if values.dtype.kind == "f" else f"dtype {labels.dtype}"
    raise InvalidLabelsError(
        f"Unknown label type: {kind}. Labels of nets are integers from 0; got such as {labels[:3].tolist()}. {_REMEDY}"
    )


def labels_of(X, y):
    """Return the labels of a labeled set where they are at hand without loading samples, else None."""
    if y is not None:
        return check_labels(y, count_rows(X))
    if not is_torch_dataset(X):
        raise InvalidLabelsError(
            "a training requires y to be passed, but the target y is None, and X is no torch Dataset that holds the "
            "labels. Pass y of shape (n_samples,)."
        )
    return None


def _check_range(labels, n_outputs):
    if not labels.size:
        return
    low, high = labels.min(), labels.max()
    if low < 0 or (n_outputs is not None and high >= n_outputs):
        top = "K - 1, K the number of the net's outputs" if n_outputs is None else n_outputs - 1
        raise InvalidLabelsError(
            f"labels of nets are integers from 0 to {top}; got values from {low} to {high}. {_REMEDY} "
            "Or give the net as many outputs as there are classes."
        )
