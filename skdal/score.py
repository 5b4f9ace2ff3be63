"""`skdal score`: from a checkpoint, a list of labels and a pool on disk to a list of what to label next."""

import csv
import importlib
import io
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch.utils.data import Dataset, Subset

from skdal.adapters import check_net, final_estimator, open_net
from skdal.exceptions import (
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
    UnreadableSampleError,
)
from skdal.pools import ImageFolderPool, MemmapPool, ParquetPool, keys_of
from skdal.samplers import DynamicALSampler
from skdal.utils import check_n_instances, write_atomically

_SHEET, _SIDE = 64, 96  # thumbnails of a sheet, pixels of one
_LISTED = 20  # names in a message
_NO_LABEL = ("", "-1", "nan", "na", "n/a", "<na>", "none", "null")


def score(
    net_factory,
    checkpoint,
    labels_file,
    pool,
    n_instances,
    out,
    *,
    overwrite=False,
    classes=None,
    **sampler_params,
):
    """Choose samples of a pool by dynamicAL and write them to files.

    Parameters
    ----------
    net_factory : str
        "package.module:function", which returns a skorch NeuralNetClassifier.
    checkpoint : str or Path
        Its weights: a state dict as `torch.save` writes it, or skorch's `save_params(f_params=...)`.
    labels_file : str or Path
        A CSV file with the columns key and label, of samples of the pool; these are the labeled set. Labels are
        integers from 0, or names of `classes`.
    pool : Pool
    n_instances : int
    out : str or Path
        The file to write, which ends in .csv; a sheet of thumbnails gets its name with .png, and samples
        that could not be read are listed in the one with -unreadable.csv.
    overwrite : bool, default=False
        Whether these may exist; none of an earlier run is left then.
    classes : sequence of str, optional
        The names of the net's outputs, in their order; predicted labels are written by name then.
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
    classes = _checked_names(classes)
    picks, thumbnails, aside = _outputs(Path(out), overwrite)
    _check_outside(pool, out, sampler_params.get("executor"))
    net = load_net(net_factory, checkpoint)
    keys, labels = read_labels(labels_file, classes)
    positions = _labeled_positions(pool, keys, labels_file)
    _check_number(classes, net, Subset(pool, positions[:2]))
    rest = unlabeled(pool, positions)
    check_n_instances(n_instances, len(rest))
    sampler = DynamicALSampler(FrozenEstimator(net), **sampler_params).fit(
        _Labeled(pool, positions, labels)
    )
    best = sampler.best(rest, n_instances)
    written = [
        _write(
            picks,
            _picks_csv(
                keys_of(rest, best.positions), _with_names(best.columns, classes)
            ),
        ),
        _write(thumbnails, _sheet(pool, rest.indices[best.positions[:_SHEET]])),
        _write(aside, _unreadable_csv(getattr(sampler, "unreadable_", []))),
    ]
    return [path for path in written if path]


def unlabeled(pool, positions):
    """Return the pool without some positions, as a Subset whose indices are an array: a list is large on its way."""
    return Subset(pool, np.setdiff1d(np.arange(len(pool)), positions))


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
        raise InvalidParameterError(
            f"--net-factory must be package.module:function; got {name!r}."
        )
    if "" not in sys.path:
        sys.path.insert(
            0, ""
        )  # a module of the folder that one is in, as with python -m
    try:
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InvalidParameterError(
            f"--net-factory {name!r} cannot be imported ({error}); give package.module:function of a module that is "
            "installed, or in this folder."
        ) from error
    if not callable(made):
        raise InvalidParameterError(
            f"--net-factory {name!r} is no function but {type(made).__name__}."
        )
    return made


def _checked_names(classes):
    """Return the names of classes without spaces around them, after checking that each has one of its own."""
    if classes is None:
        return None
    if isinstance(classes, str):
        raise InvalidParameterError(
            f"classes must be a sequence of names, such as ['cat', 'dog']; got {classes!r}."
        )
    names = [name.strip() for name in classes]
    if len(names) < 2 or not all(names):
        fault = "one of them is empty" if len(names) > 1 else "there is one"
        raise InvalidParameterError(
            f"--classes must be names of two classes at least, as in --classes cat,dog; {fault}: {_listed(names)}."
        )
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise InvalidParameterError(
            f"--classes has names more than once: {_listed(twice)}. Give each output of the net a name of its own."
        )
    return names


def _check_number(classes, net, some):
    """Raise if there are not as many classes as a net has outputs, which some samples tell."""
    if classes is None:
        return
    n_outputs = open_net(net).n_outputs(some)
    if len(classes) != n_outputs:
        raise InvalidParameterError(
            f"--classes has {len(classes)} names ({_listed(classes)}), and the net has {n_outputs} outputs; name each "
            "of them, in their order."
        )


def read_labels(file, classes=None):
    """Return (keys, labels (n,)) of a CSV file with the columns key and label.

    Parameters
    ----------
    file : str or Path
    classes : sequence of str, optional
        What labels are by name; a label becomes its position. None: labels are integers.

    Raises
    ------
    InvalidDataError
        The file is missing or damaged, lacks a column, or has a key twice.
    InvalidLabelsError
        Labels are no integers from 0, or with `classes` none of them.
    """
    lines, rows = _csv_rows(file)
    if not rows or not {"key", "label"} <= set(rows[0]):
        found = list(rows[0]) if rows else "no rows"
        raise InvalidDataError(
            f"{file} must have the columns key and label in UTF-8, and a row at least; it has {found}."
        )
    found = [(row["label"] or "").strip() for row in rows]
    labels = (
        _integers(file, lines, found)
        if classes is None
        else _positions(file, lines, found, classes)
    )
    keys = [row["key"] for row in rows]
    if twice := [key for key, n in Counter(keys).items() if n > 1]:
        raise InvalidDataError(
            f"{file} has {len(twice)} keys more than once, such as {twice[:3]}; leave one row of each, since every "
            "row counts."
        )
    return keys, np.array(labels)


def _integers(file, lines, labels):
    for line, label in zip(lines, labels):
        if not re.fullmatch("[0-9]{1,18}", label):
            raise InvalidLabelsError(
                f"{file}, line {line}: the label must be an integer from 0, as the net's outputs are numbered; got "
                f"{label!r}.{_remedy(label, labels)}"
            )
    return [int(label) for label in labels]


def _remedy(label, labels):
    """Say what to do with a label that is no integer, one of all that there are."""
    if label.lower() in _NO_LABEL:
        return " Leave out the rows that have no label yet."
    names = sorted(
        {
            name
            for name in labels
            if any(map(str.isalpha, name)) and name.lower() not in _NO_LABEL
        }
    )
    if not names:
        return ""
    how = " Where labels are names, name all outputs of the net, in their order, with --classes"
    if len(names) > _LISTED or "," in "".join(names):
        return (
            f"{how} @FILE, one a line. {len(names)} names are there: {_listed(names)}."
        )
    return f"{how}. Those that are there: --classes {shlex.quote(','.join(names))}"


def _positions(file, lines, labels, classes):
    position = {name: k for k, name in enumerate(classes)}
    wrong = [
        (line, label) for line, label in zip(lines, labels) if label not in position
    ]
    if wrong:
        line, label = wrong[0]
        unknown = sorted({label for _, label in wrong})
        remedy = (
            "Leave out the rows that have no label yet"
            if label.lower() in _NO_LABEL
            else "Correct them"
        )
        raise InvalidLabelsError(
            f"{file}, line {line}: the label must be one of --classes ({_listed(classes)}); got {label!r}. Labels that "
            f"are none of them: {_listed(unknown)}. {remedy}, or name all outputs of the net in --classes."
        )
    return [position[label] for label in labels]


def _listed(names):
    more = f", ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more


def _csv_rows(file):
    """Return the numbers of the lines of a CSV file, and its rows as dicts; names of files need not be UTF-8."""
    try:
        with open(
            file, newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as opened:
            reader = csv.DictReader(opened)
            found = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InvalidDataError(
            f"{file} cannot be read ({error}); a CSV file with key,label is expected."
        ) from error
    except csv.Error as error:
        raise InvalidDataError(
            f"{file}, line {reader.reader.line_num}: {error}; is it a CSV file?"
        ) from error
    return [line for line, _ in found], [row for _, row in found]


def _labeled_positions(pool, keys, file):
    try:
        return pool.positions(keys)
    except InvalidDataError as error:
        remedy = ""
        if any(re.search("[\ud800-\udfff]", key) for key in keys):
            remedy = " Some keys are not UTF-8, as names of files may be; if theirs are, save the file as UTF-8."
        raise InvalidDataError(f"{file}: {error}{remedy}") from error


def open_pool(
    path,
    *,
    column=None,
    key=None,
    size=None,
    max_unreadable=0.01,
    transform=None,
    exif=False,
    depth=None,
):
    """Return the pool of a folder of images, a folder or file of Parquet, or a .npy file.

    Raises
    ------
    InvalidDataError
        There is none.
    InvalidParameterError
        An argument does not apply to such a pool.
    """
    path = Path(path)
    how = {
        "max_unreadable": max_unreadable,
        "transform": _factory(transform) if transform else None,
    }
    if not path.exists():
        raise InvalidDataError(
            f"there is nothing at {path}; a folder of images, Parquet or a .npy file is expected."
        )
    if path.suffix == ".npy":
        _refuse_given(
            "a .npy file",
            column=column,
            key=key,
            size=size,
            exif=exif or None,
            depth=depth,
        )
        return MemmapPool(path, **how)
    how |= {"size": size, "exif": exif, "depth": depth}
    if path.suffix == ".parquet" or path.is_dir() and any(path.rglob("*.parquet")):
        return ParquetPool(path, column or "image", key, **how)
    _refuse_given("a folder of images", column=column, key=key)
    return ImageFolderPool(path, **how)


def _refuse_given(kind, **arguments):
    if given := [f"--{name}" for name, value in arguments.items() if value is not None]:
        raise InvalidParameterError(
            f"{kind} takes no {', no '.join(given)}; run it without."
        )


class _Labeled(Dataset):
    """Samples of a pool with their labels."""

    def __init__(self, pool, positions, labels):
        self.pool, self.positions, self.labels = pool, positions, labels

    def __len__(self):
        return len(self.positions)

    def __getitem__(self, i):
        return self.pool[int(self.positions[i])], int(self.labels[i])


def _outputs(out, overwrite):
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


def _check_outside(pool, out, executor):
    """Refuse to write images where the next run looks for images, and Parquet where it looks for Parquet or images."""
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


def _with_names(columns, classes):
    """Return the columns of picks with the predicted label by name."""
    if classes is None or "label" not in columns:
        return columns
    return columns | {"label": np.array(classes, dtype=object)[columns["label"]]}


def _picks_csv(keys, columns):
    names = ("score", "sq_norm", "dot", "label")
    not_computed = np.full(len(keys), "")  # a term of weight zero
    rows = zip(
        keys,
        range(1, len(keys) + 1),
        *(columns.get(name, not_computed).tolist() for name in names),
    )
    return _csv([["key", "rank", *names], *rows])


def _unreadable_csv(unreadable):
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


def _write(path, content):
    """Write a file and return its path; where there is nothing to write, one of an earlier run goes."""
    if content is None:
        return path.unlink(missing_ok=True)
    write_atomically(path, lambda file: file.write(content))
    return path


def _sheet(pool, positions):
    """Return a PNG of thumbnails, best first, row by row; None where samples are no images."""
    from PIL import Image

    n_columns = int(np.ceil(np.sqrt(len(positions))))
    sheet = Image.new(
        "RGB", (n_columns * _SIDE, -(-len(positions) // n_columns) * _SIDE), "white"
    )
    for k, i in enumerate(positions):
        try:
            picture = pool.picture(int(i))
        except UnreadableSampleError:
            continue
        if picture is None:
            return None
        picture.thumbnail((_SIDE - 4, _SIDE - 4))
        picture = picture.resize(
            [
                max(1, round(side * (_SIDE - 4) / max(picture.size)))
                for side in picture.size
            ]
        )
        sheet.paste(picture, (k % n_columns * _SIDE + 2, k // n_columns * _SIDE + 2))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()
