"""Workers on Ray: actors that hold a net, through which the shards of one job after another
stream.
"""

import logging
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch

from skdal.exceptions import InvalidDataError, MissingExtraError, WorkerLostError
from skdal.parallel._dispatch import Dispatch
from skdal.utils import positions_from, take_rows

logger = logging.getLogger("skdal")

# After so many seconds without any worker that can work, the log says what is waited for.
_SECONDS_OF_PATIENCE = 30.0
# More workers in a row than these may not end before they have loaded the net.
_FAILED_STARTS = 3


class Job(NamedTuple):
    """What every worker needs of a pass over a pool, besides what all passes of a query have in
    common.

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
        known = set(sys.path)
        sys.path += [x for x in folders if x not in known and os.path.isdir(x)]
        torch.set_num_threads(max(1, n_threads))
        self._device = device
        self._common = None
        self._common_reference = None

    def pid(self):
        """Return the id of this process; the first answer tells that the worker is there."""
        return os.getpid()

    def open(self, references):
        """Load a job and import what it needs, so that these seconds do not count for its first
        shard.

        Parameters
        ----------
        references : list of two
            Of what the jobs of a query have in common, and of the job. They are in a list, as Ray
            would put the objects themselves in their place.
        """
        common_reference, job_reference = references
        self._task = None
        self._pool = None
        job = _opened(job_reference)
        if self._common_reference != common_reference:
            # The old net is let go of before the new one is loaded.
            self._common = None
            self._common_reference = None
            self._common = _opened(common_reference).on(self._device, job.batch_size)
            self._common_reference = common_reference
        self._task = job.task.on(self._common, job.batch_size)
        self._pool = job.held

    def run(self, rows, y):
        """Return the task of the open job on some rows, or on the positions of some in a pool that
        it holds.
        """
        if self._pool is not None:
            rows = take_rows(self._pool, rows)
        return self._task(rows, y)


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
            f"a worker cannot load the net, the sampler or the pool: {reason}. The packages "
            "that these are from have to be there on every machine: install them, or name "
            "them in ray.init(runtime_env=...)."
        ) from None


@dataclass
class _Hired:
    """A worker as the crew knows it.

    Attributes
    ----------
    actor : ray actor
    answer : ObjectRef
        Of the process id, its first answer.
    pid : int or None
        None until it has answered.
    is_proven : bool
        Whether it has opened a job.
    """

    actor: Any
    answer: Any
    pid: int | None = None
    is_proven: bool = False


@dataclass
class _Pass:
    """One job in the hands of the crew.

    Attributes
    ----------
    references : list of ObjectRef
        See `_Worker.open`.
    piece : callable
        `piece(k)` is what a worker is sent for the k-th shard.
    starts : list of int
        Positions in the pool at which shards begin.
    dispatch : Dispatch
    opened : dict of int to bool
        By the number of a worker that was told to open the job: whether it has.
    running : dict of ObjectRef to (int, int or None)
        The number of a worker and its shard, or None while it opens the job.
    """

    references: list
    piece: Callable
    starts: list
    dispatch: Dispatch
    opened: dict = field(default_factory=dict)
    running: dict = field(default_factory=dict)


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
        n_gpus = self._gpus_per_worker(executor)
        self._size = executor.num_workers or self._most_workers(executor, n_gpus)
        n_cpus = executor.num_cpus_per_worker
        actor = self._ray.remote(num_cpus=n_cpus, num_gpus=n_gpus)(_Worker)
        folders = [os.path.abspath(folder) for folder in sys.path]  # to import from
        device = "cuda" if n_gpus else "cpu"
        self._new_actor = partial(actor.remote, n_cpus, device, folders)
        self._workers = {}  # by number, in the order in which they were hired
        self._n_hired = 0
        self._n_failed_starts = 0
        self._common = None  # what the jobs of a query have in common
        self._common_reference = None

    def _connection(self):
        context = self._ray.get_runtime_context()
        return context.get_node_id(), context.get_job_id()

    def _gpus_per_worker(self, executor):
        if executor.num_gpus_per_worker is not None:
            return executor.num_gpus_per_worker
        return 1 if self._ray.cluster_resources().get("GPU", 0) >= 1 else 0

    def _most_workers(self, executor, n_gpus):
        """Return how many workers the cluster has room for, at least one."""
        found = self._ray.cluster_resources()
        if n_gpus:
            return max(1, int(found.get("GPU", 0) / n_gpus))
        n_cpus = max(1, executor.num_cpus_per_worker)
        return max(1, int(found.get("CPU", 0) // n_cpus))

    @property
    def is_there(self):
        """Whether this process is still connected to the cluster of the workers."""
        return self._ray.is_initialized() and self._connection() == self._cluster

    def pids(self):
        """Return the process ids of the workers that have answered."""
        return [worker.pid for worker in self._ready().values()]

    def _ready(self):
        return {n: w for n, w in self._workers.items() if w.pid is not None}

    def close(self):
        """End the workers, and the cluster where it was started here."""
        if not self.is_there:
            return
        for number in list(self._workers):
            self._dismiss(number)
        if self._owns_cluster:
            self._ray.shutdown()

    def run(self, task, job, piece, starts, max_retries):
        """Yield (k, result) of each shard once, as they come; `piece(k)` is what the worker is
        sent.
        """
        references = [self._reference_of_common(task), self._put(job)]
        dispatch = Dispatch(len(starts), max_retries)
        work = _Pass(references, piece, starts, dispatch)
        deadline = time.monotonic() + _SECONDS_OF_PATIENCE
        try:
            while dispatch.n_left:
                self._hire(min(self._size, dispatch.n_left))
                self._open(work)
                n_able = self._give_shards(work)
                deadline = self._warn_of_waiting(deadline, n_able)
                yield from self._collect(work)
        finally:
            for number in dispatch.busy():  # with what nobody waits for any more
                self._dismiss(number)

    def _reference_of_common(self, task):
        """Return the reference of what the jobs of a query have in common, which is sent once."""
        if self._common is not task.common:
            self._common = None
            self._common_reference = None
            self._common_reference = self._put(task.packed_common())
            self._common = task.common
        return self._common_reference

    def _open(self, work):
        """Let the workers that are there open a job, each once."""
        for number, worker in self._ready().items():
            if number not in work.opened:
                reference = worker.actor.open.remote(work.references)
                work.running[reference] = number, None
                work.opened[number] = False

    def _give_shards(self, work):
        """Give shards to the workers that have opened the job; return how many workers these
        are.
        """
        ready = self._ready()
        able = [number for number in ready if work.opened[number]]
        for number in able:
            while True:
                k = work.dispatch.next_for(number, len(ready), time.monotonic())
                if k is None:
                    break
                reference = ready[number].actor.run.remote(*work.piece(k))
                work.running[reference] = number, k
        return len(able)

    def _put(self, job):
        try:
            return self._ray.put(job)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise InvalidDataError(
                f"the net, the sampler or the pool cannot be sent to workers: {error}. Open "
                "files, connections and locks where they are used (a Dataset in its "
                "__getitem__), not where the object is made."
            ) from error

    def _hire(self, n_workers):
        """Start workers until there are so many."""
        while len(self._workers) < n_workers:
            actor = self._new_actor()
            self._n_hired += 1
            self._workers[self._n_hired] = _Hired(actor, actor.pid.remote())

    def _collect(self, work):
        """Wait for what comes next: results, workers that are there or have opened the job, workers
        that are lost.
        """
        starting = {w.answer: n for n, w in self._workers.items() if w.pid is None}
        pending = [*work.running, *starting]
        self._ray.wait(pending, num_returns=1, timeout=1.0)
        done, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        for reference in done:
            if reference in starting:
                number = starting[reference]
                k = None
            else:
                number, k = work.running.pop(reference)
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._raise_of_the_task(error, 0 if k is None else work.starts[k])
                self._lose(number, error, work.dispatch)
                continue
            if reference in starting:
                self._workers[number].pid = result
            elif k is None:
                self._note_opened(number, work)
            elif work.dispatch.finished(number, k, time.monotonic()):
                yield k, result

    def _note_opened(self, number, work):
        work.opened[number] = True
        self._n_failed_starts = 0
        if number in self._workers:  # else it was lost just after
            self._workers[number].is_proven = True

    def _raise_of_the_task(self, error, start):
        """Raise what a task raised for a shard that begins at `start`; return where a worker was
        lost instead.
        """
        if self._is_of_the_task(error):
            with positions_from(start):
                raise _cause(error) from error

    def _lose(self, number, error, dispatch):
        """Take note of the loss of a worker, whose shards go to others."""
        reason = type(getattr(error, "cause", None) or error).__name__
        logger.warning(
            "worker %d is lost (%s); its shards are done again", number, reason
        )
        self._count_failed_start(number, error)
        self._dismiss(number)
        dispatch.lost(number, reason)

    def _is_of_the_task(self, error):
        """Tell whether an error was raised by the task, and not by Ray around it or in the midst of
        it.
        """
        errors = self._ray.exceptions
        return isinstance(error, errors.RayTaskError) and not isinstance(
            error.cause, errors.RayError
        )

    def _count_failed_start(self, number, error):
        """Count a worker that was lost before it had opened a job, once, and give up after some in
        a row.
        """
        worker = self._workers.get(number)
        if worker is None or worker.is_proven:
            return
        self._n_failed_starts += 1
        if self._n_failed_starts > _FAILED_STARTS:
            raise WorkerLostError(
                f"{self._n_failed_starts} workers in a row ended before they had loaded the "
                "net. Is skdal installed on the machines of the cluster, and is memory left "
                f"there? Ray says: {error}"
            ) from error

    def _dismiss(self, number):
        """End a worker, if that is not done yet."""
        worker = self._workers.pop(number, None)
        if worker is not None:
            self._ray.kill(worker.actor)

    def _warn_of_waiting(self, deadline, n_able):
        """Say, after a while without any worker that can work, what is waited for; return when to
        say so next.
        """
        now = time.monotonic()
        if n_able:
            return now + _SECONDS_OF_PATIENCE
        if now < deadline:
            return deadline
        n_loading = len(self._ready())
        if n_loading:
            logger.warning(
                "%d workers are still loading the net and the pool.", n_loading
            )
        else:
            logger.warning(
                "no worker is there; the cluster has %s free of %s. Ask for fewer cores or GPUs a "
                "worker, or wait.",
                self._ray.available_resources(),
                self._ray.cluster_resources(),
            )
        return now + _SECONDS_OF_PATIENCE


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
