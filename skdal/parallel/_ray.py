"""The executor on Ray: what it is told, and whose turn it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from skdal.exceptions import InvalidParameterError
from skdal.parallel._crew import Crew, Job, import_ray
from skdal.parallel._executor import Executor
from skdal.utils import (
    check_parameters,
    integer_from,
    is_number,
    is_torch_dataset,
    optional,
    take_rows,
)


def _is_at_least_0(value):
    return is_number(value) and value >= 0


_CHECKS = {
    **dict.fromkeys(
        ("num_workers", "batch_size", "gather_limit"), optional(integer_from(1))
    ),
    **dict.fromkeys(("num_cpus_per_worker", "max_retries"), integer_from(0)),
    "num_gpus_per_worker": optional((_is_at_least_0, "a number of at least 0")),
}


class RayExecutor(Executor):
    """Work on a Ray cluster, or on all cores and GPUs of this machine.

    The net and what else all shards need go to Ray's object store once; shards stream, and only
    what is asked for comes back. Workers start at the first query and stay until `shutdown`, or the
    end of the `with` block. Copies of an executor (`sklearn.clone`) share its workers.

    Parameters
    ----------
    address : str, optional
        As in `ray.init`: None takes the connection that is open, else a cluster that this machine
        knows, else starts one here; "auto" insists on a cluster, "local" starts one.
    num_workers : int, optional
        None: as many as the cluster has GPUs or, without GPUs, cores.
    num_gpus_per_worker : float, optional
        None: 1 where the cluster has GPUs, else 0. Workers with a GPU, or a part of one, move the
        net there.
    batch_size : int, optional
        Samples per mini-batch in the workers. None: as the sampler has it.
    num_cpus_per_worker : int, default=1
        Cores of a worker, and threads that torch uses there.
    shard_size : int, optional
        Samples of a shard, rounded up to whole mini-batches; None: 32 mini-batches.
    scores_dir : str or Path, optional
        Folder in which the scores of each shard are kept as Parquet, so that a query that was cut
        short goes on from there.
    max_retries : int, default=3
        How often a shard is tried again after the loss of the worker that was busy with it.
    gather_limit : int, default=2**30
        Numbers that `CoresetSampler` and `BADGESampler` may gather here; beyond it they ask for
        `n_candidates`.

    Notes
    -----
    Picks are those of the serial path: bit for bit on CPUs where `batch_size` and the number of
    threads are the same. A worker that is lost is replaced and its shards are done again; a shard
    that takes three times as long as others is given to an idle worker as well, and its first
    result counts. Needs the extra `skdal[ray]`.
    """

    is_remote = True

    def __init__(
        self,
        address: Any = None,
        num_workers: int | None = None,
        num_gpus_per_worker: float | None = None,
        batch_size: int | None = None,
        *,
        num_cpus_per_worker: int = 1,
        shard_size: int | None = None,
        scores_dir: str | Path | None = None,
        max_retries: int = 3,
        gather_limit: int | None = 2**30,
    ) -> None:
        import_ray()
        super().__init__(shard_size=shard_size, scores_dir=scores_dir)
        self.address = address
        self.num_workers = num_workers
        self.num_gpus_per_worker = num_gpus_per_worker
        self.batch_size = batch_size
        self.num_cpus_per_worker = num_cpus_per_worker
        self.max_retries = max_retries
        self.gather_limit = gather_limit
        check_parameters(self, _CHECKS)
        self._lock = threading.Lock()
        self._holder = None  # the thread whose pass is under way

    def map(self, task: Any, X: Any, y: Any, slices: list[slice]) -> Iterator:
        """Yield (k, task(rows of X, rows of y)) for the k-th of the slices, each once, as they
        come.
        """
        if not slices:
            return
        job = Job(task.packed(), X if is_torch_dataset(X) else None, self.batch_size)

        def piece(k):
            rows = slices[k] if job.held is not None else take_rows(X, slices[k])
            return rows, None if y is None else y[slices[k]]

        with self._turn():
            if (
                "_crew" in vars(self) and not self._crew.is_there
            ):  # somebody called ray.shutdown
                del self._crew
            yield from self._crew.run(
                task, job, piece, [rows.start for rows in slices], self.max_retries
            )

    @contextmanager
    def _turn(self):
        """Hold the workers for one pass over a pool: queries of other threads wait."""
        if self._holder == threading.get_ident():
            raise InvalidParameterError(
                f"{self!r} is in the middle of another query of this thread; end that first "
                "(close its iterator), or use an executor of its own."
            )
        with self._lock:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None

    @cached_property
    def _crew(self):
        return Crew(self)  # within a turn

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that run now."""
        return self._crew.pids() if "_crew" in vars(self) else []

    def shutdown(self) -> None:
        """Let the workers go, and the cluster where it was started here."""
        crew = vars(self).pop("_crew", None)
        if crew is not None:
            crew.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.shutdown()

    def __deepcopy__(self, memo):
        return self

    def __getstate__(self):
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_")
        }

    def __setstate__(self, state):
        vars(self).update(state, _lock=threading.Lock(), _holder=None)

    def __repr__(self):
        held = {
            name: value
            for name, value in self.__getstate__().items()
            if value is not None
        }
        return f"RayExecutor({', '.join(f'{name}={value!r}' for name, value in held.items())})"
