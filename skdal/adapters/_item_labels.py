"""Labels that the items of a Dataset hold: which item has none, or one that is none of the
net's.
"""

import sys
from numbers import Number

import numpy as np
import torch

from skdal.adapters._items import is_pair
from skdal.exceptions import InvalidLabelsError

_HAS_LABEL = {
    "-1": "X[i][1] != -1",
    "nan": "X[i][1] == X[i][1]",
    "None": "X[i][1] is not None",
}


def refuse_absent_label(item, position, of, error):
    """Raise an InvalidLabelsError if an item has None, NaN or <NA> for a label, of which no
    mini-batch can be made.
    """
    sign = _sign_of_none(_label_of(item))
    if sign not in (None, "-1"):
        raise InvalidLabelsError(_words(position, of, sign)) from error


def refuse_label(samples, rows, n_outputs, error, of):
    """Raise an InvalidLabelsError that names the first item whose label is none of a net.

    Parameters
    ----------
    samples : NetSamples
    rows : iterable of int
        Positions among which to look; as many items are fetched as it takes.
    n_outputs : int or None
        K, the number of the net's outputs.
    error : InvalidLabelsError
        What came up in a mini-batch of them.
    of : str
        What they are samples of.
    """
    for i in rows:
        label = _label_of(samples.fetch(i))
        sign = _sign_of_none(label)
        if sign is not None:
            raise InvalidLabelsError(_words(i, of, sign)) from error
        if _is_out_of_range(label, n_outputs):
            raise InvalidLabelsError(
                f"sample {i} of {of} has the label {_plain(label)}: {error}"
            ) from error


def _words(position, of, sign):
    has_label = _HAS_LABEL.get(sign, "not pandas.isna(X[i][1])")
    stands = 'which stands for "no label"'
    if sign == "-1":
        stands = (
            'and labels of nets are integers from 0 to K - 1, beside which -1 stands for "no '
            'label"'
        )
    return (
        f"sample {position} of {of} has the label {sign}, {stands}. The labeled set needs a "
        "label for each sample, so leave those without out: positions = [i for i in "
        f"range(len(X)) if {has_label}], then pass torch.utils.data.Subset(X, positions)."
    )


def _label_of(item):
    return item[1] if is_pair(item) else 0


def _plain(label):
    """Return a label of one value as a number, anything else as it is."""
    is_one = isinstance(label, (torch.Tensor, np.ndarray, np.generic))
    return label.item() if is_one and np.prod(label.shape) == 1 else label


def _sign_of_none(label):
    """Return what stands for "no label" here, "None", "nan", "<NA>", "NaT" or "-1"; None for a
    label.
    """
    label = _plain(label)
    pandas = sys.modules.get("pandas")  # whoever has a label <NA> has imported it
    is_missing = pandas is not None and (label is pandas.NA or label is pandas.NaT)
    if label is None or is_missing:
        return str(label)
    if not isinstance(label, Number):
        return None
    if label != label:
        return "nan"
    return "-1" if label == -1 else None


def _is_out_of_range(label, n_outputs):
    label = _plain(label)
    is_number = isinstance(label, Number) and not isinstance(label, complex)
    return is_number and (label < 0 or n_outputs is not None and label >= n_outputs)
