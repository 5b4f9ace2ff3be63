"""Scores of shards on disk, so that a query that was cut short goes on where it was."""

import dataclasses
import io
import json

import joblib
import numpy as np
import torch
from torch.utils.data import Subset

from skdal.adapters import estimator_digest, tensors_digest
from skdal.base._task import Part
from skdal.exceptions import InvalidDataError, MissingExtraError, UnreadableSampleError
from skdal.pools import Unreadable, has_keys, keys_of
from skdal.utils import (
    count_rows,
    describe,
    is_torch_dataset,
    row_slices,
    rows_digest,
    take_rows,
    write_atomically,
)

_ROWS_HASHED = 2**16
_ITEMS_HASHED = 16
_SIGNATURE = b"skdal"  # key in the metadata of a file


def open_store(work, trained, X, executor, slices):
    """Return the ScoreStore of a pass, None where its executor keeps no scores.

    Parameters
    ----------
    work : Work
    trained : Trained
    X : data
        The pool.
    executor : Executor or None
    slices : list of slice
        The shards.
    """
    folder = getattr(executor, "scores_dir", None)
    if folder is None:
        return None
    asked = {
        "net": estimator_digest(trained.classifier),
        "work": _work_digest(work),
        "pool": _pool_digest(X),
        "shards": [len(slices), slices[0].stop, slices[-1].stop],
        "batch_size": executor.batch_size,
    }
    return ScoreStore(folder, asked, X, slices)


class ScoreStore:
    """The folder of one query: `query.json`, and a Parquet file per shard with a row per sample.

    Parameters
    ----------
    root : Path
        Of all queries.
    asked : dict
        What the scores depend on; their digest names the folder and signs each file.
    X : data
        The pool.
    slices : list of slice
        The shards.
    """

    def __init__(self, root, asked, X, slices):
        self._arrow, self._parquet = _import_arrow()
        self._X = X
        self._with_keys = has_keys(X)
        self.digest = joblib.hash(asked)
        self.folder = root / f"query-{self.digest[:16]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asked | {"digest": self.digest}, indent=1)
        write_atomically(
            self.folder / "query.json", lambda out: out.write(text.encode())
        )
        self._files = {
            rows.start: self.folder / f"part-{rows.start:012d}.parquet"
            for rows in slices
        }
        self._there = [rows for rows in slices if self._files[rows.start].exists()]
        self.missing = [rows for rows in slices if not self._files[rows.start].exists()]

    def parts(self):
        """Yield the rows and the Part of each shard that is there.

        Raises
        ------
        InvalidDataError
            A file is damaged, or of another query.
        """
        for rows in self._there:
            yield rows, self._read(self._files[rows.start], rows)

    def keep(self, rows, part):
        """Store the Part of a shard."""
        columns = {"position": part.positions.astype(np.int64)}
        if self._with_keys:
            columns["key"] = [
                _storable(key) for key in keys_of(self._X, part.positions)
            ]
        columns |= {name: np.asarray(column) for name, column in part.columns.items()}
        held = {"query": self.digest, "unreadable": [list(x) for x in part.unreadable]}
        table = self._arrow.table(columns).replace_schema_metadata(
            {_SIGNATURE: json.dumps(held, default=str).encode()}
        )
        buffer = io.BytesIO()
        self._parquet.write_table(table, buffer)
        write_atomically(
            self._files[rows.start], lambda out: out.write(buffer.getbuffer())
        )

    def finish(self, unreadable):
        """List the samples that were set aside in `unreadable.csv`."""
        lines = [
            "position,key,reason",
            *(",".join(map(_quoted, x)) for x in unreadable),
        ]
        write_atomically(
            self.folder / "unreadable.csv", lambda out: out.write(_lines(lines))
        )

    def _read(self, file, rows):
        try:
            table = self._parquet.read_table(file)
            held = json.loads(table.schema.metadata[_SIGNATURE])
            columns = {
                name: table[name].to_numpy()
                for name in table.column_names
                if name != "key"
            }
            positions = columns.pop("position").astype(np.intp)
        except Exception as error:  # pyarrow's errors are of many kinds
            raise InvalidDataError(
                f"{file} is damaged ({error}); move it away to score its shard again."
            ) from error
        unreadable = [Unreadable(*x) for x in held["unreadable"]]
        is_whole = len(positions) + len(unreadable) == rows.stop - rows.start
        if held["query"] != self.digest or not is_whole:
            raise InvalidDataError(
                f"{file} is of another query; move it away to score its shard again."
            )
        damaged = (
            positions[~np.isfinite(columns["score"])]
            if "score" in columns
            else positions[:0]
        )
        return Part(0, positions, columns, unreadable, damaged)


def _storable(key):
    """Return a key as Parquet can hold it: names of files that are not UTF-8 with their odd bytes
    spelled out.
    """
    return (
        key.encode("utf-8", "backslashreplace").decode()
        if isinstance(key, str)
        else key
    )


def _lines(lines):
    return "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def _quoted(value):
    text = "" if value is None else str(value)
    return (
        '"' + text.replace('"', '""') + '"'
        if any(c in text for c in ',"\n\r')
        else text
    )


def _work_digest(work):
    """Return a digest of a work: the code of its class, and its fields but for what it shows."""
    fields = {x.name: getattr(work, x.name) for x in dataclasses.fields(work)}
    del fields["verbose"]
    return joblib.hash(
        [describe(type(work)), {name: _plain(x) for name, x in fields.items()}]
    )


def _plain(value):
    if isinstance(value, torch.Tensor):
        return tensors_digest({"": value})
    if _is_tensors(value):
        return tensors_digest(value)
    return describe(value) if callable(value) else value


def _is_tensors(value):
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(x, torch.Tensor) for x in value.values())


def _pool_digest(X):
    """Return a digest of a pool: what it says of itself, or the values of arrays, or some items of
    a Dataset.
    """
    if callable(getattr(X, "fingerprint", None)):
        return joblib.hash(X.fingerprint())
    if isinstance(X, Subset):
        return joblib.hash([_pool_digest(X.dataset), np.asarray(X.indices)])
    if not is_torch_dataset(X) and rows_digest(take_rows(X, slice(0, 1))) is not None:
        return joblib.hash(
            [
                rows_digest(take_rows(X, rows))
                for rows in row_slices(count_rows(X), _ROWS_HASHED)
            ]
        )
    some = np.unique(np.linspace(0, len(X) - 1, _ITEMS_HASHED).astype(int))
    return joblib.hash(
        [describe(type(X)), len(X), [_item_digest(X, int(i)) for i in some]]
    )


def _item_digest(X, i):
    try:
        return joblib.hash(_values(X[i]))
    except UnreadableSampleError:
        return None


def _values(item):
    return (
        [_values(x) for x in item]
        if isinstance(item, (list, tuple))
        else np.asarray(item)
    )


def _import_arrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "scores_dir= needs pyarrow, for Parquet; install it with `pip install skdal[ray]`."
        ) from error
    return pyarrow, pyarrow.parquet
