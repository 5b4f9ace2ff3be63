"""Several runs at once, in processes of their own; what goes wrong in one does not touch the others."""

import contextlib
import multiprocessing
import os
import threading
import traceback
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import wait

import torch

from skdal.exceptions import RunInUseError
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


def run_all(specs, root, *, n_jobs=1, data_root="data", device="cpu", report=None):
    """Do what is left of many runs.

    Parameters
    ----------
    specs : list of RunSpec
    root : str or Path
        Folder of all runs. Other processes may work in it at the same time: no run is done twice.
    n_jobs : int, default=1
        Runs at once. Each has its share of the cores as threads.
    data_root, device
        As in `run`.
    report : callable, optional
        Called as report(spec, record) with the record of each new round, and as report(spec, None) when a run ends.

    Returns
    -------
    Ended
    """
    waiting, ended = deque(specs), Ended()
    n_threads = max(1, (os.cpu_count() or 1) // n_jobs)
    workers = [_Worker(root, data_root, device, n_threads) for _ in range(min(n_jobs, len(specs)))]
    try:
        for worker in workers:
            worker.take(waiting)
        while busy := [worker for worker in workers if worker.spec is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in (worker for worker in busy if worker.connection in ready):
                spec, (kind, what) = worker.spec, worker.receive()
                if report is not None:
                    report(spec, what if kind == "round" else None)
                if kind != "round":
                    getattr(ended, kind).append((spec, what) if kind == "failed" else spec)
                    worker.take(waiting)
    finally:
        for worker in workers:
            worker.stop()
    return ended


class _Worker:
    """A process that does runs, one after the other; a new one takes the place of one that died."""

    def __init__(self, root, *settings):
        self._root, self._settings, self.spec = root, settings, None
        self._start()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._root, *self._settings), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def take(self, waiting):
        """Begin the next run; `spec` is None where none is left."""
        self.spec = waiting.popleft() if waiting else None
        if self.spec is not None:
            self.connection.send(self.spec.to_json())

    def receive(self):
        """Return ("round", record), or how the run ended and why."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            why = f"the process of the run ended with exit code {self._process.exitcode}; -9 is also out of memory.\n"
            RunFolder(self._root, self.spec).fail(why)
            self._start()
            return "failed", why

    def stop(self):
        """End the process, in the middle of a run if need be: nothing that is stored is lost."""
        self.connection.close()  # an idle one ends at this
        if self.spec is not None:
            self._process.terminate()
        self._process.join()


def _work(connection, root, data_root, device, n_threads):
    """Do the runs whose specs come through the pipe, until it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            spec = RunSpec.from_json(connection.recv())
            connection.send(_outcome(spec, root, data_root, device, lambda record: connection.send(("round", record))))


def _outcome(spec, root, data_root, device, report):
    try:
        run(spec, root, data_root=data_root, device=device, report=report)
        return "done", None
    except RunInUseError:
        return "in_use", None
    except Exception:
        why = traceback.format_exc()
        RunFolder(root, spec).fail(why)
        return "failed", why


def _end_with_parent():
    """End this process when the one that started it does, however it ends: nobody waits for the run any more."""
    multiprocessing.parent_process().join()
    os._exit(1)
