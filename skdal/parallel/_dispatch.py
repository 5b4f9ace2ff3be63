"""Which shard goes to which worker: retries after losses, second tries of slow shards, each result
once.
"""

from collections import defaultdict, deque
from statistics import median

from skdal.exceptions import WorkerLostError

# A worker holds so many shards that it never waits for the next one.
_AHEAD = 2
# What counts as slow is told by the durations of so many shards, the latest ones.
_N_SECONDS = 100
# An idle worker tries a shard as well when its holder is busy with it for longer than both of
# these: a multiple of the
# median duration, and seconds.
_SLOW = 3.0
_PATIENCE = 5.0


class Dispatch:
    """The books of one job.

    Parameters
    ----------
    n_shards : int
    max_retries : int
        How often a shard is tried again after the loss of the worker that was busy with it.
    """

    def __init__(self, n_shards, max_retries):
        # The next shard is the last of the list; those that have a result meanwhile are passed
        # over.
        self._waiting = list(reversed(range(n_shards)))
        self._left = set(self._waiting)
        # By worker, the shards that it holds; it is busy with the first one.
        self._held = defaultdict(list)
        # By worker, when it began with the shard that it is busy with.
        self._since = {}
        self._seconds = deque(maxlen=_N_SECONDS)
        # By shard, how many workers were lost while they were busy with it.
        self._n_losses = defaultdict(int)
        self._max_retries = max_retries

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
        if self._waiting:
            if len(held) < n_ahead:
                return self._give(worker, self._waiting.pop(), now)
        elif not held:
            slow = self._slowest(now)
            if slow is not None:
                return self._give(worker, slow, now)
        return None

    def _give(self, worker, shard, now):
        self._held[worker].append(shard)
        if len(self._held[worker]) == 1:
            self._since[worker] = now
        return shard

    def _slowest(self, now):
        """Return the shard that one worker has been busy with for unusually long, or None."""
        if not self._seconds:
            return None  # as nothing tells yet what is usual
        holders = defaultdict(list)
        for worker, shards in self._held.items():
            for shard in shards:
                holders[shard].append(worker)
        busy_for = {
            shard: now - self._since[workers[0]]
            for shard, workers in holders.items()
            if len(workers) == 1 and shard in self._left
        }
        slowest = max(busy_for, key=busy_for.get, default=None)
        limit = max(_PATIENCE, _SLOW * median(self._seconds))
        return slowest if slowest is not None and busy_for[slowest] > limit else None

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
            self._blame(held[0], reason)
        elsewhere = {shard for shards in self._held.values() for shard in shards}
        again = self._left.intersection(held) - elsewhere
        self._waiting = sorted({*self._waiting, *again}, reverse=True)

    def _blame(self, shard, reason):
        """Take note that a worker was lost while it was busy with a shard."""
        self._n_losses[shard] += 1
        if self._n_losses[shard] > self._max_retries:
            raise WorkerLostError(
                f"shard {shard} was tried {self._n_losses[shard]} times, and each time its "
                f"worker was lost ({reason}). If memory ran out there, lower batch_size or "
                "shard_size, or start fewer workers a machine; otherwise look at the samples "
                "of this shard."
            )

    def busy(self):
        """Return the workers that hold shards."""
        return [worker for worker, shards in self._held.items() if shards]
