"""Runs as they are stored, in folders of their own or many in one compressed file."""

from __future__ import annotations

import json
import lzma
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.experiments._spec import RunSpec
from skdal.experiments._store import RunFolder
from skdal.utils import write_atomically

ENDING = ".runs.xz"


class StoredRun(NamedTuple):
    """A run as it is stored.

    Attributes
    ----------
    spec : RunSpec
    records : list of dict
        Of the rounds so far, oldest first; there may be none.
    failure : str or None
        Why the run failed, if it did.
    """

    spec: RunSpec
    records: list
    failure: str | None = None


def write_records(path: Any, runs: Any) -> Any:
    """Write the specs and records of some runs into one compressed file; the same runs give the
    same bytes.

    Parameters
    ----------
    path : str or Path
        Ends in ".runs.xz". Each line of the file, when unpacked, is the JSON of one run: its "spec"
        and its "rounds".
    runs : iterable of StoredRun

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skdal.experiments import RunSpec, StoredRun, read_records, write_records
    >>> runs = [StoredRun(RunSpec("digits", "digits_cnn", "random"), [])]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_records(Path(folder) / "mine.runs.xz", runs)
    ...     read_records(Path(folder) / "mine.runs.xz") == runs
    True
    """
    path = Path(path)
    if not path.name.endswith(ENDING):
        raise InvalidParameterError(
            f"the name of a file of records must end in {ENDING}; got {path.name!r}."
        )
    text = "".join(map(_as_line, sorted(runs, key=_name)))
    write_atomically(path, partial(_write_packed, text.encode()))


def _name(run):
    return RunFolder("", run.spec).path.name


def _as_line(run):
    held = {"spec": json.loads(run.spec.to_json()), "rounds": run.records}
    return json.dumps(held, separators=(",", ":"), allow_nan=False) + "\n"


def _write_packed(content, out):
    out.write(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def read_records(path: Any) -> Any:
    """Return the runs that are stored in a file, or below a folder.

    Parameters
    ----------
    path : str or Path
        A file that `write_records` wrote; or a folder with such files, with folders of runs as
        `run` and `run_suite` make them, or with both.

    Returns
    -------
    list of StoredRun
        None of them twice.

    Raises
    ------
    InvalidDataError
        There is none, or one cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from skdal.experiments import read_records, run_suite
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ended = run_suite("digits-quick", folder, n_seeds=1, labels=["random"], n_rounds=1)
    ...     runs = read_records(folder)
    >>> [(run.spec.sampler, len(run.records)) for run in runs]
    [('random', 2)]
    """
    path = Path(path)
    if path.is_file():
        return _read_packed(path)
    runs = []
    for file in sorted(path.glob(f"*{ENDING}")):
        runs += _read_packed(file)
    files = [
        file
        for name in ("spec.json", "rounds.jsonl")
        for file in path.glob(f"*/{name}")
    ]
    for folder in sorted({file.parent for file in files}):
        runs.append(_read_folder(folder))
    if not runs:
        raise InvalidDataError(
            f"there are no runs in {path.resolve()}; `skdal run SUITE --out DIR` makes some."
        )
    return list({run.spec: run for run in runs}.values())


def _read_packed(file):
    try:
        lines = lzma.decompress(file.read_bytes()).decode().splitlines()
        return [_of_line(line) for line in lines]
    except (lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise InvalidDataError(
            f"{file} is damaged, or no file of records ({error}); restore it, or move it away."
        ) from error


def _of_line(line):
    held = json.loads(line)
    return StoredRun(RunSpec.from_json(json.dumps(held["spec"])), held["rounds"])


def _read_folder(path):
    try:
        spec = RunSpec.from_json((path / "spec.json").read_text())
    except (OSError, InvalidParameterError) as error:
        raise InvalidDataError(
            f"{path / 'spec.json'} cannot be read ({error}). The `skdal run` of this run "
            "restores it; or move the folder away."
        ) from error
    folder = RunFolder(path.parent, spec)
    if folder.path != path:
        raise InvalidDataError(
            f"{path / 'spec.json'} is of the run {folder.path.name}; the folder has another name."
        )
    return StoredRun(spec, folder.rounds(), folder.failure)
