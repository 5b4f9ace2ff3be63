"""Scores on disk: a query goes on where it was, and never takes the scores of another one for its
own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, trained_net, y
from helpers_parallel import Rows, fitted
from needs import needs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdal import DynamicALSampler
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.parallel import SerialExecutor
from skdal.samplers import DeltaWork, EGLSampler, MarginSampler

pq = needs("pyarrow.parquet")


@pytest.fixture
def counted(monkeypatch):
    """The number of rows of each shard that is scored."""
    rows = []
    score = DeltaWork.__call__

    def counting(self, trained, pool):
        rows.append(len(pool))
        return score(self, trained, pool)

    monkeypatch.setattr(DeltaWork, "__call__", counting)
    return rows


def sampler_in(folder, net=None, labeled=(X, y), shard_size=8, **params):
    executor = SerialExecutor(shard_size=shard_size, scores_dir=folder)
    return fitted(
        DynamicALSampler(executor=executor, **{"batch_size": 8, **params}),
        net or trained_net(),
        *labeled,
    )


def test_shards_of_whole_mini_batches_give_the_same_bits():
    wanted = fitted(DynamicALSampler(batch_size=8), trained_net(), X, y).score_samples(
        POOL
    )
    sampler = fitted(
        DynamicALSampler(batch_size=8, executor=SerialExecutor(shard_size=9)),
        trained_net(),
        X,
        y,
    )
    assert [rows.stop for rows in sampler.executor.slices(41, 8)] == [16, 32, 41]
    assert np.array_equal(sampler.score_samples(POOL), wanted)


def test_scores_are_kept_and_not_computed_again(tmp_path, counted):
    pool = Rows(POOL, [3, 40])
    wanted = fitted(DynamicALSampler(batch_size=8), trained_net(), X, y).score_samples(
        pool
    )
    counted.clear()
    first = sampler_in(tmp_path).query(pool, 5)
    assert counted == [8, 8, 8, 8, 8, 1]
    again = sampler_in(tmp_path)
    assert again.query(pool, 5).tolist() == first.tolist()
    assert np.array_equal(again.score_samples(pool), wanted, equal_nan=True)
    assert len(counted) == 6
    assert [x.key for x in again.unreadable_] == ["row-003", "row-040"]
    (folder,) = tmp_path.iterdir()
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    assert table.column_names == ["position", "key", "score", "sq_norm", "dot", "label"]
    assert table["key"].to_pylist()[3] == "row-004"
    assert np.array_equal(table["score"].to_numpy(), wanted[~np.isnan(wanted)])
    lines = (folder / "unreadable.csv").read_text().splitlines()
    assert lines == [
        "position,key,reason",
        "3,row-003,row 3 is damaged",
        "40,row-040,row 40 is damaged",
    ]


class Interrupted(Rows):
    def __getitem__(self, i):
        if i == 20:
            raise KeyboardInterrupt
        return super().__getitem__(i)

    fingerprint = None  # the same pool as below, for a store


def test_after_an_interruption(tmp_path, counted):
    pool = Interrupted(POOL)
    pool.fingerprint = lambda: "the pool"
    with pytest.raises(KeyboardInterrupt):
        sampler_in(tmp_path).query(pool, 5)
    assert len(list(tmp_path.glob("*/*.parquet"))) == 2
    whole = Rows(POOL)
    whole.fingerprint = lambda: "the pool"
    counted.clear()
    found = sampler_in(tmp_path).query(whole, 5)
    assert counted == [8, 8, 8, 1]
    assert (
        found.tolist()
        == fitted(DynamicALSampler(batch_size=8), trained_net(), X, y)
        .query(POOL, 5)
        .tolist()
    )


PROGRAM = """
import os, sys
sys.path[:0] = {path!r}
from test_stored_scores import *
class Deadly(Rows):
    def __getitem__(self, i):
        if i == 20 and {deadly}:
            os.kill(os.getpid(), 9)
        return super().__getitem__(i)
    def fingerprint(self):
        return "the pool"
print(sampler_in({folder!r}).query(Deadly(POOL), 5).tolist())
"""


@pytest.mark.slow
def test_after_the_process_was_killed(tmp_path):
    def run(deadly):
        program = PROGRAM.format(path=sys.path, deadly=deadly, folder=str(tmp_path))
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )

    assert run(True).returncode == -9
    kept = {file: os.stat(file).st_mtime_ns for file in tmp_path.glob("*/*.parquet")}
    assert len(kept) == 2
    done = run(False)
    assert (
        json.loads(done.stdout)
        == sampler_in(None, shard_size=None).query(POOL, 5).tolist()
    ), done.stderr
    assert all(os.stat(file).st_mtime_ns == time for file, time in kept.items())


def other_weights(net):
    with torch.no_grad():
        next(net.module_.parameters())[0, 0] += 1e-6
    return net


def other_buffers(net):
    net.module_.body[1].running_mean += 1e-6
    return net


def other_unstored_buffers(net):
    net.module_.register_buffer("shift", torch.ones(1), persistent=False)
    return net


def other_attributes(net):
    net.module_.temperature = 2.0
    return net


OTHERS = {
    "weights": lambda folder: sampler_in(folder, other_weights(trained_net())),
    "buffers": lambda folder: sampler_in(folder, other_buffers(trained_net())),
    "buffers that are not stored": lambda folder: sampler_in(
        folder, other_unstored_buffers(trained_net())
    ),
    "attributes": lambda folder: sampler_in(folder, other_attributes(trained_net())),
    "criterion": lambda folder: sampler_in(
        folder, trained_net().set_params(criterion__label_smoothing=0.1)
    ),
    "labels": lambda folder: sampler_in(folder, labeled=(X, np.roll(y, 1))),
    "labeled samples": lambda folder: sampler_in(folder, labeled=(X[:29], y[:29])),
    "gamma": lambda folder: sampler_in(folder, gamma=1.0),
    "layers": lambda folder: sampler_in(folder, layers="last"),
    "shards": lambda folder: sampler_in(folder, shard_size=16),
    "pipeline": lambda folder: sampler_in(
        folder, make_pipeline(StandardScaler(), make_net()).fit(X, y)
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_queries_have_other_folders(what, tmp_path, counted):
    sampler_in(tmp_path).query(POOL, 5)
    sampler_in(tmp_path).query(POOL, 5)
    assert len(list(tmp_path.iterdir())) == 1
    counted.clear()
    sampler = OTHERS[what](tmp_path)
    found = sampler.score_samples(POOL)
    assert sum(counted) == len(POOL)
    assert len(list(tmp_path.iterdir())) == 2
    assert np.array_equal(found, sampler.set_params(executor=None).score_samples(POOL))


@pytest.mark.parametrize(
    "change",
    [
        {"criterion__label_smoothing": 0.1},
        {"predict_nonlinearity": lambda x: x.softmax(1)},
    ],
    ids=["label_smoothing", "predict_nonlinearity"],
)
def test_what_the_labeled_gradient_does_not_tell(change, tmp_path):
    nets = (
        trained_net(predict_nonlinearity=lambda x: x.softmax(-1)),
        trained_net().set_params(**change),
    )
    for net in nets:
        sampler_in(tmp_path, net, gamma=0.0).query(POOL, 5)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "pool",
    [POOL + 1e-9, Rows(POOL + 1e-9), Rows(POOL[:40])],
    ids=["array", "Dataset", "length"],
)
def test_other_pools_have_other_folders(pool, tmp_path):
    sampler_in(tmp_path).query(POOL if isinstance(pool, np.ndarray) else Rows(POOL), 5)
    sampler_in(tmp_path).query(pool, 5)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "sampler", [MarginSampler(), EGLSampler(batch_size=8)], ids=str
)
def test_other_samplers_keep_their_scores(sampler, tmp_path):
    net = (
        LogisticRegression().fit(X, y)
        if isinstance(sampler, MarginSampler)
        else trained_net()
    )
    wanted = fitted(sampler, net, X, y).score_samples(POOL)
    sampler.set_params(executor=SerialExecutor(shard_size=8, scores_dir=tmp_path))
    first = sampler.score_samples(POOL)
    np.testing.assert_allclose(
        first, wanted, rtol=1e-12
    )  # scikit-learn's products depend on the number of rows
    assert np.array_equal(sampler.score_samples(POOL), first)
    assert pq.read_table(next(tmp_path.glob("*/*.parquet"))).column_names == [
        "position",
        "score",
    ]


@pytest.mark.parametrize("damage", ["cut off", "of another query"])
def test_a_damaged_file_is_named(damage, tmp_path):
    sampler_in(tmp_path).query(POOL, 5)
    sampler_in(tmp_path, gamma=1.0).query(POOL, 5)
    files = sorted(tmp_path.glob("*/part-000000000008.parquet"))
    whole = [file.read_bytes() for file in files]
    for file, other in zip(files, whole[::-1]):
        file.write_bytes(other[:100] if damage == "cut off" else other)
    with pytest.raises(
        InvalidDataError,
        match=r"000008.parquet is (damaged|of another query).*move it away",
    ):
        sampler_in(tmp_path).query(POOL, 5)


@pytest.mark.parametrize("size", [0, -1, 1.5, "8", True])
def test_wrong_sizes(size):
    with pytest.raises(
        InvalidParameterError,
        match="shard_size must be None or an integer of at least 1",
    ):
        SerialExecutor(shard_size=size)
