"""The files that are written: their names, and CSV."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from skdal.exceptions import InvalidParameterError
from skdal.pools import ImageFolderPool
from skdal.utils import write_atomically

_COLUMNS = ("score", "sq_norm", "dot", "label")  # of picks, behind key and rank


def output_files(out, overwrite):
    """Return the files to write, for picks, thumbnails and the list of unreadable samples."""
    if out.suffix.lower() != ".csv":
        raise InvalidParameterError(
            f"--out must be a file name that ends in .csv; got {out}."
        )
    if not out.parent.is_dir():
        raise InvalidParameterError(
            f"there is no folder {out.parent} for {out.name}; make it first."
        )
    outputs = out, out.with_suffix(".png"), out.with_name(f"{out.stem}-unreadable.csv")
    for path in outputs:
        if path.is_dir():
            raise InvalidParameterError(f"{path} is a folder; give --out another name.")
        if path.exists() and not overwrite:
            raise InvalidParameterError(
                f"{path} exists already; give --out another name, or --overwrite."
            )
    return outputs


def check_outside(pool, out, executor):
    """Refuse to write images where the next run looks for images, and Parquet where it looks for
    Parquet or images.
    """
    folder = getattr(
        pool, "folder", getattr(pool, "path", None)
    )  # of images or Parquet
    paths = [out] if isinstance(pool, ImageFolderPool) else []
    for path in (*paths, getattr(executor, "scores_dir", None)):
        if None not in (folder, path) and Path(path).resolve().is_relative_to(
            folder.resolve()
        ):
            raise InvalidParameterError(
                f"{path} is inside the pool, of which it would become a part; give another."
            )


def picks_csv(keys, columns):
    """Return the picks by rank; a column that the sampler does not compute is empty, and so is
    NaN.
    """
    not_computed = np.full(len(keys), "")
    cells = [columns.get(name, not_computed).tolist() for name in _COLUMNS]
    ranks = range(1, len(keys) + 1)
    rows = [[_cell(value) for value in row] for row in zip(keys, ranks, *cells)]
    return _csv([["key", "rank", *_COLUMNS], *rows])


def _cell(value):
    return "" if isinstance(value, float) and math.isnan(value) else value


def unreadable_csv(unreadable):
    """Return a list of what could not be read, None where all could."""
    return (
        _csv([["key", "reason"], *([x.key, x.reason] for x in unreadable)])
        if unreadable
        else None
    )


def _csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(
        errors="surrogateescape"
    )  # names of files need not be UTF-8


def write(path, content):
    """Write a file and return its path; where there is nothing to write, one of an earlier run
    goes.
    """
    if content is None:
        return path.unlink(missing_ok=True)
    write_atomically(path, lambda file: file.write(content))
    return path
