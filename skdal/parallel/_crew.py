"""Workers on Ray: actors that hold a net, through which the shards of one job after another stream."""

import logging
import os
import pickle
import sys
import time
from typing import Any, NamedTuple

import torch

from skdal.exceptions import InvalidDataError, MissingExtraError, WorkerLostError
from skdal.parallel._dispatch import Dispatch
from skdal.utils import positions_from, take_rows

logger = logging.getLogger("skdal")

_NO_WORKER = 30.0  # seconds without any worker after which the log says so
_FAILED_STARTS = 3


class Job(NamedTuple):
    """What every worker needs of a pass over a pool, besides what all passes of a query have in common.

    Attributes
    ----------
    task : object
        See `Executor.map`.
    held : Dataset or None
        A pool that workers take their rows from by themselves; of others the rows are sent.
    batch_size : int or None
    """

    task: Any
    held: Any
    batch_size: int | None


class _Worker:
    """An actor: runs shards of one job after another."""

    def __init__(self, n_threads, device, folders):
        sys.path += [
            folder
            for folder in folders
            if folder not in sys.path and os.path.isdir(folder)
        ]
        torch.set_num_threads(max(1, n_threads))
        self._device, self._common = (
            device,
            (None, None),
        )  # the reference to what jobs have in common; that

    def pid(self):
        """Return the id of this process; the first answer tells that the worker is there."""
        return os.getpid()

    def open(self, references):
        """Load a job, and import what it needs: seconds that are none of its first shard's."""
        common, own = (
            references  # in a list, as Ray would put the objects themselves in their place
        )
        self._task = self._held = None
        job = _opened(own)
        if self._common[0] != common:
            self._common = None, None
            self._common = common, _opened(common).on(self._device, job.batch_size)
        self._task, self._held = job.task.on(self._common[1], job.batch_size), job.held

    def run(self, rows, y):
        """Return the task of the open job on some rows."""
        return self._task(
            rows if self._held is None else take_rows(self._held, rows), y
        )


def _opened(reference):
    """Return a job from the object store."""
    ray = import_ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayError:
        raise  # lost on the way, which another worker may mend
    except Exception as error:  # whatever its classes raise when they are loaded
        reason = next(
            (line for line in reversed(str(error).splitlines()) if line.strip()),
            type(error).__name__,
        )
        raise InvalidDataError(
            f"a worker cannot load the net, the sampler or the pool: {reason}. The packages that these are from have "
            "to be there on every machine: install them, or name them in ray.init(runtime_env=...)."
        ) from None


class Crew:
    """The workers of an executor, for one job after another."""

    def __init__(self, executor):
        self._ray = import_ray()
        self._owns_cluster = not self._ray.is_initialized()
        if self._owns_cluster:
            self._ray.init(
                address=executor.address, log_to_driver=False, configure_logging=False
            )
        self._cluster = self._connection()
        found = self._ray.cluster_resources()
        n_gpus, n_cpus = executor.num_gpus_per_worker, executor.num_cpus_per_worker
        if n_gpus is None:
            n_gpus = 1 if found.get("GPU", 0) >= 1 else 0
        self._size = executor.num_workers or max(
            1,
            int(
                found.get("GPU", 0) / n_gpus
                if n_gpus
                else found.get("CPU", 0) // max(1, n_cpus)
            ),
        )
        actor = self._ray.remote(num_cpus=n_cpus, num_gpus=n_gpus)(_Worker)
        folders = [
            os.path.abspath(folder) for folder in sys.path
        ]  # what this process imports from
        self._hire = lambda: actor.remote(n_cpus, "cuda" if n_gpus else "cpu", folders)
        self._starting, self._ready, self._pids = (
            {},
            {},
            {},
        )  # by worker's number: (actor, reference); actor; pid
        self._n_hired = self._failed_starts = 0
        self._proven = set()  # workers that have opened a job
        self._common = (
            None,
            None,
        )  # what the jobs of a query have in common; the reference to it

    def _connection(self):
        context = self._ray.get_runtime_context()
        return context.get_node_id(), context.get_job_id()

    @property
    def is_there(self):
        """Whether this process is still connected to the cluster of the workers."""
        return self._ray.is_initialized() and self._connection() == self._cluster

    def pids(self):
        return list(self._pids.values())

    def close(self):
        if not self.is_there:
            return
        for worker in [*self._starting, *self._ready]:
            self._dismiss(worker)
        if self._owns_cluster:
            self._ray.shutdown()

    def run(self, task, job, piece, starts, max_retries):
        """Yield (k, result) of each shard once, as they come; `piece(k)` is what the worker is sent."""
        if self._common[0] is not task.common:
            self._common = None, None
            self._common = task.common, self._put(task.packed_common())
        references, dispatch = (
            [self._common[1], self._put(job)],
            Dispatch(len(starts), max_retries),
        )
        opened, running = (
            {},
            {},
        )  # worker -> whether the job is open there; reference -> (worker, shard or None)
        patience = time.monotonic() + _NO_WORKER
        try:
            while dispatch.n_left:
                self._fill(min(self._size, dispatch.n_left))
                for worker in self._ready.keys() - opened.keys():
                    running[self._ready[worker].open.remote(references)] = worker, None
                    opened[worker] = False
                able = [worker for worker in self._ready if opened[worker]]
                for worker in able:
                    while (
                        k := dispatch.next_for(
                            worker, len(self._ready), time.monotonic()
                        )
                    ) is not None:
                        running[self._ready[worker].run.remote(*piece(k))] = worker, k
                patience = self._warn_of_waiting(patience, able)
                yield from self._collect(running, opened, dispatch, starts)
        finally:
            for worker in dispatch.busy():  # with what nobody waits for any more
                self._dismiss(worker)

    def _put(self, job):
        try:
            return self._ray.put(job)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise InvalidDataError(
                f"the net, the sampler or the pool cannot be sent to workers: {error}. Open files, connections and "
                "locks where they are used (a Dataset in its __getitem__), not where the object is made."
            ) from error

    def _fill(self, n_workers):
        while len(self._starting) + len(self._ready) < n_workers:
            actor, self._n_hired = self._hire(), self._n_hired + 1
            self._starting[self._n_hired] = actor, actor.pid.remote()

    def _collect(self, running, opened, dispatch, starts):
        """Wait for what comes next: results, workers that are there or have opened the job, workers that are lost."""
        starting = {
            reference: worker for worker, (_, reference) in self._starting.items()
        }
        pending = [*running, *starting]
        self._ray.wait(pending, num_returns=1, timeout=1.0)
        done, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        for reference in done:
            worker, k = (
                (starting[reference], None)
                if reference in starting
                else running.pop(reference)
            )
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                if self._is_of_the_task(error):
                    with positions_from(0 if k is None else starts[k]):
                        raise _cause(error) from error
                reason = type(getattr(error, "cause", None) or error).__name__
                logger.warning(
                    "worker %d is lost (%s); its shards are done again", worker, reason
                )
                self._count_failed_start(worker, error)
                self._dismiss(worker)
                dispatch.lost(worker, reason)
                continue
            if reference in starting:
                self._ready[worker], _ = self._starting.pop(worker)
                self._pids[worker] = result
            elif k is None:
                opened[worker], self._failed_starts = True, 0
                self._proven.add(worker)
            elif dispatch.finished(worker, k, time.monotonic()):
                yield k, result

    def _is_of_the_task(self, error):
        """Tell whether an error was raised by the task, and not by Ray around it or in the midst of it."""
        errors = self._ray.exceptions
        return isinstance(error, errors.RayTaskError) and not isinstance(
            error.cause, errors.RayError
        )

    def _count_failed_start(self, worker, error):
        is_there = (
            worker in self._starting or worker in self._ready
        )  # else it was counted already
        self._failed_starts += is_there and worker not in self._proven
        if self._failed_starts > _FAILED_STARTS:
            raise WorkerLostError(
                f"{self._failed_starts} workers in a row ended before they had loaded the net. Is skdal installed on "
                f"the machines of the cluster, and is memory left there? Ray says: {error}"
            ) from error

    def _dismiss(self, worker):
        self._proven.discard(worker)
        actor = self._ready.pop(worker, None) or self._starting.pop(worker, (None,))[0]
        self._pids.pop(worker, None)
        if actor is not None:
            self._ray.kill(actor)

    def _warn_of_waiting(self, patience, able):
        """Say, after a while without any worker that can work, what is waited for; return when to say so next."""
        if able:
            return time.monotonic() + _NO_WORKER
        if time.monotonic() < patience:
            return patience
        if self._ready:
            logger.warning(
                "%d workers are still loading the net and the pool.", len(self._ready)
            )
        else:
            logger.warning(
                "no worker is there; the cluster has %s free of %s. Ask for fewer cores or GPUs a worker, or wait.",
                self._ray.available_resources(),
                self._ray.cluster_resources(),
            )
        return time.monotonic() + _NO_WORKER


def _cause(error):
    """Return what a worker raised, of its own type and with its message."""
    cause = error.cause if isinstance(error.cause, BaseException) else error
    cause.add_note(f"raised in a worker:\n{error}")
    return cause


def import_ray():
    """Return the module ray, or raise if the extra is not installed."""
    os.environ.setdefault(
        "RAY_TQDM_PATCH_PRINT", "0"
    )  # Ray would replace builtins.print, and nets would not pickle
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "RayExecutor needs Ray; install it with `pip install skdal[ray]`."
        ) from error
    return ray
