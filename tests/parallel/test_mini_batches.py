"""The mini-batch length of an executor reaches whatever runs in its workers."""

import numpy as np
import pytest
from common import POOL, X, keys, make_sampler, trained_net, y
from helpers_parallel import fitted

from skdal.parallel import SerialExecutor


class InFours(SerialExecutor):
    """What workers do, in this process: mini-batches of four."""

    is_remote, batch_size, is_working = True, 4, False

    def map(self, task, X, y, slices):
        there = task.packed().on(
            task.packed_common().on("cpu", self.batch_size), self.batch_size
        )
        for k, rows in enumerate(slices):
            self.is_working = True
            part = there(X[rows], None if y is None else y[rows])
            self.is_working = False
            yield k, part


@pytest.mark.parametrize("key", keys())
def test_no_mini_batch_is_longer(key):
    executor, net, lengths = InFours(), trained_net(), []

    def note(module, inputs):
        return lengths.append(len(inputs[0])) if executor.is_working else None

    net.module_.register_forward_pre_hook(note)
    sampler = fitted(make_sampler(key, executor=executor), net, X, y)
    assert len(sampler.query(np.concatenate([POOL] * 4), 5)) == 5
    assert max(lengths, default=4) == 4
    assert lengths or key == "random"


def test_classifiers_without_mini_batches_are_asked_for_many_rows_at_once():
    assert [
        len(range(300_000)[rows]) for rows in SerialExecutor().slices(300_000, 1)
    ] == [131072, 131072, 37856]
    assert len(SerialExecutor(shard_size=10).slices(95, 1)) == 10
