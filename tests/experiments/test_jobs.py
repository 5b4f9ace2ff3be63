"""Several runs at once: failures stay with their run, and no run is done twice."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from experiments.helpers import quick, without_times

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.experiments import RunFolder, run, run_all, run_suite


def test_a_run_in_a_process_of_its_own(tmp_path):
    spec = quick(n_rounds=0)
    assert run_all([spec], tmp_path / "jobs", n_jobs=2).done == [spec]
    (found,) = RunFolder(tmp_path / "jobs", spec).rounds()
    (expected,) = run(spec, tmp_path / "here")
    assert found["initial"] == expected["initial"]
    assert found["n_labeled"] == expected["n_labeled"]


@pytest.mark.slow
def test_runs_at_once_are_as_one_after_the_other(tmp_path):
    specs = [
        quick(key, seed=seed, n_rounds=1)
        for key in ("margin", "badge")
        for seed in (0, 1)
    ]
    heard = []
    ended = run_all(
        specs,
        tmp_path / "jobs",
        n_jobs=2,
        report=lambda spec, record: heard.append((spec, record)),
    )
    assert sorted(map(specs.index, ended.done)) == [0, 1, 2, 3]
    assert (ended.failed, ended.in_use) == ([], [])
    n_threads = {record["threads"] for _, record in heard if record is not None}
    assert n_threads == {max(1, os.cpu_count() // 2)}
    for spec in specs:
        assert [r["round"] for s, r in heard if s == spec and r is not None] == [0, 1]
        assert heard.count((spec, None)) == 1
        if n_threads == {1}:
            expected = run(spec, tmp_path / "one", report=None)
            found = RunFolder(tmp_path / "jobs", spec).rounds()
            assert [r["queried"] for r in found] == [r["queried"] for r in expected]


@pytest.mark.slow
def test_a_failed_run_is_recorded_and_the_others_go_on(tmp_path):
    bad, good = (
        quick("mc_dropout", n_rounds=1),
        quick(n_rounds=1),
    )  # the net has no dropout
    ended = run_all([bad, good], tmp_path)
    assert ended.done == [good]
    ((spec, why),) = ended.failed
    assert spec == bad
    assert "Traceback" in why
    assert RunFolder(tmp_path, bad).failure == why
    assert RunFolder(tmp_path, good).failure is None


@pytest.mark.slow
def test_a_failure_is_forgotten_when_the_run_succeeds(tmp_path):
    RunFolder(tmp_path, quick(n_rounds=0)).fail("out of memory")
    run(quick(n_rounds=0), tmp_path)
    assert RunFolder(tmp_path, quick(n_rounds=0)).failure is None


@pytest.mark.slow
def test_a_process_that_dies_fails_its_run_alone(tmp_path):
    """A worker is killed as soon as there is a round; another takes its place."""
    specs = [quick(seed=seed, n_rounds=4) for seed in (0, 1, 2)]
    killed = []

    def kill(spec, record):
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    ended = run_all(specs, tmp_path, n_jobs=2, report=kill)
    ((spec, why),) = ended.failed
    assert "-9" in why
    assert RunFolder(tmp_path, spec).failure == why
    assert set(ended.done) == set(specs) - {spec}
    assert run_all(specs, tmp_path).failed == []
    assert RunFolder(tmp_path, spec).failure is None


@pytest.mark.slow
def test_two_processes_never_do_the_same_run(tmp_path):
    specs = [quick(seed=seed, n_rounds=1) for seed in range(3)]
    with RunFolder(tmp_path, specs[1]).locked():
        ended = run_all(specs, tmp_path)
    assert ended.in_use == [specs[1]]
    assert ended.done == [specs[0], specs[2]]


def _run_all(specs, root):
    run_all(specs, root, n_jobs=2)


@pytest.mark.slow
def test_runs_end_with_the_process_that_waits_for_them(tmp_path):
    specs = [quick("dynamical", seed=seed, n_rounds=8) for seed in range(20)]
    parent = multiprocessing.get_context("spawn").Process(
        target=_run_all, args=(specs, tmp_path)
    )
    parent.start()
    log = RunFolder(tmp_path, specs[0]).path / "rounds.jsonl"
    deadline = time.time() + 120
    while not log.exists() and time.time() < deadline:
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    deadline = time.time() + 30
    while time.time() < deadline:
        with RunFolder(tmp_path, specs[0]).locked() as is_free:
            if is_free:
                break
        time.sleep(0.2)
    assert is_free
    n_rounds = len(RunFolder(tmp_path, specs[0]).rounds())
    time.sleep(1)
    assert len(RunFolder(tmp_path, specs[0]).rounds()) == n_rounds
    assert not RunFolder(tmp_path, specs[2]).path.exists()


@pytest.mark.slow
def test_a_suite_goes_on_where_it_was_left(tmp_path, capsys):
    few = {"labels": ["random"], "n_rounds": 1}
    first = run_suite("digits-quick", tmp_path, n_seeds=1, **few)
    records = RunFolder(tmp_path, first.done[0]).rounds()
    ended = run_suite("digits-quick", tmp_path, n_seeds=2, verbose=1, **few)
    assert [spec.seed for spec in ended.done] == [0, 1]
    assert RunFolder(tmp_path, first.done[0]).rounds() == records
    shown = capsys.readouterr().err
    assert "runs 1/2, rounds 2/4" in shown
    assert "runs 2/2, rounds 4/4" in shown
    assert "left" in shown


@pytest.mark.slow
def test_finished_runs_are_of_this_spec_and_these_data(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8), dtype=np.uint8)
    parts = {
        f"{name}_{part}": x
        for part in ("train", "test")
        for name, x in (("X", images), ("y", np.arange(80) % 4))
    }
    np.savez(tmp_path / "mine.npz", **parts)
    how = {
        "labels": ["random"],
        "n_seeds": 1,
        "n_rounds": 1,
        "n_initial": 20,
        "n_instances": 10,
    }

    def run():
        return run_suite(
            "digits-quick",
            tmp_path / "runs",
            dataset="mine.npz",
            data_root=tmp_path,
            **how,
        )

    file = RunFolder(tmp_path / "runs", run().done[0]).path / "spec.json"
    text = file.read_text()
    file.write_text("")
    run()
    assert file.read_text() == text
    file.write_text(text.replace('"seed":0', '"seed":1'))
    with pytest.raises(InvalidDataError, match="holds another run"):
        run()
    file.write_text(text)
    np.savez(tmp_path / "mine.npz", **parts | {"X_train": images[::-1]})
    with pytest.raises(InvalidDataError, match="were made with other data"):
        run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "error", "said"),
    [
        (
            "digit-quick",
            {},
            InvalidParameterError,
            "'digit-quick' is no suite .did you mean 'digits-quick'",
        ),
        (
            "digits-quick",
            {"labels": ["bagde"]},
            InvalidParameterError,
            "no sampler of digits-quick .*'badge'",
        ),
        (
            "digits-quick",
            {"n_initial": 1300},
            InvalidParameterError,
            "make 1500; the pool of digits has 1438",
        ),
        (
            "digits-quick",
            {"model": "cnn"},
            InvalidParameterError,
            "cnn does not work with the images of digits.*8, 8, 1",
        ),
        (
            "digits-quick",
            {"device": "gpu"},
            InvalidParameterError,
            "on the device gpu.*torch said",
        ),
        (
            "digits-quick",
            {"model": "cnn5"},
            InvalidParameterError,
            "'cnn5' is no model .did you mean 'cnn'",
        ),
        ("table3", {}, InvalidDataError, "CIFAR10 is not in .*download=True"),
        (
            "table3",
            {"dataset": "other.npz"},
            InvalidDataError,
            "there is no file other.npz",
        ),
    ],
)
def test_a_suite_that_cannot_be_run_is_refused_before_any_training(
    tmp_path, name, changes, error, said
):
    with pytest.raises(error, match=said):
        run_suite(name, tmp_path / "runs", data_root=tmp_path, **changes)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_an_outcome_has_the_records_of_the_run(tmp_path):
    spec, heard = quick(n_rounds=1), []
    ended = run_all([spec], tmp_path, report=lambda _, record: heard.append(record))
    assert ended.done == [spec]
    assert heard.pop() is None  # the run has ended
    assert without_times(heard) == without_times(RunFolder(tmp_path, spec).rounds())


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from experiments.helpers import quick\nfrom skdal.experiments import run_all\n"
        f"ended = run_all([quick(seed=s) for s in (0, 1)], {str(tmp_path)!r}, n_jobs=2)\n"
        "assert len(ended.done) == 2, ended\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_ends_the_runs_and_says_so_once(tmp_path):
    """The terminal sends it to all processes; only the one that waits may answer."""
    script = tmp_path / "script.py"
    script.write_text(
        "from experiments.helpers import quick\nfrom skdal.experiments import run_all\n"
        "specs = [quick('dynamical', seed=seed, n_rounds=8) for seed in range(20)]\n"
        f"run_all(specs, {str(tmp_path / 'runs')!r}, n_jobs=2)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    asked = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.time() + 120
    while not list(tmp_path.glob("runs/*/rounds.jsonl")) and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(asked.pid, signal.SIGINT)
    _, errors = asked.communicate(timeout=60)
    assert errors.count("KeyboardInterrupt") == 1, errors
    begun = list(tmp_path.glob("runs/*/rounds.jsonl"))
    sizes = [file.stat().st_size for file in begun]
    time.sleep(1)
    assert [file.stat().st_size for file in begun] == sizes


@pytest.mark.slow
def test_a_full_disk_fails_a_run_and_not_the_others(tmp_path, monkeypatch):
    """Nothing of the run can be written, not even why it failed; what was written in part is
    gone."""
    bad, good = quick(n_rounds=0), quick(n_rounds=0, seed=1)

    def full(self, *args):
        if self.spec == bad:
            raise OSError(28, "No space left on device")
        return stored(self, *args)

    stored = RunFolder.append
    monkeypatch.setattr(RunFolder, "append", full)
    monkeypatch.setattr(RunFolder, "fail", full)
    ended = run_all([bad, good], tmp_path)
    assert ended.done == [good]
    assert "No space left on device, as this was to be stored in" in ended.failed[0][1]


@pytest.mark.slow
def test_what_is_written_in_part_is_removed(tmp_path):
    from skdal.utils import write_atomically

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "kept").write_text("before")
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "kept", fail)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("kept", "before")]
