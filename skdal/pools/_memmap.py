"""Memory-mapped arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from skdal.exceptions import InvalidDataError
from skdal.pools._picture import as_picture
from skdal.pools._pool import Pool, stat_of
from skdal.utils import describe


class MemmapPool(Pool):
    """The rows of an array in a .npy file, which is never loaded whole; a key is a row's number, or
    of `keys`.

    Parameters
    ----------
    file : str or Path
        As `numpy.save` or `numpy.lib.format.open_memmap` writes it: numbers or booleans, of any
        byte order.
    keys : sequence, optional
        One a row.
    transform : callable, optional
        Of a row (an array) to a tensor; None: a tensor of its values, integers as float32.
    max_unreadable : float, default=0.01
        As in `ImageFolderPool`; rows of a memory map are always readable.
    """

    def __init__(
        self,
        file: str | Path,
        keys: Any = None,
        transform: Any = None,
        *,
        max_unreadable: float = 0.01,
    ) -> None:
        super().__init__(transform, max_unreadable=max_unreadable)
        self.file = Path(file).absolute()
        self._keys = keys
        self._rows: Any = None
        _check_numbers(file, self.rows)
        n_rows = len(self)
        if keys is not None and len(keys) != n_rows:
            raise InvalidDataError(
                f"{file} has {n_rows} rows, and there are {len(keys)} keys."
            )

    @property
    def rows(self) -> Any:
        """The array, memory-mapped."""
        if self._rows is None:
            try:
                self._rows = np.lib.format.open_memmap(self.file, mode="r")
            except (OSError, ValueError, EOFError) as error:
                raise InvalidDataError(
                    f"{self.file} cannot be memory-mapped ({error}); a .npy file as numpy.save "
                    "writes it is expected."
                ) from error
        return self._rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = np.array(self.rows[i], dtype=self.rows.dtype.newbyteorder("="))
        if self.transform is not None:
            return self.transform(row)
        return torch.from_numpy(
            row if row.dtype.kind == "f" else row.astype(np.float32)
        )

    def picture(self, i: int) -> Any:
        """Return the row at a position as an image; None where its shape is that of none."""
        return as_picture(np.asarray(self.rows[i], dtype=np.float32))

    def keys(self, positions: Any) -> list:
        """Return the keys at some positions, a list."""
        return [int(i) if self._keys is None else self._keys[int(i)] for i in positions]

    def fingerprint(self) -> Any:
        """Return what tells this pool from another: size and time of change of its file, and
        settings.
        """
        return type(self).__name__, stat_of(self.file), describe(self.transform)

    def __getstate__(self):
        return {**vars(self), "_rows": None}


def _check_numbers(file, rows):
    if not rows.size or not rows.ndim:
        raise InvalidDataError(
            f"{file} has shape {rows.shape}; an array with a row per sample is expected."
        )
    if rows.dtype.kind not in "biuf" or rows.dtype.itemsize > 8:
        raise InvalidDataError(
            f"{file} is of type {rows.dtype}; booleans, integers or floating-point numbers of "
            "at most 64 bits are expected, so store it as such, complex numbers as two "
            "channels, say."
        )
