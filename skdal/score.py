"""`skdal score`: from a checkpoint, a list of labels and a pool on disk to a list of what to label next."""

import csv
import importlib
import io
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch.utils.data import Dataset, Subset

from skdal.adapters import check_net, final_estimator
from skdal.datasets import ImageFolderPool, MemmapPool, ParquetPool, keys_of
from skdal.exceptions import InvalidDataError, InvalidLabelsError, InvalidParameterError, UnreadableSampleError
from skdal.samplers import DynamicALSampler
from skdal.utils import check_n_instances, write_atomically

_SHEET, _SIDE = 64, 96  # thumbnails of a sheet, pixels of one


def score(net_factory, checkpoint, labels_file, pool, n_instances, out, *, overwrite=False, **sampler_params):
    """Choose samples of a pool by dynamicAL and write them to files.

    Parameters
    ----------
    net_factory : str
        "package.module:function", which returns a skorch NeuralNetClassifier.
    checkpoint : str or Path
        Its weights: a state dict as `torch.save` writes it, or skorch's `save_params(f_params=...)`.
    labels_file : str or Path
        A CSV file with the columns key and label, of samples of the pool; these are the labeled set.
    pool : Pool
    n_instances : int
    out : str or Path
        The CSV file to write; a sheet of thumbnails gets its name with .png, and samples that could
        not be read are listed beside it.
    overwrite : bool, default=False
        Whether `out` may exist.
    **sampler_params
        For `DynamicALSampler`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    SkdalError
        Anything is missing, damaged or does not fit; before the pool is scored.
    """
    out = Path(out)
    _check_out(out, overwrite)
    net = load_net(net_factory, checkpoint)
    keys, labels = read_labels(labels_file)
    positions = pool.positions(keys)
    rest = Subset(pool, np.setdiff1d(np.arange(len(pool)), positions).tolist())
    check_n_instances(n_instances, len(rest))
    sampler = DynamicALSampler(FrozenEstimator(net), **sampler_params).fit(_Labeled(pool, positions, labels))
    best = sampler.best(rest, n_instances)
    picked = keys_of(rest, best.positions)
    written = [_write(out, _picks_csv(picked, best.columns))]
    sheet = _sheet(pool, np.asarray(rest.indices)[best.positions[:_SHEET]])
    written += [_write(out.with_suffix(".png"), sheet)] if sheet else []
    unreadable = getattr(sampler, "unreadable_", [])
    if unreadable:
        rows = [["key", "reason"], *([x.key, x.reason] for x in unreadable)]
        written.append(_write(out.with_name(f"{out.stem}-unreadable.csv"), _csv(rows)))
    return written


def load_net(net_factory, checkpoint):
    """Return the net of a factory with the weights of a checkpoint.

    Raises
    ------
    InvalidParameterError
        There is no such factory, or it gives no net.
    InvalidDataError
        There is no such checkpoint, or its weights are not those of the net.
    """
    net = _factory(net_factory)()
    check_net(net)
    final = final_estimator(net)
    if not getattr(final, "initialized_", False):
        final.initialize()
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state) if isinstance(state, dict) else state
        final.module_.load_state_dict(state)
    except Exception as error:  # torch's own errors are of many kinds
        raise InvalidDataError(
            f"{checkpoint} cannot be loaded into the net of {net_factory}: {error}. A state dict is expected, as "
            "torch.save(net.module_.state_dict(), file) or net.save_params(f_params=file) write it."
        ) from error
    return net


def _factory(name):
    module, _, function = name.partition(":")
    if not module or not function:
        raise InvalidParameterError(f"--net-factory must be package.module:function; got {name!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module of the folder that one is in, as with python -m
    try:
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InvalidParameterError(
            f"--net-factory {name!r} cannot be imported ({error}); give package.module:function of a module that is "
            "installed, or in this folder."
        ) from error
    if not callable(made):
        raise InvalidParameterError(f"--net-factory {name!r} is no function but {type(made).__name__}.")
    return made


def read_labels(file):
    """Return (keys, labels (n,)) of a CSV file with the columns key and label.

    Raises
    ------
    InvalidDataError
        The file is missing or lacks a column.
    InvalidLabelsError
        Labels are no integers from 0.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        raise InvalidDataError(f"{file} cannot be read ({error}); a CSV file with key,label is expected.") from error
    if not rows or not {"key", "label"} <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise InvalidDataError(f"{file} must have the columns key and label, and a row at least; it has {found}.")
    for number, row in enumerate(rows, 2):
        if not (row["label"] or "").strip().isdigit():
            raise InvalidLabelsError(
                f"{file}, line {number}: the label must be an integer from 0, as the net's outputs are numbered; got "
                f"{row['label']!r}."
            )
    return [row["key"] for row in rows], np.array([int(row["label"]) for row in rows])


def open_pool(path, *, column="image", key=None, size=None, max_unreadable=0.01, transform=None):
    """Return the pool of a folder of images, a folder or file of Parquet, or a .npy file."""
    path = Path(path)
    how = {"max_unreadable": max_unreadable, "transform": _factory(transform) if transform else None}
    if not path.exists():
        raise InvalidDataError(f"there is nothing at {path}; a folder of images, Parquet or a .npy file is expected.")
    if path.suffix == ".npy":
        return MemmapPool(path, **how)
    if path.suffix == ".parquet" or path.is_dir() and any(path.rglob("*.parquet")):
        return ParquetPool(path, column, key, size=size, **how)
    return ImageFolderPool(path, size, **how)


class _Labeled(Dataset):
    """Samples of a pool with their labels."""

    def __init__(self, pool, positions, labels):
        self.pool, self.positions, self.labels = pool, positions, labels

    def __len__(self):
        return len(self.positions)

    def __getitem__(self, i):
        return self.pool[int(self.positions[i])], int(self.labels[i])


def _check_out(out, overwrite):
    if not out.parent.is_dir():
        raise InvalidParameterError(f"there is no folder {out.parent} for {out.name}; make it first.")
    if out.exists() and not overwrite:
        raise InvalidParameterError(f"{out} exists already; give another name, or --overwrite.")


def _picks_csv(keys, columns):
    names = [name for name in ("score", "sq_norm", "dot", "label") if name in columns]
    rows = zip(keys, range(1, len(keys) + 1), *(columns[name].tolist() for name in names))
    return _csv([["key", "rank", *names], *rows])


def _csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write(path, content):
    write_atomically(path, lambda file: file.write(content))
    return path


def _sheet(pool, positions):
    """Return a PNG of thumbnails, best first, row by row; None where samples are no images."""
    from PIL import Image

    n_columns = int(np.ceil(np.sqrt(len(positions))))
    sheet = Image.new("RGB", (n_columns * _SIDE, -(-len(positions) // n_columns) * _SIDE), "white")
    for k, i in enumerate(positions):
        try:
            picture = pool.picture(int(i))
        except UnreadableSampleError:
            continue
        if picture is None:
            return None
        picture.thumbnail((_SIDE - 4, _SIDE - 4))
        picture = picture.resize([round(side * (_SIDE - 4) / max(picture.size)) for side in picture.size])
        sheet.paste(picture, (k % n_columns * _SIDE + 2, k // n_columns * _SIDE + 2))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()
