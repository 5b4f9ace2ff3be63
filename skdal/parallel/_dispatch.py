"""Which shard goes to which worker: retries after losses, second tries of slow shards, each result once."""

from collections import defaultdict, deque
from statistics import median

from skdal.exceptions import WorkerLostError

_AHEAD = 2  # shards that a worker holds, so that it never waits for the next one
_N_SECONDS = 100  # shards whose durations tell what is slow
_SLOW, _PATIENCE = (
    3.0,
    5.0,
)  # times the median, and seconds, after which an idle worker tries a shard as well


class Dispatch:
    """The books of one job.

    Parameters
    ----------
    n_shards : int
    max_retries : int
        How often a shard is tried again after the loss of the worker that was busy with it.
    """

    def __init__(self, n_shards, max_retries):
        self._waiting = list(range(n_shards))[
            ::-1
        ]  # the lowest one last; those with a result are passed over
        self._left = set(self._waiting)
        self._held = defaultdict(
            list
        )  # worker -> shards, the one that it is busy with first
        self._since, self._seconds = {}, deque(maxlen=_N_SECONDS)
        self._losses, self._max_retries = defaultdict(int), max_retries

    @property
    def n_left(self):
        """Shards without a result."""
        return len(self._left)

    def next_for(self, worker, n_workers, now):
        """Return the shard that a worker should be given, or None."""
        held = self._held[worker]
        while self._waiting and self._waiting[-1] not in self._left:
            self._waiting.pop()
        # Towards the end nobody holds what another one could begin at once.
        n_ahead = _AHEAD if len(self._waiting) > n_workers else 1
        if self._waiting and len(held) < n_ahead:
            return self._give(worker, self._waiting.pop(), now)
        if not self._waiting and not held and (slow := self._slowest(now)) is not None:
            return self._give(worker, slow, now)
        return None

    def _give(self, worker, shard, now):
        self._held[worker].append(shard)
        if len(self._held[worker]) == 1:
            self._since[worker] = now
        return shard

    def _slowest(self, now):
        """Return the shard that one worker has been busy with for unusually long, or None."""
        holders = defaultdict(list)
        for worker, shards in self._held.items():
            for shard in shards:
                holders[shard].append(worker)
        alone = {
            shard: now - self._since[workers[0]]
            for shard, workers in holders.items()
            if len(workers) == 1
        }
        alone = {
            shard: seconds for shard, seconds in alone.items() if shard in self._left
        }
        limit = (
            max(_PATIENCE, _SLOW * median(self._seconds))
            if self._seconds
            else float("inf")
        )
        slowest = max(alone, key=alone.get, default=None)
        return slowest if slowest is not None and alone[slowest] > limit else None

    def finished(self, worker, shard, now):
        """Take note of a result; tell whether it is the first one of its shard."""
        if shard in self._held[worker]:  # else the worker was lost just after
            self._seconds.append(now - self._since[worker])
            self._held[worker].remove(shard)
            self._since[worker] = now
        is_first = shard in self._left
        self._left.discard(shard)
        return is_first

    def lost(self, worker, reason):
        """Take note of the end of a worker: what it held goes to others.

        Raises
        ------
        WorkerLostError
            One shard has cost too many workers.
        """
        held = self._held.pop(worker, [])
        if held:
            self._losses[held[0]] += 1
            if self._losses[held[0]] > self._max_retries:
                raise WorkerLostError(
                    f"shard {held[0]} was tried {self._losses[held[0]]} times, and each time its worker was lost "
                    f"({reason}). If memory ran out there, lower batch_size or shard_size, or start fewer workers a "
                    "machine; otherwise look at the samples of this shard."
                )
        elsewhere = {shard for shards in self._held.values() for shard in shards}
        again = [
            shard for shard in held if shard in self._left and shard not in elsewhere
        ]
        self._waiting = sorted({*self._waiting, *again}, reverse=True)

    def busy(self):
        """Return the workers that hold shards."""
        return [worker for worker, shards in self._held.items() if shards]
