"""Many runs, several at once in processes of their own; what goes wrong in one does not touch the
others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from joblib.externals.loky import (
    FIRST_COMPLETED,
    BrokenProcessPool,
    ProcessPoolExecutor,
    wait,
)

from skdal.exceptions import InvalidDataError, RunInUseError
from skdal.experiments._run import run
from skdal.experiments._store import RunFolder

_SECONDS_BETWEEN_LOOKS = 0.5  # at the folders of runs, for new rounds
_SECONDS_WITHOUT_PARENT = 1.0  # that a process may outlive the one that started it


@dataclass
class Ended:
    """How runs ended.

    Attributes
    ----------
    done : list of RunSpec
    failed : list of (RunSpec, str)
        With the traceback, which is in failed.txt of the run's folder as well.
    in_use : list of RunSpec
        Another process is busy with them.
    """

    done: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    in_use: list = field(default_factory=list)

    def add(self, spec: Any, how: str, why: str) -> None:
        """Take note of how one run ended: "done", "failed" or "in_use"."""
        getattr(self, how).append((spec, why) if how == "failed" else spec)


def run_all(
    specs: Any,
    root: str | Path,
    *,
    n_jobs: int = 1,
    data_root: str | Path = "data",
    device: Any = "cpu",
    report: Any = None,
) -> Any:
    """Do what is left of many runs.

    Parameters
    ----------
    specs : list of RunSpec
    root : str or Path
        Folder of all runs. Other processes may work in it at the same time: no run is done twice.
    n_jobs : int, default=1
        Runs at once, each in a process with its share of torch's threads; 1: one after the other,
        in this process.
    data_root, device
        As in `run`.
    report : callable, optional
        Called as report(spec, record) with the record of each new round, and as report(spec, None)
        when a run ends.

    Returns
    -------
    Ended
        A run that fails does not stop the others.
    """
    if report is None:
        report = _say_nothing
    settings = {"data_root": data_root, "device": device}
    if n_jobs == 1:
        return _one_by_one(specs, root, settings, report)
    n_threads = max(1, torch.get_num_threads() // n_jobs)
    slots = [
        _Slot(root, settings, n_threads, report) for _ in range(min(n_jobs, len(specs)))
    ]
    try:
        return _all_at_once(specs, slots)
    finally:
        for slot in slots:
            slot.stop()


def _say_nothing(spec, record):
    pass


def _one_by_one(specs, root, settings, report):
    ended = Ended()
    for spec in specs:
        ended.add(spec, *_outcome(spec, root, report=partial(report, spec), **settings))
        report(spec, None)
    return ended


def _all_at_once(specs, slots):
    """Do all runs, each in the first slot that is free."""
    waiting = deque(specs)
    ended = Ended()
    while True:
        for slot in slots:
            if slot.spec is None and waiting:
                slot.begin(waiting.popleft())
        busy = [slot for slot in slots if slot.spec is not None]
        if not busy:
            return ended
        futures = [slot.future for slot in busy]
        wait(futures, timeout=_SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        for slot in busy:
            slot.report_rounds()
            if slot.future.done():
                slot.end(ended)


class _Slot:
    """Room for one run at a time, in a process of its own; the death of that process fails this run
    alone.

    Attributes
    ----------
    spec : RunSpec or None
        Of the run that is being done.
    future : Future
        Of its outcome.
    """

    def __init__(self, root, settings, n_threads, report):
        self.spec = None
        self.future = None
        self._root = root
        self._settings = settings
        self._n_threads = n_threads
        self._report = report
        self._executor = None

    def begin(self, spec):
        """Begin a run, in a new process where there is none yet or the last one died."""
        self.spec = spec
        self._n_reported = len(self._rounds())
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                max_workers=1, initializer=_prepare, initargs=(self._n_threads,)
            )
        with _ignored_interrupts():  # Ctrl-C is for this process, which waits
            self.future = self._executor.submit(
                _outcome, spec, self._root, **self._settings
            )

    def report_rounds(self):
        """Report the rounds that were stored since the last look."""
        records = self._rounds()
        for record in records[self._n_reported :]:
            self._report(self.spec, record)
        self._n_reported = len(records)

    def _rounds(self):
        """Return the records of the run so far."""
        try:
            return RunFolder(self._root, self.spec).rounds()
        except InvalidDataError:
            return []  # the run will fail, and say what is wrong with its folder

    def end(self, ended):
        """Take note of how the run ended, and make room for the next one."""
        try:
            how, why = self.future.result()
        except BrokenProcessPool as error:
            how = "failed"
            why = _noted(
                RunFolder(self._root, self.spec),
                f"the process of the run ended: {error}\n",
            )
            self._executor = None
        self.report_rounds()
        ended.add(self.spec, how, why)
        self._report(self.spec, None)
        self.spec = None

    def stop(self):
        """End the process, in the middle of a run if need be: nothing that is stored is lost."""
        if self._executor is not None:
            self._executor.shutdown(kill_workers=self.spec is not None)


@contextlib.contextmanager
def _ignored_interrupts():
    """Start processes in a block that Ctrl-C does not reach, as they inherit what a signal does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change what a signal does
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare(n_threads):
    """Prepare a process for its runs."""
    torch.set_num_threads(n_threads)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent):
    """End this process when the one that started it has ended, however that was: nobody waits for
    the run any more.
    """
    while os.getppid() == parent:
        time.sleep(_SECONDS_WITHOUT_PARENT)
    os._exit(1)


def _outcome(spec, root, **settings):
    """Do a run; return how it ended, "done", "failed" or "in_use", and why it failed."""
    try:
        run(spec, root, **settings)
        return "done", None
    except RunInUseError:
        return "in_use", None
    except Exception:
        return "failed", _noted(RunFolder(root, spec), traceback.format_exc())


def _noted(folder, why):
    """Write down why a run failed, and return it; where that fails too, say so."""
    try:
        folder.fail(why)
    except OSError as error:
        why += f"(and {error}, as this was to be stored in {folder.path})\n"
    return why
