"""Pools that are tables: Parquet files, and datasets of Ray Data. A part is read whole, and the last one is kept."""

import io
import json
from abc import abstractmethod
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch

from skdal.exceptions import InvalidDataError, MissingExtraError, UnreadableSampleError
from skdal.pools._pools import DAMAGED, Pool, as_picture, stat_of

_ROWS_HASHED = 3  # of a block


class TablePool(Pool):
    """Base of the pools whose samples are rows of Arrow tables, in parts.

    Parameters
    ----------
    parts : list
        Whatever `_columns` reads a part by.
    n_rows : list of int
        Of each part.
    column, key : str, str or None
    shape : tuple of int or None
    transform, **reading
        As in `Pool`.
    """

    def __init__(self, parts, n_rows, column, key, *, shape, transform, **reading):
        super().__init__(transform, **reading)
        self.column, self.key, self.shape = column, key, shape
        self._parts, self._stops = parts, np.cumsum(n_rows, dtype=np.int64).tolist()
        self._kept = None, None

    @abstractmethod
    def _read(self, number, column):
        """Return a column of a part, an Arrow array; UnreadableSampleError says that no row of it can be read."""

    @abstractmethod
    def _name(self, number, row=None):
        """Return what a part is called, or a row of it that has no key."""

    def __len__(self):
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, i):
        return self._of_one_shape(i, self._decoded(i, self._sample))

    def picture(self, i):
        """Return the image at a position, as it is stored; numbers of shape (channels, height, width) as one."""
        return self._decoded(i, self._seen)

    def keys(self, positions):
        """Return the values of the key column, a list; where there is none or it is damaged, what rows are called."""
        found, held = [], (None, None)
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


class ParquetPool(TablePool):
    """The rows of a Parquet file, or of all Parquet files below a folder in the order of their paths.

    Parameters
    ----------
    path : str or Path
    column : str, default="image"
        With encoded images (bytes, or a struct with a field `bytes`), or with numbers (lists, tensors).
    key : str, optional
        Column with the keys. None: keys are "FILE:ROW", as are those of rows whose key is damaged.
    shape : tuple of int, optional
        Of a sample; None: that of the column's tensors, or of its nested lists.
    size : int, optional
        Images become square, of this many pixels a side; see `ImageFolderPool`.
    transform : callable, optional
        Of the image (PIL, RGB; deeper ones as an array, see `ImageFolderPool`) or the array to a tensor; None: images
        become float32 in [0, 1], numbers float32.
    max_unreadable : float, default=0.01
        Share of the rows that may be unreadable; a query sets them aside.
    exif, depth
        How encoded images are read, see `ImageFolderPool`.

    Notes
    -----
    A row group is read whole, and the last one is kept; so groups should be of some thousand rows. Needs the
    extra `skdal[ray]`, for pyarrow.
    """

    def __init__(
        self,
        path,
        column="image",
        key=None,
        *,
        shape=None,
        size=None,
        transform=None,
        max_unreadable=0.01,
        exif=False,
        depth=None,
    ):
        self.path, parts, n_rows = (
            Path(path).absolute(),
            [],
            [],
        )  # a part: (file, row group, number of its first row)
        files = (
            sorted(self.path.rglob("*.parquet")) if self.path.is_dir() else [self.path]
        )
        if not files or not all(file.is_file() for file in files):
            raise InvalidDataError(f"there is no Parquet file at {path}.")
        for file in files:
            counts, schema = _opened(file)
            _check_columns(file, schema, column, key)
            parts += [
                (file, group, sum(counts[:group])) for group in range(len(counts))
            ]
            n_rows += counts
        shape = shape or _shape_of(schema.field(column))
        how = {
            "shape": shape,
            "size": size,
            "transform": transform,
            "max_unreadable": max_unreadable,
        }
        how |= {"exif": exif, "depth": depth}
        super().__init__(parts, n_rows, column, key, **how)

    def _read(self, number, column):
        file, group, _ = self._parts[number]
        parquet = _import_parquet()
        try:
            with parquet.ParquetFile(file) as opened:
                table = opened.read_row_group(group, columns=[column])
            if table.shape != (self._n_rows(number), 1):
                raise ValueError("it is another file than the one that was opened")
            return table.column(0).combine_chunks()
        except (
            OSError,
            ValueError,
            NotImplementedError,
        ) as error:  # Arrow's are of these, too
            raise UnreadableSampleError(f"{self._name(number)}: {error}") from error

    def _name(self, number, row=None):
        file, _, first = self._parts[number]
        name = file.name if self.path == file else str(file.relative_to(self.path))
        return name if row is None else f"{name}:{first + row}"

    def fingerprint(self):
        """Return what tells this pool from another: names, sizes and times of change of its files, and settings."""
        files = sorted({file for file, _, _ in self._parts})
        stats = [
            (str(file.relative_to(self.path.parent)), stat_of(file)) for file in files
        ]
        return type(self).__name__, stats, self.column, self.shape, self._reading()


class RayDataPool(TablePool):
    """The rows of a dataset of Ray Data, such as `ray.data.read_images("s3://...", include_paths=True)`.

    The dataset is executed once and its blocks stay in the object store, from where workers take them.

    Parameters
    ----------
    dataset : ray.data.Dataset
    column : str, default="image"
        With encoded images (bytes), or with numbers (tensors of one shape, lists).
    key : str, optional
        Column with the keys, such as "path". None: keys are "BLOCK:ROW".
    shape, size, transform, max_unreadable, exif, depth
        As in `ParquetPool`.
    """

    def __init__(
        self,
        dataset,
        column="image",
        key=None,
        *,
        shape=None,
        size=None,
        transform=None,
        max_unreadable=0.01,
        exif=False,
        depth=None,
    ):
        found = [
            (block, about)
            for block, about in _executed(dataset, column, key)
            if about.n_rows
        ]
        for _, about in found:
            _check_columns("the dataset", about.schema, column, key)
        shape = shape or (
            _shape_of(found[0][1].schema.field(column)) if found else None
        )
        how = {
            "shape": shape,
            "size": size,
            "transform": transform,
            "max_unreadable": max_unreadable,
        }
        how |= {"exif": exif, "depth": depth}
        super().__init__(
            [block for block, _ in found],
            [about.n_rows for _, about in found],
            column,
            key,
            **how,
        )
        self._digests = [(str(about.schema), about.digest) for _, about in found]

    def _read(self, number, column):
        import ray

        return ray.get(self._parts[number]).column(column).combine_chunks()

    def _name(self, number, row=None):
        return f"block {number}" if row is None else f"{number}:{row}"

    def fingerprint(self):
        """Return what tells this pool from another: of each block its length, schema and some rows, and settings."""
        own = self.column, self.key, self.shape, self._reading()
        return type(self).__name__, self._stops, self._digests, own


class _Block(NamedTuple):
    """What is known of a block: its number of rows, its schema, and a digest of some rows."""

    n_rows: int
    schema: object
    digest: str


def _executed(dataset, *columns):
    """Return pairs of a reference to a block and its `_Block`."""
    import ray  # the dataset was passed, so Ray is there

    try:
        blocks = dataset.to_arrow_refs()
    except ray.exceptions.RayTaskError as error:
        raise InvalidDataError(
            f"the dataset cannot be executed ({str(error).strip().splitlines()[-1]}). Where ray.data.read_images met "
            "a damaged image, use ray.data.read_binary_files(..., include_paths=True) with column='bytes', "
            "key='path': the pool decodes images itself, and sets damaged ones aside."
        ) from error
    about = ray.remote(_about_block)
    return list(
        zip(blocks, ray.get([about.remote(block, columns) for block in blocks]))
    )


def _about_block(block, columns):
    some = (
        np.unique(np.linspace(0, block.num_rows - 1, _ROWS_HASHED).astype(int))
        if block.num_rows
        else ()
    )
    held = [name for name in columns if name in block.schema.names]
    digest = joblib.hash(
        [block.column(name)[int(row)].as_py() for name in held for row in some]
    )
    return _Block(block.num_rows, block.schema, digest)


def _opened(file):
    """Return the number of rows of each row group of a Parquet file, and its schema."""
    parquet = _import_parquet()
    try:
        with parquet.ParquetFile(file) as opened:
            counts = [
                opened.metadata.row_group(i).num_rows
                for i in range(opened.num_row_groups)
            ]
            return counts, opened.schema_arrow
    except Exception as error:  # Arrow's errors are of many kinds
        raise InvalidDataError(
            f"{file} cannot be read as Parquet ({error}); remove it or replace it."
        ) from error


def _check_columns(where, schema, *columns):
    if missing := [
        name for name in columns if name is not None and name not in schema.names
    ]:
        raise InvalidDataError(
            f"{where} has no column {missing}; it has {schema.names}."
        )


def _shape_of(field):
    """Return the shape of a column of tensors, whether their type is known here or not; None of other columns."""
    if (shape := getattr(field.type, "shape", None)) is not None:
        return tuple(shape)
    found = (field.metadata or {}).get(b"ARROW:extension:metadata")
    try:
        found = json.loads(found) if found else None
    except ValueError:
        return None
    found = found.get("shape") if isinstance(found, dict) else found
    return tuple(found) if isinstance(found, list) else None


def _import_parquet():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow; install it with `pip install skdal[ray]`."
        ) from error
    return pyarrow.parquet
