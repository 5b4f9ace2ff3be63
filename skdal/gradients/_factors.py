"""Gradients of several values per sample, in the form of cheapest inner products.

A Linear layer with one position has the gradient b a^T of a value, a its input and b the
value's derivative by its output, and inner products are (a . a') (b . b'): nothing of the
size of the weight is made. The gradients by other parameters are held entry by entry.
"""

from typing import NamedTuple

import torch


class Dense(NamedTuple):
    """Gradients by a Linear layer's parameters.

    Attributes
    ----------
    a : tensor (n, d) or None
        Inputs of the layer; None where its weight is not among the parameters.
    b : tensor (n, m, p)
        Derivatives of the values by the layer's outputs.
    has_bias : bool
        Whether its bias is.
    """

    a: torch.Tensor
    b: torch.Tensor
    has_bias: bool


class Factors(NamedTuple):
    """Gradients of m values of each of n samples.

    Attributes
    ----------
    dense : dict of str to Dense
        By the layer's name.
    entries : tensor (n, m, P)
        By all other parameters.
    """

    dense: dict
    entries: torch.Tensor

    def gram(self, other, *, traced):
        """Return the inner products with other gradients.

        Parameters
        ----------
        other : Factors
            Of n' samples and m' values.
        traced : bool
            Sum over equal values of both.

        Returns
        -------
        tensor (n, m, n', m'), or (n, n') where traced; float64
        """
        total = _products(self.entries, other.entries, traced)
        for name, (a, b, has_bias) in self.dense.items():
            inner = float(has_bias)
            if a is not None:
                other_a = other.dense[name].a
                of_inputs = _products(a[:, None], other_a[:, None], True)
                inner += of_inputs if traced else of_inputs[:, None, :, None]
            total += inner * _products(b, other.dense[name].b, traced)
        return total


# Entries that are summed in the gradients' own type: roundings of parts do not add up.
_PART = 2**14


def _products(one, other, traced):
    """Return inner products of (n, m, P) and (n', m', P) in float64."""
    wide = torch.promote_types(one.dtype, torch.float32)
    if traced:
        rows = one.flatten(1)
        columns = other.flatten(1)
    else:
        rows = one.flatten(0, 1)
        columns = other.flatten(0, 1)
    total = 0
    for x, y in zip(rows.split(_PART, 1), columns.split(_PART, 1)):
        product = x.to(wide) @ y.to(wide).T
        total = total + product.double()
    if traced:
        return total
    return total.view(len(one), one.shape[1], len(other), -1)


def concatenated(parts):
    """Return the `Factors` of the samples of several, in their order."""
    dense = {}
    for name, first in parts[0].dense.items():
        a = None
        if first.a is not None:
            a = torch.cat([part.dense[name].a for part in parts])
        b = torch.cat([part.dense[name].b for part in parts])
        dense[name] = Dense(a, b, first.has_bias)
    return Factors(dense, torch.cat([part.entries for part in parts]))
