"""The round loop: what a record says, what a run depends on, and that it goes on as if nothing had
happened."""

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from experiments.helpers import QUICK, quick, refuse_training, without_times
from lanes import slow_unless

from skdal.datasets import Images, load_dataset
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    NonFiniteScoreError,
    RunInUseError,
    SkdalError,
)
from skdal.experiments import (
    PeakMemory,
    RunFolder,
    Training,
    load,
    make_net,
    measure,
    run,
)
from skdal.samplers import SAMPLERS, RandomSampler


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_what_a_record_says(tmp_path, digits):
    first, second, last = run(quick("margin"), tmp_path)
    labels = digits.train.targets
    assert [r["round"] for r in (first, second, last)] == [0, 1, 2]
    assert [r["n_labeled"] for r in (first, second, last)] == [40, 60, 80]
    assert len(set(first["initial"])) == 40
    assert "initial" not in second
    taken = first["initial"] + first["queried"] + second["queried"]
    assert len(set(taken)) == len(taken) == 80
    assert len(first["scores"]) == 20
    assert first["scores"] == sorted(first["scores"], reverse=True)
    assert (
        first["classes"] == np.bincount(labels[first["queried"]], minlength=10).tolist()
    )
    assert (
        last["queried"],
        last["scores"],
        last["classes"],
        last["query_seconds"],
    ) == ([], None, None, None)
    for record in (first, second, last):
        assert 0 <= record["macro_f1"] <= 1
        assert record["optimistic_accuracy"] >= record["accuracy"]
        assert 1 <= record["optimistic_epoch"] <= record["epochs"] <= 6
        assert record["train_seconds"] > 0
        assert record["peak_memory"] > 2**20
        assert record["threads"] == 1
        assert set(record["versions"]) >= {
            "python",
            "skdal",
            "torch",
            "numpy",
            "skorch",
        }
    assert RunFolder(tmp_path, quick("margin")).rounds() == [first, second, last]


def test_the_recorded_accuracy_is_that_of_the_stored_net(tmp_path, digits):
    spec = quick("random", n_rounds=1)
    last = run(spec, tmp_path)[-1]
    net = make_net(spec, digits, "cpu").initialize()
    net.module_.load_state_dict(RunFolder(tmp_path, spec).resume()[1]["module"])
    predicted = net.predict(digits.test)
    assert last["accuracy"] == np.mean(predicted == digits.test.targets)


@pytest.mark.parametrize("key", ["dynamical", "margin", "badge", "albl"])
def test_all_samplers_start_from_the_same_labels_and_weights(tmp_path, key):
    same = (
        "initial",
        "accuracy",
        "optimistic_accuracy",
        "macro_f1",
        "epochs",
        "train_accuracy",
    )
    first, other = (
        run(quick(name, n_rounds=1), tmp_path)[0] for name in ("random", key)
    )
    assert [first[name] for name in same] == [other[name] for name in same]
    assert first["queried"] != other["queried"]


def test_seeds_differ(tmp_path):
    one, two = (run(quick(n_rounds=0, seed=seed), tmp_path)[0] for seed in (0, 1))
    assert one["initial"] != two["initial"]
    assert one["macro_f1"] != two["macro_f1"]


class Interrupt(Exception):
    """Ends a run as a crash would."""


def interrupt(record):
    raise Interrupt


BROKEN = {
    "dynamicAL with interaction": quick(
        "dynamical", {"interaction": -1.0, "update_size": 5}
    ),
    "k-means++": quick("badge"),
    "a bandit": quick("albl", n_rounds=3),
    "a bandit by sample": quick("albl", {"per": "sample"}, n_rounds=3),
    "cold start": quick(
        "margin", training=dataclasses.replace(QUICK, warm_start=False)
    ),
    "optimizer kept": quick(
        "random", training=dataclasses.replace(QUICK, reset_optimizer=False)
    ),
}


@pytest.mark.parametrize(
    "name",
    [slow_unless(name == "a bandit", name) for name in BROKEN],
)
def test_a_run_goes_on_after_any_round(tmp_path, name):
    spec = BROKEN[name]
    whole = run(spec, tmp_path / "whole")
    for n_rounds in range(1, len(whole)):
        with pytest.raises(Interrupt):
            run(spec, tmp_path / "broken", report=interrupt)
        assert len(RunFolder(tmp_path / "broken", spec).rounds()) == n_rounds
    assert without_times(run(spec, tmp_path / "broken")) == without_times(whole)


def test_a_run_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    records = run(quick(), tmp_path)
    refuse_training(monkeypatch)
    assert run(quick(), tmp_path) == records


# Each program kills itself, by a signal that no process can catch, when a method is called for the
# n-th time.
PROGRAM = """
import os, signal, torch
from experiments.helpers import quick
from skdal.experiments import RunFolder, _run, _store, run
from skdal.samplers import DynamicALSampler

owner, name, n_calls = {owner}, {name!r}, {n_calls}
method, called = getattr(owner, name), []

def deadly(*args, **kwargs):
    called.append(1)
    if len(called) == n_calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return method(*args, **kwargs)

setattr(owner, name, deadly)
torch.set_num_threads(1)
run(quick("dynamical", n_rounds=4), {root!r})
"""
MOMENTS = {  # each after at least one more round than the last
    "training": ("_run", "measure", 4),
    "query": ("DynamicALSampler", "_select", 2),
    "the middle of writing a checkpoint": ("_store.os", "replace", 1),
    "between checkpoint and log": ("RunFolder", "_complete", 3),
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a signal of POSIX")
def test_kill_9_at_any_moment(tmp_path):
    spec, n_rounds = quick("dynamical", n_rounds=4), []
    whole = run(spec, tmp_path / "whole")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for owner, name, n_calls in MOMENTS.values():
        program = PROGRAM.format(
            owner=owner, name=name, n_calls=n_calls, root=str(tmp_path / "killed")
        )
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        n_rounds.append(len(RunFolder(tmp_path / "killed", spec).rounds()))
    assert 0 < n_rounds[0] <= n_rounds[-1] < len(whole)
    assert without_times(run(spec, tmp_path / "killed")) == without_times(whole)


def test_test_data_steer_nothing(tmp_path, monkeypatch, digits):
    steers = ("initial", "queried", "scores", "epochs", "train_accuracy", "converged")
    spec = quick("margin")
    expected = run(spec, tmp_path / "a")
    other = digits._replace(test=digits.test.take(np.arange(20)))
    monkeypatch.setattr(
        "skdal.experiments._run.load", lambda *args: (other, "another test set")
    )
    found = run(spec, tmp_path / "b")
    assert [[r.get(k) for k in steers] for r in found] == [
        [r.get(k) for k in steers] for r in expected
    ]
    assert [r["accuracy"] for r in found] != [r["accuracy"] for r in expected]


def test_looks_at_the_test_set_change_nothing_else(tmp_path):
    seen = ("queried", "epochs", "accuracy", "macro_f1")
    often, never = (run(quick("margin", eval_every=n), tmp_path) for n in (1, 0))
    assert [[r[k] for k in seen] for r in often] == [
        [r[k] for k in seen] for r in never
    ]
    assert never[0]["optimistic_accuracy"] is never[0]["optimistic_epoch"] is None
    assert often[0]["optimistic_accuracy"] is not None


def test_samplers_do_not_see_labels_of_the_pool(tmp_path, monkeypatch):
    class Spy(RandomSampler):
        def _select(self, trained, X, n_instances, rng):
            assert all(isinstance(X[i], torch.Tensor) for i in range(5))
            return super()._select(trained, X, n_instances, rng)

    monkeypatch.setitem(SAMPLERS, "random", Spy)
    assert len(run(quick(n_rounds=1), tmp_path)) == 2


def test_the_stop_rule(tmp_path):
    easy = run(
        quick(
            n_rounds=0, training=Training(accuracy=0.0, n_epochs_above=3, max_epochs=9)
        ),
        tmp_path,
    )[0]
    assert (easy["epochs"], easy["converged"]) == (3, True)
    hard = run(
        quick(
            n_rounds=0, training=Training(accuracy=1.0, n_epochs_above=1, max_epochs=4)
        ),
        tmp_path,
    )[0]
    assert (hard["epochs"], hard["converged"]) == (4, False)


def test_warm_and_cold_starts(tmp_path):
    warm, cold = (
        run(quick(training=dataclasses.replace(QUICK, warm_start=is_warm)), tmp_path)
        for is_warm in (True, False)
    )
    assert warm[0]["accuracy"] == cold[0]["accuracy"]
    assert warm[0]["queried"] == cold[0]["queried"]
    assert warm[1]["train_accuracy"] > cold[1]["train_accuracy"]


def test_the_optimizer_is_rebuilt_or_kept(tmp_path):
    steps = {}
    for is_reset in (True, False):
        spec = quick(
            training=Training(
                accuracy=1.0, max_epochs=2, batch_size=20, reset_optimizer=is_reset
            )
        )
        for _ in range(2):
            with pytest.raises(Interrupt):
                run(spec, tmp_path, report=interrupt)
        state = RunFolder(tmp_path, spec).resume()[1]["optimizer"]["state"]
        steps[is_reset] = int(state[0]["step"])
    assert steps == {True: 2 * 3, False: 2 * 2 + 2 * 3}  # 40 labels, then 60


def test_the_last_query_takes_what_is_left(tmp_path):
    spec = quick(
        n_initial=1400,
        n_instances=30,
        n_rounds=5,
        last_round="partial",
        training=Training(max_epochs=1),
    )
    records = run(spec, tmp_path)
    assert [r["n_labeled"] for r in records] == [1400, 1430, 1438]
    assert [len(r["queried"]) for r in records] == [30, 8, 0]


BAD = {
    "too many labels": (
        quick(n_initial=1400),
        "1400 labels at the start and 2 rounds of 20 make 1440.*1438.*partial",
    ),
    "too many at the start": (quick(n_initial=1500, last_round="partial"), "1438"),
    "sampler": (
        quick("margni"),
        "'margni' is no sampler .did you mean 'margin'.*; known are .*badge",
    ),
    "parameters": (quick("margin", {"gamma": 1}), "sampler_params of margin.*gamma"),
    "parameter values": (quick("dynamical", {"update_size": 0}), "update_size must be"),
    "model": (
        dataclasses.replace(quick(), model="resnet"),
        "'resnet' is no model .did you mean 'resnet18'",
    ),
    "data": (
        dataclasses.replace(quick(), dataset="cifar"),
        "'cifar' is not a data set .did you mean 'cifar10'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_before_training(tmp_path, monkeypatch, name):
    spec, said = BAD[name]
    refuse_training(monkeypatch)
    with pytest.raises(InvalidParameterError, match=said):
        run(spec, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_data_are_not_downloaded(tmp_path):
    with pytest.raises(InvalidDataError, match="download=True"):
        run(
            dataclasses.replace(quick(), dataset="cifar10"),
            tmp_path / "runs",
            data_root=tmp_path,
        )


def test_other_data_under_the_same_name_are_refused(tmp_path):
    def write(shift):
        X, y = (
            np.random.default_rng(0).integers(0, 9, (60, 8, 8), dtype=np.uint8),
            np.arange(60) % 3,
        )
        np.savez(
            tmp_path / "mine.npz",
            X_train=X + np.uint8(shift),
            y_train=y,
            X_test=X,
            y_test=y,
        )

    spec = dataclasses.replace(quick(n_initial=20, n_instances=10), dataset="mine.npz")
    write(0)
    with pytest.raises(Interrupt):
        run(spec, tmp_path / "runs", data_root=tmp_path, report=interrupt)
    write(1)
    with pytest.raises(InvalidDataError, match="made with other data"):
        run(spec, tmp_path / "runs", data_root=tmp_path)


def test_a_run_in_use_is_refused(tmp_path):
    with (
        RunFolder(tmp_path, quick()).locked(),
        pytest.raises(RunInUseError, match="another process is busy"),
    ):
        run(quick(), tmp_path)


def test_peak_memory_is_that_of_the_block():
    peak = PeakMemory()
    with peak.measured("cpu"):
        held = np.ones(2**25)  # 256 MB
    del held
    large = peak.n_bytes
    with peak.measured("cpu"):
        pass
    assert large - peak.n_bytes > 2**27 or sys.platform != "linux"


def test_macro_f1_is_over_the_classes_of_the_test_set():
    class Net:
        def evaluation_step(self, batch, training):
            return torch.eye(3)[batch[1]]

    test = Images(np.zeros((4, 2, 2, 1), dtype=np.uint8), [0, 2, 2, 0])
    assert measure(Net(), test, 1) == (1, 1.0, 1.0)


def test_a_diverged_training_is_an_error(tmp_path):
    with pytest.raises(NonFiniteScoreError, match="diverged. Lower the learning rate"):
        run(quick(training=Training(lr=1e30, max_epochs=2)), tmp_path)


@pytest.mark.parametrize("changes", [{"device": "gpu"}, {"device": "cuda:99"}])
def test_a_device_that_is_not_there(tmp_path, changes):
    with pytest.raises(InvalidParameterError, match="on the device"):
        run(quick(), tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_sampler_that_does_not_fit_the_net_is_refused_before_training(
    tmp_path, monkeypatch
):
    refuse_training(monkeypatch)
    with pytest.raises(SkdalError, match="[Dd]ropout"):
        run(quick("mc_dropout"), tmp_path)


def test_data_that_were_replaced_are_loaded_anew(tmp_path):
    digests = []
    for shift in (0, 1):
        X, y = np.full((60, 8, 8), shift, dtype=np.uint8), np.arange(60) % 3
        np.savez(tmp_path / "mine.npz", X_train=X, y_train=y, X_test=X, y_test=y)
        digests.append(
            load(dataclasses.replace(quick(), dataset="mine.npz"), tmp_path)[1]
        )
    assert digests[0] != digests[1]


def test_no_training_step_sees_a_single_sample(tmp_path):
    """Batch normalization could not: 33 labels in mini-batches of 32."""
    spec = dataclasses.replace(quick(n_initial=33, n_rounds=0), model="resnet18")
    assert run(spec, tmp_path)[0]["n_labeled"] == 33


def test_scores_that_are_not_finite_are_null(tmp_path, monkeypatch):
    class Infinite(RandomSampler):
        def _select(self, trained, X, n_instances, rng):
            return np.arange(n_instances), np.array([np.inf, 1234.56789, np.nan])

    monkeypatch.setitem(SAMPLERS, "random", Infinite)
    run(quick(n_rounds=1, n_instances=3), tmp_path)
    assert RunFolder(tmp_path, quick(n_rounds=1, n_instances=3)).rounds()[0][
        "scores"
    ] == [None, 1234.57, None]


@pytest.mark.slow
def test_a_run_that_goes_on_with_other_threads_says_so(tmp_path, caplog):
    spec = quick(n_rounds=1)
    assert len(run(spec, tmp_path, n_records=1)) == 1
    assert len(run(spec, tmp_path, n_records=1)) == 1  # there is nothing to do
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert len(run(spec, tmp_path)) == 2
    finally:
        torch.set_num_threads(before)
    assert (
        f"goes on on cpu with {before + 1} threads, and began on cpu with {before}"
        in caplog.text
    )
