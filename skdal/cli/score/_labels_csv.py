"""A CSV file of keys and labels."""

import csv
import re
import shlex
from collections import Counter

import numpy as np

from skdal.cli.score._class_names import listed
from skdal.exceptions import InvalidDataError, InvalidLabelsError

_LISTED = 20  # names on a command line
_NO_LABEL = ("", "-1", "nan", "na", "n/a", "<na>", "none", "null")


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
        Labels are not integers from 0, or with `classes` none of them.
    """
    lines, rows = _csv_rows(file)
    if not rows or not {"key", "label"} <= set(rows[0]):
        found = list(rows[0]) if rows else "no rows"
        raise InvalidDataError(
            f"{file} must have the columns key and label in UTF-8, and a row at least; it has "
            f"{found}."
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
            f"{file} has {len(twice)} keys more than once, such as {twice[:3]}; leave one row "
            "of each, since every row counts."
        )
    return keys, np.array(labels)


def _integers(file, lines, labels):
    for line, label in zip(lines, labels):
        if not re.fullmatch("[0-9]{1,18}", label):
            raise InvalidLabelsError(
                f"{file}, line {line}: the label must be an integer from 0, as the net's "
                f"outputs are numbered; got {label!r}.{_remedy(label, labels)}"
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
            f"{how} @FILE, one a line. {len(names)} names are there: {listed(names)}."
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
            f"{file}, line {line}: the label must be one of --classes ({listed(classes)}); got "
            f"{label!r}. Labels that are none of them: {listed(unknown)}. {remedy}, or name "
            "all outputs of the net in --classes."
        )
    return [position[label] for label in labels]


def _csv_rows(file):
    """Return the numbers of the lines of a CSV file, and its rows as dicts; names of files need not
    be UTF-8.
    """
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
