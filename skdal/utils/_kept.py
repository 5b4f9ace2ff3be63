"""Results that are kept in files: made once, and read from then on.

A file is whole or not there, since it is written under another name first. One that is damaged is
never replaced without being asked: the error names it, and the caller moves it away.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skdal.exceptions import InvalidDataError
from skdal.utils._files import write_atomically


class Format(NamedTuple):
    """How a value stands in a file.

    Attributes
    ----------
    write : callable
        `write(value, out)` writes it into a binary file.
    read : callable
        `read(file)` returns it; a ValueError or EOFError says that the file is damaged.
    """

    write: Callable
    read: Callable


def _write_json(value, out):
    out.write(json.dumps(value, separators=(",", ":"), allow_nan=False).encode())


def _read_json(file):
    return json.loads(file.read_text(encoding="utf-8"))


def _write_array(array, out):
    np.save(out, array)


AS_JSON = Format(_write_json, _read_json)
AS_ARRAY = Format(_write_array, np.load)


def kept(file, make, form, find_fault=None):
    """Return what a file holds; where there is none, make the value and keep it first.

    Parameters
    ----------
    file : Path
    make : callable
        Without arguments; gives the value.
    form : Format
    find_fault : callable, optional
        See `read_kept`.

    Returns
    -------
    object
        As it is read, so that it is the same the first time and later.

    Raises
    ------
    InvalidDataError
        The file is damaged.
    """
    if not file.exists():
        keep(file, make(), form)
    return read_kept(file, form, find_fault)


def keep(file, value, form):
    """Write a value into a file, and make the folder of the file where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda out: form.write(value, out))


def read_kept(file, form, find_fault=None):
    """Return what a file holds.

    Parameters
    ----------
    file : Path
    form : Format
    find_fault : callable, optional
        `find_fault(value)` says in words what is wrong with the value, or returns None.

    Raises
    ------
    InvalidDataError
        The file is damaged, or what it holds has a fault.
    """
    try:
        value = form.read(file)
    except (ValueError, EOFError) as error:
        raise damaged(file, error) from error
    fault = None if find_fault is None else find_fault(value)
    if fault is not None:
        raise damaged(file, fault)
    return value


def damaged(file, why):
    """Return the error that says that a file which is kept cannot be used, and what to do."""
    return InvalidDataError(
        f"{file} is damaged ({why}); move it away to compute it again."
    )
