"""A run's folder: a spec, a log of rounds and a checkpoint that survive being killed at any moment.

The checkpoint is the truth: it is written whole or not at all, and holds the record of its round,
which is appended to the log after it. So a log that is one round behind, or whose last line was cut
off, is completed from it.
"""

from __future__ import annotations

import json
import os
import pickle
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from skdal.exceptions import InvalidDataError
from skdal.utils import write_atomically

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


# What is read of every record.
_KEYS = {
    "round",
    "n_labeled",
    "queried",
    "accuracy",
    "macro_f1",
    "optimistic_accuracy",
    "converged",
}
_KEYS |= {"train_seconds", "query_seconds", "data"}


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    root : str or Path
        Of all runs.
    spec : RunSpec
    """

    def __init__(self, root: str | Path, spec: Any) -> None:
        self.spec = spec
        name = f"{data_name(spec.dataset)}-{spec.model}-{spec.sampler}-{spec.seed}-{spec.digest}"
        self.path = Path(root) / name
        self._log = self.path / "rounds.jsonl"
        self._checkpoint = self.path / "checkpoint.pt"
        self._failed = self.path / "failed.txt"

    @contextmanager
    def locked(self) -> Any:
        """Hold the folder for a block; gives False, and holds nothing, where another process does.

        The lock ends with its process, however that ends. The spec is written, or compared, first.

        Raises
        ------
        InvalidDataError
            The folder holds another spec; both are shown.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "lock", "a") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
            self.keep_spec()
            for unfinished in self.path.glob(".*.unfinished"):
                unfinished.unlink()  # of a process that was killed
            yield True

    def keep_spec(self) -> Any:
        """Write the spec where it is missing.

        Raises
        ------
        InvalidDataError
            The folder holds another one; both are shown.
        """
        file = self.path / "spec.json"
        text = self.spec.to_json()
        found = file.read_text().strip() if file.exists() else ""
        if not found:
            write_atomically(file, lambda out: out.write(f"{text}\n".encode()))
        elif found != text:
            raise InvalidDataError(
                f"{file} holds another run:\n  {found}\nthan the one to store there:\n  "
                f"{text}\nUse another folder."
            )

    def rounds(self) -> Any:
        """Return the records of the rounds so far, oldest first; a last line that was cut off is
        left out.

        Raises
        ------
        InvalidDataError
            Another line is not a record; the file is as it was.
        """
        return self._read()[0]

    def append(self, record: dict, state: Any) -> Any:
        """Store a round: its record (for JSON), and what the next one needs (for
        `torch.load(weights_only=True)`).
        """
        line = json.dumps(record, allow_nan=False, separators=(",", ":"))
        held = {"n_rounds": record["round"] + 1, "line": line, "state": state}
        write_atomically(self._checkpoint, lambda out: torch.save(held, out))
        self._complete(held)

    def resume(self) -> Any:
        """Return (records, state) to go on from, ([], None) at the start; the log is completed.

        Raises
        ------
        InvalidDataError
            Log and checkpoint do not belong together.
        """
        held = self._load() if self._checkpoint.exists() else None
        if held is not None:
            self._complete(held)
        rounds = self.rounds()
        expected = 0 if held is None else held["n_rounds"]
        if len(rounds) != expected:
            raise InvalidDataError(
                f"{self._log} has {len(rounds)} rounds, and the checkpoint beside it is of "
                f"{expected}. Nothing was changed; move the folder away to run it again."
            )
        return rounds, None if held is None else held["state"]

    def _load(self):
        try:
            held = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
            return {name: held[name] for name in ("n_rounds", "line", "state")}
        except (
            RuntimeError,
            EOFError,
            KeyError,
            TypeError,
            pickle.UnpicklingError,
        ) as error:
            raise InvalidDataError(
                f"{self._checkpoint} is damaged ({type(error).__name__}: {error}). Nothing was "
                "changed; restore the file, or move the folder away to run it again."
            ) from error

    def fail(self, text: str) -> Any:
        """Record that the run failed, and why."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self._failed, lambda out: out.write(text.encode()))

    def clear_failure(self) -> Any:
        """Forget an earlier failure, as the run is tried again."""
        self._failed.unlink(missing_ok=True)

    @property
    def failure(self) -> Any:
        """Why the run failed, None if it has not."""
        return self._failed.read_text() if self._failed.exists() else None

    def _complete(self, held):
        """Cut off what is left of a torn line, and append the checkpoint's record if it is not
        there yet.
        """
        rounds, end = self._read()
        if self._log.exists() and self._log.stat().st_size > end:
            with open(self._log, "r+b") as file:
                file.truncate(end)
        if len(rounds) == held["n_rounds"] - 1:
            with open(self._log, "ab") as file:
                file.write(held["line"].encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def _read(self):
        """Return the records, and where the last whole line ends."""
        if not self._log.exists():
            return [], 0
        *lines, rest = self._log.read_bytes().split(b"\n")
        records = []
        for number, line in enumerate(lines):
            record = _parsed(line)
            if (
                not isinstance(record, dict)
                or record.get("round") != number
                or not record.keys() >= _KEYS
            ):
                raise InvalidDataError(
                    f"{self._log}, line {number + 1}, is not the record of round {number}: "
                    f"{line[:80]!r}. Nothing was changed; restore the file, or move the folder "
                    "away to run it again."
                )
            records.append(record)
        return records, self._log.stat().st_size - len(rest)


def data_name(dataset):
    """Return what to call a data set: the last part of a path, without .npz."""
    return Path(dataset).name.removesuffix(".npz")


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return None
