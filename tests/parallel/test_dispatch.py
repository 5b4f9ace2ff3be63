"""Which shard goes to which worker: every result once, whatever happens to workers."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdal.exceptions import WorkerLostError
from skdal.parallel import Dispatch


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32), n_shards=st.integers(0, 12), n_workers=st.integers(1, 5)
)
def test_each_shard_counts_once(seed, n_shards, n_workers):
    rng = random.Random(seed)
    dispatch, workers, held, counted, now = (
        Dispatch(n_shards, 1000),
        list(range(n_workers)),
        {},
        [],
        0.0,
    )
    for _ in range(1000):
        if not dispatch.n_left:
            break
        now += rng.choice([0.1, 1.0, 30.0])
        for worker in workers:
            while (shard := dispatch.next_for(worker, len(workers), now)) is not None:
                held.setdefault(worker, []).append(shard)
        worker = rng.choice(workers)
        if rng.random() < 0.2:
            dispatch.lost(worker, "test")
            late = held.pop(worker, [])
            if late and rng.random() < 0.5:  # its last result was on its way
                counted += [late[0]] if dispatch.finished(worker, late[0], now) else []
            workers[workers.index(worker)] = max(workers) + 1
        elif held.get(worker):
            shard = held[worker].pop(0)
            counted += [shard] if dispatch.finished(worker, shard, now) else []
    assert sorted(counted) == list(range(n_shards))
    assert dispatch.n_left == 0


def test_workers_hold_one_ahead_but_not_towards_the_end():
    dispatch = Dispatch(5, 3)
    assert [
        dispatch.next_for("a", 2, 0),
        dispatch.next_for("a", 2, 0),
        dispatch.next_for("a", 2, 0),
    ] == [0, 1, None]
    assert [dispatch.next_for("b", 2, 0), dispatch.next_for("b", 2, 0)] == [
        2,
        None,
    ]  # two are left for two


def test_a_slow_shard_is_tried_by_an_idle_worker():
    dispatch = Dispatch(3, 3)
    for worker in "ab":
        dispatch.next_for(worker, 2, 0)
    assert dispatch.finished("a", 0, 1.0)
    assert dispatch.next_for("a", 2, 1.0) == 2
    assert dispatch.finished("a", 2, 2.0)
    assert dispatch.next_for("a", 2, 4.0) is None
    assert dispatch.next_for("a", 2, 10.0) == 1
    assert dispatch.finished("a", 1, 11.0)
    assert dispatch.n_left == 0
    assert dispatch.busy() == ["b"]
    assert not dispatch.finished("b", 1, 12.0)


def test_only_the_shard_at_work_is_blamed_for_a_loss():
    dispatch = Dispatch(4, 1)
    for worker, ends in (("a", False), ("b", True)):
        assert [dispatch.next_for(worker, 1, 0), dispatch.next_for(worker, 1, 0)] == [
            0,
            1,
        ]
        if ends:
            with pytest.raises(
                WorkerLostError,
                match="shard 0 was tried 2 times.*WorkerDied.*batch_size",
            ):
                dispatch.lost(worker, "WorkerDied")
        else:
            dispatch.lost(worker, "WorkerDied")


def test_the_books_of_many_shards_cost_no_more_for_each():
    dispatch, start, now = Dispatch(100_000, 3), time.perf_counter(), 0
    while dispatch.n_left:
        now += 1
        for worker in ("busy", "other"):
            shard = dispatch.next_for(worker, 2, now)
            if shard is not None:
                dispatch.finished(worker, shard, now)
    assert (
        time.perf_counter() - start < 20
    )  # minutes where each is looked for in a list of all
