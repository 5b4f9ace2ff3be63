"""The base of pools that are tables. A part is read whole, and the last one is kept."""

import io
import json
from abc import abstractmethod
from bisect import bisect_right

import numpy as np
import torch

from skdal.exceptions import InvalidDataError, UnreadableSampleError
from skdal.pools._picture import as_picture
from skdal.pools._pool import DAMAGED, Pool


class TablePool(Pool):
    """Base of the pools whose samples are rows of Arrow tables, in parts.

    Parameters
    ----------
    parts : list
        Whatever `_read` reads a part by.
    n_rows : list of int
        Of each part.
    column, key : str, str or None
    shape : tuple of int or None
    transform, **reading
        As in `Pool`.
    """

    def __init__(self, parts, n_rows, column, key, *, shape, transform, **reading):
        super().__init__(transform, **reading)
        self.column = column
        self.key = key
        self.shape = shape
        self._parts = parts
        self._stops = np.cumsum(n_rows, dtype=np.int64).tolist()
        self._kept = None, None

    @abstractmethod
    def _read(self, number, column):
        """Return a column of a part, an Arrow array; UnreadableSampleError says that no row of it
        can be read.
        """

    @abstractmethod
    def _name(self, number, row=None):
        """Return what a part is called, or a row of it that has no key."""

    def __len__(self):
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, i):
        return self._of_one_shape(i, self._decoded(i, self._sample))

    def picture(self, i):
        """Return the image at a position, as it is stored; numbers of shape (channels, height,
        width) as one.
        """
        return self._decoded(i, self._seen)

    def keys(self, positions):
        """Return the values of the key column, a list; where there is none or it is damaged, what
        rows are called.
        """
        found = []
        held = None, None  # the number of a part, and its keys
        for i in positions:
            number, row = self._find(int(i))
            if held[0] != number:
                held = number, self._keys_of(number)
            found.append(self._key(held[1], number, row))
        return found

    def _keys_of(self, number):
        """Return the key column of a part, None where it has none that can be read."""
        try:
            return None if self.key is None else self._column(number, self.key)
        except UnreadableSampleError:
            return None

    def _key(self, column, number, row):
        try:
            return self._name(number, row) if column is None else column[row].as_py()
        except UnicodeDecodeError:  # a damaged text
            return self._name(number, row)

    def _decoded(self, i, decode):
        number, row = self._find(i)
        if self._kept[0] != number:
            self._kept = number, self._column(number, self.column)
        try:
            return decode(self._kept[1][row].as_py())
        except DAMAGED as error:
            raise UnreadableSampleError(f"{self.keys([i])[0]}: {error}") from error

    def _find(self, i):
        """Return the part and the row in it of a position."""
        i = range(len(self))[i]
        number = bisect_right(self._stops, i)
        return number, i - self._start(number)

    def _start(self, number):
        return self._stops[number - 1] if number else 0

    def _n_rows(self, number):
        return self._stops[number] - self._start(number)

    def _column(self, number, name):
        column = self._read(number, name)
        return getattr(
            column, "storage", column
        )  # of an extension type, such as tensors

    def _stored(self, value):
        """Return the bytes or the array (float32) of a value."""
        value = (
            value.get("bytes", value.get("data")) if isinstance(value, dict) else value
        )
        if value is None:
            raise ValueError("it is empty")
        if isinstance(value, bytes):
            return value
        array = np.asarray(value)
        if array.dtype == object and None in array.ravel().tolist():
            raise ValueError("a number in it is null")
        array = array.astype(np.float32)
        return array if self.shape is None else array.reshape(self.shape)

    def _seen(self, value):
        value = self._stored(value)
        return (
            self._picture(io.BytesIO(value))
            if isinstance(value, bytes)
            else as_picture(value)
        )

    def _sample(self, value):
        array = self._stored(value)
        if isinstance(array, bytes):
            return self._image(io.BytesIO(array))
        return (
            torch.from_numpy(array) if self.transform is None else self.transform(array)
        )

    def __getstate__(self):
        return {**vars(self), "_kept": (None, None)}


def check_columns(where, schema, *columns):
    if missing := [
        name for name in columns if name is not None and name not in schema.names
    ]:
        raise InvalidDataError(
            f"{where} has no column {missing}; it has {schema.names}."
        )


def shape_of(field):
    """Return the shape of a column of tensors, whether their type is known here or not; None of
    other columns.
    """
    if (shape := getattr(field.type, "shape", None)) is not None:
        return tuple(shape)
    found = (field.metadata or {}).get(b"ARROW:extension:metadata")
    try:
        found = json.loads(found) if found else None
    except ValueError:
        return None
    found = found.get("shape") if isinstance(found, dict) else found
    return tuple(found) if isinstance(found, list) else None
