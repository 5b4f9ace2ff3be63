"""Inner products of the gradients of what a net computes for its samples, in chunks."""

import logging
import math

import numpy as np
import torch

from skdal.adapters import open_net
from skdal.exceptions import EmptyPoolError
from skdal.gradients.parts import (
    FEW,
    Factorizer,
    MiniBatch,
    Products,
    RunsOtherwise,
    concatenated,
    differentiating,
    refuse_cross_sample_layers,
    select_parameters,
)
from skdal.utils import count_rows, progress_bar, take_rows

_ENTRIES = 2**27  # of gradients held, of a chunk of rows
_STREAMED = 2**25  # and of columns, which are made anew for each chunk of rows
_ENTRIES_A_SAMPLE = (
    2**24
)  # above it no chunk's gradients are held, but products taken one by one

logger = logging.getLogger("skdal")


def gradient_gram(
    net,
    values,
    X1,
    y1=None,
    X2=None,
    y2=None,
    *,
    traced=False,
    layers="all",
    batch_size=None,
    verbose=0,
):
    """Return inner products of the gradients of m values a sample.

    Parameters
    ----------
    net : as in `skdal.gradients.gradient_statistics`
    values : callable
        (view of the net, outputs (n, K), labels (n,) or None) -> (n, m).
    X1, X2 : data
        None for X2: X1, and what is left of the diagonal is mirrored.
    y1, y2 : array of int, optional
        Labels for `values`.
    traced : bool
        Sum over equal values of both samples.
    layers, batch_size
        As in `skdal.gradients.gradient_statistics`.
    verbose : int

    Returns
    -------
    array (n1, m, n2, m) or (n1, n2) where traced, of the parameters' precision, float32 at least
    """
    view = open_net(net)
    refuse_cross_sample_layers(view.module)
    rows = _Samples(view, X1, y1, batch_size)
    columns = rows if X2 is None else _Samples(view, X2, y2, batch_size)

    def of_view(outputs, labels):
        return values(view, outputs, labels)

    def work(factors):
        return _filled(view, of_view, rows, columns, traced, layers, factors, verbose)

    with differentiating(view):
        try:
            result = work(True)
        except RunsOtherwise as error:
            logger.info(
                "Linear layers are not kept factored, since samples run otherwise: %s",
                error,
            )
            result = work(False)
    return result[:, 0, :, 0] if traced else result


def _filled(view, values, rows, columns, traced, layers, factors, verbose):
    first = next(rows.batches(slice(0, FEW)))
    parameters = select_parameters(view, layers, first.inputs)
    factorizer = Factorizer(view, parameters, values, first, factors=factors)
    m = 1 if traced else factorizer.n_values
    dtype = (
        np.float64
        if any(p.dtype == torch.float64 for p in parameters.values())
        else np.float32
    )
    result = np.zeros((len(rows), m, len(columns), m), dtype=dtype)
    with progress_bar(len(rows) * len(columns), "kernel", verbose, unit="pairs") as bar:
        if factorizer.n_entries > _ENTRIES_A_SAMPLE:
            _by_products(
                Products(view, parameters, values), rows, columns, traced, result, bar
            )
        else:
            sizes = [
                _chunk(entries, factorizer.n_held, m)
                for entries in (_ENTRIES, _STREAMED)
            ]
            _by_contraction(factorizer, rows, columns, sizes, traced, result, bar)
    return result


class _Samples:
    """Samples, some of which can be had as mini-batches."""

    def __init__(self, view, X, y, batch_size):
        if not count_rows(X):
            raise EmptyPoolError("there are no samples: pass at least one.")
        self._view = view
        self._X = X
        self._y = y
        self._size = view.batch_size(X, batch_size)

    def __len__(self):
        return count_rows(self._X)

    def batches(self, rows):
        """Yield the MiniBatches of a slice of the samples."""
        y = None if self._y is None else self._y[rows]
        part = take_rows(self._X, rows)
        for inputs, labels in self._view.pool_batches(part, y, batch_size=self._size):
            yield MiniBatch(inputs, labels)

    def slices(self, size=None, end=None):
        """Return slices of consecutive samples, of all or of those before `end`."""
        size = size or self._size
        end = len(self) if end is None else end
        return [slice(start, min(start + size, end)) for start in range(0, end, size)]


def _chunk(entries, n_held, m):
    """Return how many samples' gradients, and inner products among them, take so many entries."""
    return max(1, min(entries // max(1, n_held), math.isqrt(entries) // m))


def _by_contraction(factorizer, rows, columns, sizes, traced, result, bar):
    """Fill in blocks from the gradients of a chunk of rows, which are held, and of one of columns
    after another.
    """

    def factors(samples, some):
        return concatenated([factorizer(batch) for batch in samples.batches(some)])

    def block_of(one, other):
        return _four_axes(one.gram(other, traced=traced).cpu().numpy())

    for here in rows.slices(sizes[0]):
        of_rows = factors(rows, here)
        if rows is columns:
            own = block_of(of_rows, of_rows)
            result[here, :, here] = (own + own.transpose(2, 3, 0, 1)) / 2
        for there in columns.slices(sizes[1], here.start if rows is columns else None):
            block = block_of(of_rows, factors(columns, there))
            result[here, :, there] = block
            if rows is columns:
                result[there, :, here] = block.transpose(2, 3, 0, 1)
        bar.update(len(columns) * (here.stop - here.start))


def _four_axes(block):
    return block[:, None, :, None] if block.ndim == 2 else block


def _by_products(products, rows, columns, traced, result, bar):
    """Fill in columns: derivatives of the values of all rows along the gradients of one sample."""
    j = 0
    m = result.shape[3]
    for there in columns.slices():
        for batch in columns.batches(there):
            for gradients in products.gradients(batch):
                gradients = list(gradients)
                for here in rows.slices():
                    if rows is columns and here.stop <= j:  # mirrored already
                        continue
                    block = torch.cat(
                        [
                            _along(products, gradients, part)
                            for part in rows.batches(here)
                        ]
                    )
                    block = (
                        block.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
                        if traced
                        else block
                    )
                    result[here, :, j] = block.reshape(-1, m, m).cpu().numpy()
                if rows is columns:
                    result[j, :, j + 1 :] = result[j + 1 :, :, j].transpose(2, 0, 1)
                    result[j, :, j] = (result[j, :, j] + result[j, :, j].T) / 2
                j += 1
                bar.update(len(rows))


def _along(products, gradients, batch):
    """Return the inner products (n, m, m') of a mini-batch's gradients with those of one sample."""
    block = torch.stack(
        [products.along(gradient, batch) for gradient in gradients], dim=2
    )
    return block.to(torch.promote_types(block.dtype, torch.float32))
