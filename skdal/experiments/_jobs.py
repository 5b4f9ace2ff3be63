"""Many runs, several at once in processes of their own; what goes wrong in one does not touch the others."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait

import torch

from skdal.exceptions import RunInUseError, SkdalError
from skdal.experiments._run import run
from skdal.experiments._spec import RunSpec
from skdal.experiments._store import RunFolder


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

    def add(self, spec, how, why):
        """Take note of how one run ended: "done", "failed" or "in_use"."""
        getattr(self, how).append((spec, why) if how == "failed" else spec)


def run_all(specs, root, *, n_jobs=1, data_root="data", device="cpu", report=None):
    """Do what is left of many runs.

    Parameters
    ----------
    specs : list of RunSpec
    root : str or Path
        Folder of all runs. Other processes may work in it at the same time: no run is done twice.
    n_jobs : int, default=1
        Runs at once, each in a process with its share of torch's threads; 1: one after the other, in this process.
    data_root, device
        As in `run`.
    report : callable, optional
        Called as report(spec, record) with the record of each new round, and as report(spec, None) when a run ends.

    Returns
    -------
    Ended
        A run that fails does not stop the others.
    """
    report = report or (lambda spec, record: None)
    settings = {"data_root": data_root, "device": device}
    if n_jobs == 1:
        return _one_by_one(specs, root, settings, report)
    waiting, ended = deque(specs), Ended()
    settings["n_threads"] = max(1, torch.get_num_threads() // n_jobs)
    workers = [_Worker(root, settings) for _ in range(min(n_jobs, len(specs)))]
    try:
        for worker in workers:
            worker.take(waiting)
        while busy := [worker for worker in workers if worker.spec is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in (worker for worker in busy if worker.connection in ready):
                kind, what = worker.receive()
                if kind == "round":
                    report(worker.spec, what)
                elif kind != "hello":
                    ended.add(worker.spec, kind, what)
                    report(worker.spec, None)
                    worker.take(waiting)
    finally:
        for worker in workers:
            worker.stop()
    return ended


def _one_by_one(specs, root, settings, report):
    ended = Ended()
    for spec in specs:
        ended.add(spec, *_outcome(spec, root, report=partial(report, spec), **settings))
        report(spec, None)
    return ended


class _Worker:
    """A process that does runs, one after the other; a new one takes the place of one that died."""

    def __init__(self, root, settings):
        self._root, self._settings, self.spec = root, settings, None
        self._start()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, self._root, self._settings), daemon=True
        )
        with (
            _ignored_interrupts()
        ):  # which the process inherits: Ctrl-C is for the one that waits for it
            self._process.start()
        theirs.close()  # so that the pipe ends with the process
        self._has_spoken = False

    def take(self, waiting):
        """Begin the next run; `spec` is None where none is left."""
        self.spec = waiting.popleft() if waiting else None
        if self.spec is not None:
            with contextlib.suppress(BrokenPipeError):  # `receive` will tell
                self.connection.send(self.spec.to_json())

    def receive(self):
        """Return ("hello", None) once, ("round", record) for each, and how the run ended and why.

        Raises
        ------
        SkdalError
            Processes cannot be started here.
        """
        try:
            message = self.connection.recv()
            self._has_spoken = True
            return message
        except (EOFError, ConnectionResetError):
            self._process.join()
        if not self._has_spoken and self._process.exitcode > 0:  # no signal
            raise SkdalError(
                f"a process for runs ended with exit code {self._process.exitcode} before it began. Called from a "
                'script, this must stand below `if __name__ == "__main__":`; or use one job at a time.'
            )
        why = f"the process of the run ended with exit code {self._process.exitcode}; -9 is also out of memory.\n"
        self._start()
        return "failed", _noted(RunFolder(self._root, self.spec), why)

    def stop(self):
        """End the process, in the middle of a run if need be: nothing that is stored is lost."""
        self.connection.close()  # an idle one ends at this
        if self.spec is not None:
            self._process.terminate()
        self._process.join()


@contextlib.contextmanager
def _ignored_interrupts():
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change what a signal does
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection, root, settings):
    """Do the runs whose specs come through the pipe, until it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(settings.pop("n_threads"))
    with contextlib.suppress(EOFError, BrokenPipeError):
        connection.send(("hello", None))
        while True:
            spec = RunSpec.from_json(connection.recv())
            report = lambda record: connection.send(("round", record))
            connection.send(_outcome(spec, root, report=report, **settings))


def _outcome(spec, root, **settings):
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


def _end_with_parent():
    """End this process when the one that started it does, however it ends: nobody waits for the run any more."""
    multiprocessing.parent_process().join()
    os._exit(1)
