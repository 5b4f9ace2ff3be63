"""What the tests of executors share: pools that misbehave, and samplers on frozen nets."""

import os
import time

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch.utils.data import Dataset

from skdal.exceptions import UnreadableSampleError


class Rows(Dataset):
    """Rows of an array with keys; some cannot be read."""

    max_unreadable = 0.5

    def __init__(self, rows, damaged=()):
        self.rows, self.damaged = np.asarray(rows), set(damaged)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        if i in self.damaged:
            raise UnreadableSampleError(f"row {i} is damaged")
        return torch.as_tensor(self.rows[i])

    def keys(self, positions):
        return [f"row-{i:03d}" for i in positions]


class Eventful(Rows):
    """Something happens in the process that reads a row: `event(path)` the first time, where `path`
    marks it."""

    def __init__(self, rows, at, event, path):
        super().__init__(rows)
        self.at, self.event, self.path = at, event, path

    def __getitem__(self, i):
        if (
            i == self.at
            and os.getpid() != self.parent
            and not os.path.exists(self.path)
        ):
            open(self.path, "w").close()
            self.event()
        return super().__getitem__(i)

    parent = os.getpid()

    def __getstate__(self):
        return {**vars(self), "parent": self.parent}


class SlowToLoad(Rows):
    """Rows that the first process to load them, marked by a file, waits for."""

    seconds = 20

    def __init__(self, rows, path):
        super().__init__(rows)
        self.path = path

    def __setstate__(self, state):
        vars(self).update(state)
        if not os.path.exists(self.path):
            open(self.path, "w").close()
            time.sleep(self.seconds)


def die():
    """End this process as the kernel would when memory runs out."""
    os.kill(os.getpid(), 9)


def dawdle():
    """Take far longer than any shard."""
    time.sleep(60)


def fitted(sampler, net, X, y):
    """Return a sampler that is bound to a trained net and its labeled set."""
    sampler.estimator = FrozenEstimator(net)
    return sampler.fit(X, y)
