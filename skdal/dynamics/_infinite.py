"""Kernels of infinitely wide networks, in tiles, kept on disk where asked."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from skdal.dynamics._inputs import (
    check_inputs,
    check_network,
    prepared,
    warn_of_near_twins,
)
from skdal.dynamics._recursion import kernel_block
from skdal.exceptions import InvalidDataError
from skdal.utils import (
    AS_ARRAY,
    check_device,
    check_known,
    digest,
    keep,
    one_thread,
    prepare_folder,
    read_kept,
)

# Of a displacement, all pairs of a tile. On CPUs a few arrays of this size stay in cache; on GPUs
# the largest
# displacement takes four times as much in each of eight arrays, 2 GB.
_TILE_BYTES = {"cpu": 3 * 2**18, "cuda": 2**26}
_HE = math.sqrt(2)  # keeps the variance of a ReLU network
_VERSION = 1  # of what a kept kernel means


def infinite_ntk(
    X1: Any,
    X2: Any = None,
    *,
    kind: str = "mlp",
    depth: int,
    weight_std: float = _HE,
    bias_std: float = 0.0,
    readout: str = "gap",
    kernel_size: int = 3,
    kernel: str = "ntk",
    dtype: str = "float64",
    device: Any = None,
    cache_dir: str | Path | None = None,
    verbose: int = 0,
) -> Any:
    """Compute the tangent kernel of an infinitely wide ReLU network, exactly.

    Networks are in NTK parametrisation: weights are drawn from N(0, weight_std^2 / fan-in) and
    biases from N(0, bias_std^2), in every layer, the linear output layer too. The fan-in of a
    convolution is kernel_size^2 x channels.

    Parameters
    ----------
    X1 : array or tensor (n1, channels, height, width), or (n1, n_features) for "mlp"
    X2 : array or tensor (n2, ...), optional
        None: X1, of which each pair is computed once.
    kind : {"mlp", "conv"}, default="mlp"
        "mlp": dense layers on flattened inputs. "conv": convolutions of stride 1, padded with zeros
        to the same size.
    depth : int
        Hidden layers; a linear output layer follows.
    weight_std : float, default=sqrt(2)
    bias_std : float, default=0.0
    readout : {"gap", "flatten"}, default="gap"
        Of "conv", between the last hidden layer and the output layer: the average over positions,
        or all of them. "flatten" is cheaper by a factor of height x width.
    kernel_size : int, default=3
        Side of the convolutions' windows, odd.
    kernel : {"ntk", "nngp"}, default="ntk"
        The tangent kernel, or the covariance of the outputs at initialization.
    dtype : {"float64", "float32"}, default="float64"
        float32 takes three quarters of the time, and agrees to about 1e-5 relative. Samples that
        all but equal each other, up to a factor, lose more, to 1e-3, and `generalization_bound` a
        multiple of that; they are warned of.
    device : str or torch.device, optional
        None: that of X1, the CPU for arrays.
    cache_dir : path, optional
        A folder. Finished rows are kept in it, under a hash of the inputs and settings, so that a
        call that was cut off goes on where it was, and an equal call reads the result.
    verbose : int, default=0
        1 shows a progress bar over pairs.

    Returns
    -------
    array (n1, n2) of `dtype`
        Theta of Eq. 2: the kernel of one output, K outputs have it times the identity.

    Raises
    ------
    InvalidParameterError, InvalidDataError
        An argument is not allowed, or X1 and X2 are not of one kind; before anything is computed.

    Warns
    -----
    IllConditionedWarning
        With float32, of samples that are too near to each other for it.

    References
    ----------
    Jacot et al., "Neural Tangent Kernel", NeurIPS 2018. Arora et al., "On Exact Computation with an
    Infinitely Wide Neural Net", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skdal.dynamics import infinite_ntk
    >>> X = np.random.default_rng(0).normal(size=(4, 3, 8, 8))
    >>> theta = infinite_ntk(X, kind="conv", depth=2)
    >>> theta.shape, bool(np.allclose(theta, theta.T))
    ((4, 4), True)
    """
    network = check_network(
        kind, depth, weight_std, bias_std, readout, kernel_size, kernel
    )
    check_known("dtype", dtype, ("float64", "float32"))
    if device is None:
        device = X1.device if isinstance(X1, torch.Tensor) else "cpu"
    device = check_device(device)
    rows = check_inputs(X1, "X1", kind, dtype)
    columns = rows if X2 is None or X2 is X1 else check_inputs(X2, "X2", kind, dtype)
    if rows.shape[1:] != columns.shape[1:]:
        raise InvalidDataError(
            f"samples of X1 have shape {rows.shape[1:]}, and those of X2 {columns.shape[1:]}."
        )
    if dtype == "float32":
        names = "X1" if columns is rows else "X1 and X2"
        warn_of_near_twins(rows.to(device), columns.to(device), names, stacklevel=3)
    folder = (
        None
        if cache_dir is None
        else prepare_folder(cache_dir) / f"{kernel}-{_digest(network, rows, columns)}"
    )
    of_rows = prepared(network, rows.to(device))
    of_columns = prepared(network, columns.to(device))
    return _by_rows(network, of_rows, of_columns, rows is columns, folder, verbose)


def _digest(network, rows, columns):
    """Return the name of a kernel: rows that are kept under another one are of another kernel."""
    settings = f"{_VERSION} {tuple(network)} {rows.dtype} {rows is columns}"
    parts = [settings.encode()]
    for x in (rows, columns):
        parts += [str(tuple(x.shape)).encode(), x.contiguous().numpy()]
    return digest(parts, n_digits=24, method="sha256")


def _by_rows(network, rows, columns, is_symmetric, folder, verbose):
    """Return the kernel, worked in rows of tiles; of a symmetric one up to the diagonal, and
    mirrored.
    """
    n_rows = rows.pixels.shape[2]
    n_columns = columns.pixels.shape[2]
    side = _side_of_tile(network, rows.pixels)
    width = _side_of_tile(network, columns.pixels)
    spans = [
        slice(start, min(start + side, n_rows)) for start in range(0, n_rows, side)
    ]
    ends = [span.stop if is_symmetric else n_columns for span in spans]
    result = np.empty(
        (n_rows, n_columns), dtype=str(rows.pixels.dtype).removeprefix("torch.")
    )
    n_pairs = sum(end * (span.stop - span.start) for span, end in zip(spans, ends))
    bar = tqdm(total=n_pairs, desc="kernel", unit=" pairs", disable=not verbose)
    with bar, _tile_workers(rows.pixels.device) as workers:

        def begin(span, end):
            return _begun(network, rows[span], columns[:end], width, workers)

        parts = _kept_rows(folder, spans, ends, begin, str(result.dtype))
        for span, end, part in zip(spans, ends, parts):
            result[span, :end] = part
            bar.update(part.size)
            if is_symmetric:
                result[:end, span] = part.T
                square = result[span, span]
                square[...] = (square + square.T) / 2
    return result


def _side_of_tile(network, pixels):
    """Return how many images a tile has on a side: equal parts of all, so that no tile is a narrow
    rest.
    """
    height, width, n, _ = pixels.shape
    n_shifts = (2 * height - 1) * (2 * width - 1) if network.pools else 1
    per_pair = (height * width) ** (2 if network.pools else 1) / n_shifts
    n_values = (
        _TILE_BYTES["cpu" if pixels.device.type == "cpu" else "cuda"]
        / pixels.element_size()
    )
    n_tiles = max(1, round(n / max(1, math.sqrt(n_values / per_pair))))
    return -(-n // n_tiles)


@contextmanager
def _tile_workers(device):
    """Yield an executor: a thread for each of torch's, which for so small operations are better not
    shared.
    """
    with one_thread() as n_threads:
        with ThreadPoolExecutor(n_threads if device.type == "cpu" else 1) as workers:
            yield workers


def _begun(network, rows, columns, width, workers):
    """Return the futures of a row of tiles."""
    tiles = (
        columns[left : left + width]
        for left in range(0, columns.pixels.shape[2], width)
    )
    return [
        workers.submit(lambda tile=tile: kernel_block(network, rows, tile).cpu())
        for tile in tiles
    ]


class _Row(NamedTuple):
    """A row of tiles: what it has to be, where it is kept, and the tiles that are being worked.

    Attributes
    ----------
    shape : (int, int)
    dtype : str
    file : Path or None
        None: the row is not kept.
    futures : list of Future or None
        Of its tiles; None where the file is there.
    """

    shape: tuple
    dtype: str
    file: Path | None
    futures: list | None

    def result(self):
        """Return the row, read or computed; what is computed is kept."""
        if self.futures is None:
            return read_kept(self.file, AS_ARRAY, self._fault_of)
        tiles = [future.result() for future in self.futures]
        array = torch.cat(tiles, dim=1).numpy()
        if self.file is not None:
            keep(self.file, array, AS_ARRAY)
        return array

    def _fault_of(self, array):
        """Say what is wrong with an array that was read, or return None."""
        shape = getattr(array, "shape", None)
        dtype = str(getattr(array, "dtype", None))
        if (shape, dtype) == (self.shape, self.dtype) and np.isfinite(array).all():
            return None
        return (
            f"it holds {shape} of {dtype} and not {self.shape} finite numbers of "
            f"{self.dtype}"
        )

    def cancel(self):
        """Let go of the tiles that no worker has begun."""
        for future in self.futures or ():
            future.cancel()


def _kept_rows(folder, spans, ends, begin, dtype):
    """Yield the rows of tiles in order; without a folder they are not kept, in one those that are
    there are read.

    A row is begun before the one before it is waited for, so that no worker is idle at its end.

    Raises
    ------
    InvalidDataError
        A file is damaged.
    """
    begun = deque()
    try:
        for span, end in zip(spans, ends):
            begun.append(_begun_row(folder, span, end, begin, dtype))
            if len(begun) > 1:
                yield begun[0].result()
                begun.popleft()
        while begun:
            yield begun[0].result()
            begun.popleft()
    finally:
        for row in begun:
            row.cancel()


def _begun_row(folder, span, end, begin, dtype):
    """Return a `_Row`, whose tiles are begun unless its file is there."""
    n_rows = span.stop - span.start
    if folder is None:
        file = None
    else:
        file = folder / f"rows-{span.start}-{n_rows}x{end}.npy"
    is_there = file is not None and file.exists()
    futures = None if is_there else begin(span, end)
    return _Row((n_rows, end), dtype, file, futures)
