"""On Ray: the picks of the serial path, bit for bit, whatever happens to workers."""

import builtins
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from common import POOL, X, keys, make_net, make_sampler, trained_net, y
from helpers_parallel import Eventful, Rows, SlowToLoad, dawdle, die, fitted
from lanes import slow_unless
from needs import needs
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from skdal import DynamicALSampler
from skdal.adapters import default_batch_size
from skdal.base import Table, run_pass
from skdal.exceptions import (
    GatherTooLargeError,
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
    InvalidSampleError,
    NonFiniteScoreError,
    WorkerLostError,
)
from skdal.parallel import RayExecutor
from skdal.pools import RayDataPool
from skdal.samplers import (
    BADGESampler,
    CoresetSampler,
    MarginSampler,
    MCDropoutSampler,
    PoolSubset,
)

pa = needs("pyarrow")


def both(sampler, executor, pool, n=7, *, net=None, labeled=(X, y)):
    """Return what a sampler picks here and there: (indices, scores), twice."""
    there = clone(sampler).set_params(executor=executor)
    samplers = [fitted(one, net or trained_net(), *labeled) for one in (sampler, there)]
    return [one.query(pool, n, return_scores=True) for one in samplers]


def assert_equal(found):
    (indices, scores), (their_indices, their_scores) = found
    assert indices.tolist() == their_indices.tolist()
    assert np.array_equal(scores, their_scores, equal_nan=True)


# one test of Ray every time
@pytest.mark.parametrize(
    "key", [slow_unless(key == "dynamical", key) for key in keys()]
)
def test_every_sampler_picks_the_same(key, two_workers):
    sampler = make_sampler(key).set_params(random_state=0)
    assert_equal(both(sampler, two_workers, POOL))


MANY = np.concatenate(
    [POOL + 0.01 * k for k in range(15)]
)  # three shards of 256, their least length here
OVER_SHARDS = [
    CoresetSampler(),
    CoresetSampler(n_candidates=50),
    BADGESampler(random_state=0),
    BADGESampler(random_state=0, n_candidates=50),
    MCDropoutSampler(random_state=0),
]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", OVER_SHARDS, ids=str)
def test_samplers_whose_shards_are_longer(sampler, two_workers):
    assert len(two_workers.slices(len(MANY), default_batch_size(MANY))) == 3
    assert_equal(both(sampler.set_params(executor=None), two_workers, MANY))


POOLS = {
    "array": POOL,
    "tensor": torch.as_tensor(POOL),
    "Dataset": TensorDataset(torch.as_tensor(POOL)),
    "with keys": Rows(POOL),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("interaction", [0.0, -1.0])
def test_every_kind_of_pool(kind, interaction, two_workers):
    sampler = DynamicALSampler(batch_size=8, interaction=interaction, update_size=3)
    assert_equal(both(sampler, two_workers, POOLS[kind]))


@pytest.mark.slow
def test_scores_of_all_and_keys_of_picks(two_workers):
    here, there = (
        fitted(DynamicALSampler(batch_size=8, executor=e), trained_net(), X, y)
        for e in (None, two_workers)
    )
    assert np.array_equal(here.score_samples(POOL), there.score_samples(POOL))
    assert there.query_keys(Rows(POOL), 3) == [
        f"row-{i:03d}" for i in here.query(POOL, 3)
    ]


@pytest.mark.slow
def test_the_labeled_gradient_is_the_same_in_many_chunks(two_workers):
    many = (
        np.concatenate([X] * 8),
        np.concatenate([y] * 8),
    )  # 240 samples, 8 chunks of 4 mini-batches
    sampler = DynamicALSampler(batch_size=8, gamma=np.inf)
    assert_equal(both(sampler, two_workers, POOL, labeled=many))


@pytest.mark.slow
def test_a_pipeline_and_a_classifier_that_is_no_net(two_workers):
    pipeline = make_pipeline(StandardScaler(), make_net()).fit(X, y)
    assert_equal(both(DynamicALSampler(batch_size=8), two_workers, POOL, net=pipeline))
    assert_equal(
        both(MarginSampler(), two_workers, POOL, net=LogisticRegression().fit(X, y))
    )


@pytest.mark.slow
def test_one_mini_batch_length_for_all_workers(cluster):
    with RayExecutor(num_workers=1, batch_size=4) as executor:
        (_, scores), (_, theirs) = both(DynamicALSampler(batch_size=8), executor, POOL)
        assert np.allclose(scores, theirs, rtol=1e-12)
        assert [len(range(41)[rows]) for rows in executor.slices(41, 4)] == [41]


@pytest.mark.slow
def test_more_workers_than_shards_and_than_cores(cluster):
    with RayExecutor(num_workers=9, shard_size=32) as executor:
        assert_equal(both(DynamicALSampler(batch_size=8), executor, POOL))
        assert (
            1 <= len(executor.worker_pids()) <= 4
        )  # the others of six cores are taken


@pytest.mark.slow
def test_all_scores_tie(two_workers):
    ones = np.ones((60, 4))
    (indices, _), (theirs, _) = both(
        DynamicALSampler(batch_size=8), two_workers, ones, 25
    )
    assert indices.tolist() == theirs.tolist() == list(range(25))


@pytest.mark.slow
def test_a_dataset_of_ray_data(two_workers):
    ray_data = needs("ray.data")
    tables = [
        pa.table({"x": list(POOL[:13]), "id": [f"id-{i}" for i in range(13)]}),
        pa.table({"x": list(POOL[13:]), "id": [f"id-{i}" for i in range(13, 41)]}),
    ]
    pool = RayDataPool(
        ray_data.from_arrow(tables), "x", key="id", transform=torch.as_tensor
    )
    assert len(pool) == 41
    assert pool.keys([40, 0]) == ["id-40", "id-0"]
    wanted = fitted(MarginSampler(), trained_net(), X, y).query(
        POOL.astype(np.float32), 7
    )
    sampler = fitted(MarginSampler(executor=two_workers), trained_net(), X, y)
    assert sampler.query_keys(pool, 7) == [f"id-{i}" for i in wanted]
    with pytest.raises(
        InvalidDataError, match=r"the dataset has no column \['image'\]"
    ):
        RayDataPool(ray_data.from_arrow(tables))


# --- what cannot be read
# ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_that_cannot_be_read_and_a_shard_without_any_that_can(two_workers):
    damaged = [3, *range(8, 16), 40]
    pool, whole = Rows(POOL, damaged), np.delete(POOL, damaged, axis=0)
    sampler = fitted(
        DynamicALSampler(batch_size=8, executor=two_workers), trained_net(), X, y
    )
    wanted = fitted(DynamicALSampler(batch_size=8), trained_net(), X, y).query(whole, 9)
    assert (
        sampler.query(pool, 9).tolist()
        == np.delete(np.arange(41), damaged)[wanted].tolist()
    )
    assert [x.position for x in sampler.unreadable_] == damaged
    assert sampler.unreadable_[0] == (3, "row-003", "row 3 is damaged")
    scores = sampler.score_samples(pool)
    assert np.flatnonzero(np.isnan(scores)).tolist() == damaged


# --- faults ---------------------------------------------------------------------------------------
# ----------------


@pytest.fixture(scope="module")
def expendable(cluster):
    """An executor whose workers may be lost."""
    with RayExecutor(num_workers=2, shard_size=8, max_retries=1) as executor:
        yield executor


@pytest.mark.slow
def test_a_worker_is_killed(expendable, tmp_path, caplog):
    pool = Eventful(POOL, 20, die, str(tmp_path / "once"))
    assert_equal(both(DynamicALSampler(batch_size=8), expendable, pool))
    assert (tmp_path / "once").exists()
    assert "is lost" in caplog.text


@pytest.mark.slow
def test_workers_are_killed_from_outside(cluster):
    pool, stop, killed = np.concatenate([POOL] * 60), threading.Event(), []

    def kill(executor):
        while not stop.wait(0.5) and len(killed) < 2:
            for pid in [pid for pid in executor.worker_pids() if pid not in killed][:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with RayExecutor(num_workers=2, shard_size=8) as executor:
        killer = threading.Thread(target=kill, args=(executor,))
        killer.start()
        try:
            while len(killed) < 2:
                assert_equal(both(DynamicALSampler(batch_size=8), executor, pool, 30))
        finally:
            stop.set()
            killer.join()


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_ends_the_query(expendable):
    class Deadly(Rows):
        def __getitem__(self, i):
            if i == 20 and os.getpid() != parent:
                die()
            return super().__getitem__(i)

    parent = os.getpid()
    sampler = fitted(
        DynamicALSampler(batch_size=8, executor=expendable), trained_net(), X, y
    )
    with pytest.raises(WorkerLostError, match="shard 2 was tried 2 times"):
        sampler.query(Deadly(POOL), 3)
    sampler.query(POOL, 3)  # the executor goes on


@pytest.fixture
def impatient(monkeypatch):
    """Give a shard to another worker after a fraction of a second."""
    monkeypatch.setattr("skdal.parallel._dispatch._PATIENCE", 0.2)


@pytest.mark.slow
def test_a_slow_worker_is_overtaken(expendable, tmp_path, impatient):
    pool = Eventful(POOL, 20, dawdle, str(tmp_path / "once"))
    while len(expendable.worker_pids()) < 2:
        expendable_query(expendable, POOL)
        time.sleep(0.5)
    start = time.monotonic()
    assert_equal(both(DynamicALSampler(batch_size=8), expendable, pool))
    assert time.monotonic() - start < 50  # dawdling takes 60 s
    assert (tmp_path / "once").exists()


@pytest.mark.slow
def test_a_worker_that_takes_long_to_load_the_net_is_waited_for_by_nobody_and_kept(
    expendable, tmp_path, impatient
):
    while len(expendable.worker_pids()) < 2:
        expendable_query(expendable, POOL)
        time.sleep(0.5)
    pids = expendable.worker_pids()
    start = time.monotonic()
    assert_equal(
        both(
            DynamicALSampler(batch_size=8),
            expendable,
            SlowToLoad(POOL, str(tmp_path / "once")),
        )
    )
    assert time.monotonic() - start < SlowToLoad.seconds
    assert expendable.worker_pids() == pids


def expendable_query(executor, pool):
    fitted(MarginSampler(executor=executor), trained_net(), X, y).query(pool, 3)


# --- what is wrong is said as it is here
# --------------------------------------------------------------------------


@pytest.mark.slow
def test_errors_keep_their_type_and_words(two_workers):
    sampler = fitted(
        DynamicALSampler(batch_size=8, executor=two_workers), trained_net(), X, y
    )
    broken = POOL.copy()
    broken[[5, 30]] = np.nan
    with pytest.raises(
        NonFiniteScoreError,
        match="2 of 41 scores are NaN or infinite, at pool positions 5, 30",
    ):
        sampler.query(broken, 3)
    with pytest.raises(InvalidLabelsError, match="from 0 to 2"):
        fitted(clone(sampler), trained_net(), X, y + 1).query(POOL, 3)

    class Refusing(Rows):
        def __getitem__(self, i):
            if i == 30:
                raise KeyError("thirty")
            return super().__getitem__(i)

    with pytest.raises(
        InvalidSampleError,
        match=r"sample 30 of the pool \(row-030\).*KeyError: 'thirty'",
    ) as caught:
        sampler.query(Refusing(POOL), 3)
    assert "raised in a worker" in caught.value.__notes__[0]
    assert len(sampler.query(POOL, 3)) == 3


@pytest.mark.slow
def test_what_cannot_be_sent(two_workers):
    pool = Rows(POOL)
    pool.lock = threading.Lock()
    sampler = fitted(MarginSampler(executor=two_workers), trained_net(), X, y)
    with pytest.raises(InvalidDataError, match="cannot be sent to workers"):
        sampler.query(pool, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler", [CoresetSampler(), BADGESampler()], ids=lambda s: type(s).__name__
)
def test_too_much_to_gather(sampler, two_workers, monkeypatch):
    monkeypatch.setattr(two_workers, "gather_limit", 100)
    sampler = fitted(
        clone(sampler).set_params(executor=two_workers, random_state=0),
        trained_net(),
        X,
        y,
    )
    with pytest.raises(
        GatherTooLargeError,
        match="numbers of 41 samples here, above gather_limit=100.*n_candidates",
    ):
        sampler.query(POOL, 3)
    sampler.n_candidates = 10
    indices, scores = sampler.query(POOL, 3, return_scores=True)
    serial = fitted(
        clone(sampler).set_params(executor=None, n_candidates=10, random_state=0),
        trained_net(),
        X,
        y,
    )
    assert_equal([(indices, scores), serial.query(POOL, 3, return_scores=True)])


@pytest.mark.slow
def test_a_subset_of_the_pool(two_workers):
    sampler = PoolSubset(sampler=CoresetSampler(), subset_size=20, random_state=0)
    assert_equal(both(sampler, two_workers, Rows(POOL)))


# --- the object -----------------------------------------------------------------------------------
# ----------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        {"num_workers": 0},
        {"batch_size": 1.5},
        {"num_gpus_per_worker": -1},
        {"max_retries": -1},
    ],
)
def test_wrong_settings(wrong):
    (name,) = wrong
    with pytest.raises(InvalidParameterError, match=name):
        RayExecutor(**wrong)


@pytest.mark.slow
def test_an_executor_is_an_instance():
    sampler = DynamicALSampler(FrozenEstimator(trained_net()), executor="ray")
    with pytest.raises(
        InvalidParameterError,
        match=r"executor must be None or an executor of skdal.parallel",
    ):
        sampler.fit(X, y)


@pytest.mark.slow
def test_print_is_as_it_was(two_workers):
    fitted(MarginSampler(executor=two_workers), trained_net(), X, y).query(POOL, 3)
    assert (
        type(builtins.print).__name__ == "builtin_function_or_method"
    )  # Ray would put its own in its place


@pytest.mark.slow
def test_copies_share_the_workers_and_pickles_do_not(two_workers):
    sampler = clone(DynamicALSampler(executor=two_workers))
    assert sampler.executor is two_workers
    fitted(sampler, trained_net(), X, y).query(POOL, 3)
    found = pickle.loads(pickle.dumps(two_workers))
    assert found.num_workers == 2
    assert found.worker_pids() == []
    assert "num_workers=2" in repr(found)


@pytest.mark.slow
def test_threads_take_turns(two_workers):
    """Two queries at once, of other nets and pools: none gets scores of the other."""
    samplers = [
        fitted(
            DynamicALSampler(batch_size=8, executor=two_workers),
            trained_net(seed),
            X,
            y,
        )
        for seed in (0, 1)
    ]
    pools = [np.concatenate([POOL] * 5), np.concatenate([POOL + 1] * 5)]
    wanted = [
        clone(s).set_params(executor=None).fit(X, y).score_samples(p)
        for s, p in zip(samplers, pools)
    ]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            found = list(threads.map(lambda s, p: s.score_samples(p), samplers, pools))
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted))


@pytest.mark.slow
def test_a_query_within_a_query_is_refused(two_workers):
    inner = fitted(MarginSampler(executor=two_workers), trained_net(), X, y)

    class Nested(Table):
        def add(self, part):
            inner.query(POOL, 3)

    class Outer(MarginSampler):
        def _select(self, trained, pool, n_instances, rng):
            work = self._work(trained, rng)
            run_pass(work, trained, pool, two_workers, Nested(len(pool)))

    sampler = fitted(Outer(), trained_net(), X, y)
    with pytest.raises(
        InvalidParameterError, match="in the middle of another query of this thread"
    ):
        sampler.query(POOL, 3)
    assert (
        len(
            fitted(MarginSampler(executor=two_workers), trained_net(), X, y).query(
                POOL, 3
            )
        )
        == 3
    )


@pytest.mark.slow
def test_what_a_query_has_in_common_is_sent_once(two_workers, monkeypatch):
    sent, put = [], type(two_workers._crew)._put
    monkeypatch.setattr(
        type(two_workers._crew),
        "_put",
        lambda self, x: sent.append(type(x).__name__) or put(self, x),
    )
    sampler = DynamicALSampler(
        batch_size=8, interaction=-1.0, update_size=2, executor=two_workers
    )
    fitted(sampler, trained_net(), X, y).query(POOL, 6)
    assert sent.count("PackedTrained") == 1
    assert sent.count("Job") >= 3


@pytest.mark.slow
def test_idle_workers_that_were_lost_are_replaced(cluster):
    """More than would end a query if none had started."""
    with RayExecutor(num_workers=1, shard_size=8) as executor:
        sampler = fitted(
            DynamicALSampler(batch_size=8, executor=executor), trained_net(), X, y
        )
        wanted = sampler.query(POOL, 5).tolist()
        for _ in range(2):
            executor._crew._n_failed_starts = 3  # one more ends it
            (pid,) = executor.worker_pids()
            os.kill(pid, signal.SIGKILL)
            assert sampler.query(POOL, 5).tolist() == wanted


@pytest.mark.slow
def test_workers_without_cores_of_their_own(cluster):
    with RayExecutor(num_cpus_per_worker=0, num_workers=None) as executor:
        assert executor._crew._size == 6
