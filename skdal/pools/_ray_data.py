"""Datasets of Ray Data."""

from __future__ import annotations

from typing import Any, NamedTuple

import joblib
import numpy as np

from skdal.exceptions import InvalidDataError
from skdal.pools._table import TablePool, check_columns, shape_of

_ROWS_HASHED = 3  # of a block


class RayDataPool(TablePool):
    """The rows of a dataset of Ray Data, such as `ray.data.read_images("s3://...",
    include_paths=True)`.

    The dataset is executed once and its blocks stay in the object store, from where workers take
    them.

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
        dataset: Any,
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
        executed = _executed(dataset, column, key)
        found = [(block, about) for block, about in executed if about.n_rows]
        for _, about in found:
            check_columns("the dataset", about.schema, column, key)
        if shape is None and found:
            shape = shape_of(found[0][1].schema.field(column))
        super().__init__(
            [block for block, _ in found],
            [about.n_rows for _, about in found],
            column,
            key,
            shape=shape,
            size=size,
            transform=transform,
            max_unreadable=max_unreadable,
            exif=exif,
            depth=depth,
        )
        self._digests = [(str(about.schema), about.digest) for _, about in found]

    def _read(self, number, column):
        import ray

        return ray.get(self._parts[number]).column(column).combine_chunks()

    def _name(self, number, row=None):
        return f"block {number}" if row is None else f"{number}:{row}"

    def fingerprint(self) -> Any:
        """Return what tells this pool from another: of each block its length, schema and some rows,
        and settings.
        """
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
            f"the dataset cannot be executed ({str(error).strip().splitlines()[-1]}). Where "
            "ray.data.read_images met a damaged image, use ray.data.read_binary_files(..., "
            "include_paths=True) with column='bytes', key='path': the pool decodes images "
            "itself, and sets damaged ones aside."
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
