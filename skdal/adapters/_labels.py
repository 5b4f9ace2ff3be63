"""Labels: those of nets are integers in [0, K); of no classifier may they be missing."""

import sys
import warnings
from contextlib import contextmanager
from numbers import Number

import numpy as np
import torch
from sklearn.exceptions import DataConversionWarning

from skdal.exceptions import InvalidLabelsError
from skdal.utils import count_rows, is_torch_dataset

_REMEDY = (
    "Encode them with sklearn.preprocessing.LabelEncoder and keep it to translate back."
)


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
        Not one-dimensional, not integers, of another length, or out of range; or some are missing.
    """
    labels = _one_dimensional(_as_labels(y))
    if n_rows is not None and len(labels) != n_rows:
        raise InvalidLabelsError(
            f"X has {n_rows} samples and y has {len(labels)} labels; pass one label a sample."
        )
    absent = _absent(labels)
    if isinstance(y, np.ma.MaskedArray):
        absent = absent | np.ma.getmaskarray(y).reshape(absent.shape)
    if absent.any():
        raise InvalidLabelsError(_words_of_absent(y, labels, absent))
    labels = _integers(labels)
    if n_absent := np.sum(labels == -1):
        _refuse_minus_one(y, labels, n_absent)
    _check_range(labels, n_outputs)
    return labels


@contextmanager
def explaining_absent_labels(y):
    """Say that labels are missing where a classifier that is not a net fails on them; some take
    them as they are.

    -1 is a label like any other here, since scikit-learn's classifiers may have it for a class.

    Parameters
    ----------
    y : array-like (n_rows,) or None
        What the classifier is trained with.

    Raises
    ------
    InvalidLabelsError
        The block failed, and labels are missing.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        labels = None if y is None else _as_labels(y)
        absent = (
            np.zeros(0, dtype=bool)
            if labels is None or labels.ndim != 1
            else _absent(labels)
        )
        if not absent.any():
            raise
        raise InvalidLabelsError(
            f"{_words_of_absent(y, labels, absent)} The classifier said: {error}"
        ) from error


def _as_labels(y):
    return y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)


def _absent(labels):
    """Return a mask (n,) of the labels that stand for no label: NaN, None, <NA>."""
    if labels.dtype.kind in "fc":
        return np.isnan(labels)
    if labels.dtype.kind != "O":
        return np.zeros(labels.shape, dtype=bool)
    pandas = sys.modules.get("pandas")  # whoever has a label <NA> has imported it
    signs = (None,) if pandas is None else (None, pandas.NA, pandas.NaT)
    is_sign = [
        any(x is sign for sign in signs) or isinstance(x, Number) and x != x
        for x in labels.ravel()
    ]
    return np.array(is_sign, dtype=bool).reshape(labels.shape)


def _words_of_absent(y, labels, absent):
    """Return what to say of labels of which some are NaN, None or <NA>, a mask (n,)."""
    has_label = "pandas.notna(numpy.ravel(y))"
    if isinstance(y, torch.Tensor):
        has_label = "~y.ravel().isnan()"
    elif isinstance(y, np.ma.MaskedArray):
        has_label = "~numpy.ma.getmaskarray(y).ravel()"
    elif labels.dtype.kind == "f":
        has_label = "~numpy.isnan(numpy.ravel(y))"
    came = f"{absent.sum()} of {len(labels)} labels came as {labels[absent.argmax()]}."
    return (
        f'{came} NaN, None and <NA> stand for "no label". {_how_to_drop(y, has_label)}'
    )


def _refuse_minus_one(y, labels, n_absent):
    if labels.min() < -1:
        return  # -1 is one of many numbers
    has_label = (
        "y.ravel() != -1" if isinstance(y, torch.Tensor) else "numpy.ravel(y) != -1"
    )
    as_class = ""
    if set(labels.tolist()) == {-1, 1}:
        as_class = (
            " If -1 is a class here, as beside +1, number the classes from 0: "
            "(numpy.ravel(y) > 0).astype(int)."
        )
    came = (
        f"{n_absent} of {len(labels)} labels came as -1. Labels of nets are integers from 0 to "
        "K - 1"
    )
    raise InvalidLabelsError(
        f'{came}, and -1 stands for "no label". {_how_to_drop(y, has_label)}{as_class}'
    )


def _how_to_drop(y, has_label):
    rows = (
        "y.ravel()[labeled]"
        if isinstance(y, torch.Tensor)
        else "numpy.ravel(y)[labeled].tolist()"
    )
    return (
        "The labeled set needs a label for each sample, so leave those without out: labeled = "
        f"{has_label}, then pass X[labeled] and {rows}. Of a polars frame it is "
        "X.filter(labeled), of a torch Dataset torch.utils.data.Subset(X, positions) with the "
        "positions of those that have one."
    )


def _one_dimensional(labels):
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the "
            "shape of y to (n_samples,), for example using ravel().",
            DataConversionWarning,
            stacklevel=2,
        )
        return labels[:, 0]
    if labels.ndim != 1:
        raise InvalidLabelsError(
            f"y has shape {labels.shape}; skdal works on one class label a sample (multilabel "
            "and one-hot targets are not supported). Pass integer labels of shape "
            "(n_samples,), for one-hot: y.argmax(axis=1)."
        )
    return labels


def _integers(labels):
    """Return labels of an integer type, or of another one whose values are all integers, as
    int64.
    """
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    values = np.array(labels.tolist()) if labels.dtype.kind == "O" else labels
    if (
        values.dtype.kind in "iuf"
        and np.isfinite(values).all()
        and np.array_equal(values, np.round(values))
    ):
        return values.astype(np.int64)
    if values.dtype.kind == "c":
        raise InvalidLabelsError(
            f"Complex data not supported; labels of nets are integers. {_REMEDY}"
        )
    kind = "continuous" if values.dtype.kind == "f" else f"dtype {labels.dtype}"
    raise InvalidLabelsError(
        f"Unknown label type: {kind}. Labels of nets are integers from 0; got such as "
        f"{labels[:3].tolist()}. {_REMEDY}"
    )


def labels_of(X, y):
    """Return the labels of a labeled set where they are at hand without loading samples, else
    None.
    """
    if y is not None:
        return check_labels(y, count_rows(X))
    if not is_torch_dataset(X):
        raise InvalidLabelsError(
            "a training requires y to be passed, but the target y is None, and X is not a torch "
            "Dataset that holds the labels. Pass y of shape (n_samples,)."
        )
    return None


def _check_range(labels, n_outputs):
    if not labels.size:
        return
    low = labels.min()
    high = labels.max()
    if low < 0 or (n_outputs is not None and high >= n_outputs):
        top = (
            "K - 1, K the number of the net's outputs"
            if n_outputs is None
            else n_outputs - 1
        )
        raise InvalidLabelsError(
            f"labels of nets are integers from 0 to {top}; got values from {low} to {high}. "
            f"{_REMEDY} Or give the net as many outputs as there are classes."
        )
