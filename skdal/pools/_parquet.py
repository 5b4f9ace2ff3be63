"""Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skdal.exceptions import InvalidDataError, MissingExtraError, UnreadableSampleError
from skdal.pools._pool import stat_of
from skdal.pools._table import TablePool, check_columns, shape_of


class ParquetPool(TablePool):
    """The rows of a Parquet file, or of all Parquet files below a folder in the order of their
    paths.

    Parameters
    ----------
    path : str or Path
    column : str, default="image"
        With encoded images (bytes, or a struct with a field `bytes`), or with numbers (lists,
        tensors).
    key : str, optional
        Column with the keys. None: keys are "FILE:ROW", as are those of rows whose key is damaged.
    shape : tuple of int, optional
        Of a sample; None: that of the column's tensors, or of its nested lists.
    size : int, optional
        Images become square, of this many pixels a side; see `ImageFolderPool`.
    transform : callable, optional
        Of the image (PIL, RGB; deeper ones as an array, see `ImageFolderPool`) or the array to a
        tensor; None: images become float32 in [0, 1], numbers float32.
    max_unreadable : float, default=0.01
        Share of the rows that may be unreadable; a query sets them aside.
    exif, depth
        How encoded images are read, see `ImageFolderPool`.

    Notes
    -----
    A row group is read whole, and the last one is kept; so groups should be of some thousand rows.
    Needs the extra `skdal[ray]`, for pyarrow.
    """

    def __init__(
        self,
        path: Any,
        column: str = "image",
        key: Any = None,
        *,
        shape: tuple | None = None,
        size: Any = None,
        transform: Any = None,
        max_unreadable: float = 0.01,
        exif: bool = False,
        depth: int | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        files = [self.path]
        if self.path.is_dir():
            files = sorted(self.path.rglob("*.parquet"))
        if not files or not all(file.is_file() for file in files):
            raise InvalidDataError(f"there is no Parquet file at {path}.")
        parts = []  # (file, row group, number of its first row)
        n_rows = []
        for file in files:
            counts, schema = _opened(file)
            check_columns(file, schema, column, key)
            for group in range(len(counts)):
                parts.append((file, group, sum(counts[:group])))
            n_rows += counts
        super().__init__(
            parts,
            n_rows,
            column,
            key,
            shape=shape or shape_of(schema.field(column)),
            size=size,
            transform=transform,
            max_unreadable=max_unreadable,
            exif=exif,
            depth=depth,
        )

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

    def fingerprint(self) -> Any:
        """Return what tells this pool from another: names, sizes and times of change of its files,
        and settings.
        """
        files = sorted({file for file, _, _ in self._parts})
        stats = [
            (str(file.relative_to(self.path.parent)), stat_of(file)) for file in files
        ]
        return type(self).__name__, stats, self.column, self.shape, self._reading()


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


def _import_parquet():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow; install it with `pip install skdal[ray]`."
        ) from error
    return pyarrow.parquet
