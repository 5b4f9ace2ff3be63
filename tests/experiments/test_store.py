"""A run's folder: nothing is lost or mixed up, whenever the process dies."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from skdal.exceptions import InvalidDataError
from skdal.experiments import RunFolder, RunSpec

SPEC = RunSpec("digits", "cnn", "random", n_rounds=3)


def record(i):
    measured = {
        "accuracy": 0.1 * i,
        "macro_f1": 0.1,
        "optimistic_accuracy": None,
        "converged": True,
        "data": "0",
    }
    return {
        "round": i,
        "n_labeled": 2 * i,
        "queried": [i, i + 1],
        "train_seconds": 1.0,
        "query_seconds": None,
    } | measured


def state(i):
    return {"net": {"weight": torch.full((2, 3), float(i))}, "n": i}


@pytest.fixture
def folder(tmp_path):
    found = RunFolder(tmp_path, SPEC)
    with found.locked() as is_mine:
        assert is_mine
        yield found


def log_of(folder):
    return folder.path / "rounds.jsonl"


def test_a_run(folder):
    assert folder.resume() == ([], None)
    for i in range(3):
        folder.append(record(i), state(i))
    rounds, held = folder.resume()
    assert rounds == [record(i) for i in range(3)]
    assert held["n"] == 2
    assert torch.equal(held["net"]["weight"], state(2)["net"]["weight"])
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "checkpoint.pt",
        "lock",
        "rounds.jsonl",
        "spec.json",
    ]
    assert RunSpec.from_json((folder.path / "spec.json").read_text()) == SPEC


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_was_cut_off(folder, cut):
    for i in range(2):
        folder.append(record(i), state(i))
    text = log_of(folder).read_bytes()
    log_of(folder).write_bytes(text[:-cut])
    assert folder.rounds() == [record(0)]
    assert folder.resume()[0] == [record(0), record(1)]
    assert log_of(folder).read_bytes() == text


def test_a_log_behind_its_checkpoint(folder):
    folder.append(record(0), state(0))
    text = log_of(folder).read_bytes()
    folder.append(record(1), state(1))
    log_of(folder).write_bytes(text)
    assert folder.resume()[0] == [record(0), record(1)]


def test_an_unfinished_checkpoint_is_as_none(folder):
    folder.append(record(0), state(0))
    (folder.path / ".checkpoint.pt.1.unfinished").write_bytes(b"half of it")
    assert folder.resume()[1]["n"] == 0


DAMAGE = {
    "no JSON": (
        lambda lines: [lines[0], b"{broken", lines[2]],
        "line 2, is not the record of round 1: .*broken",
    ),
    "another round": (
        lambda lines: [lines[0], lines[2], lines[2]],
        "line 2, is not the record of round 1",
    ),
    "a line is missing": (
        lambda lines: lines[:1],
        "has 1 rounds, and the checkpoint beside it is of 3",
    ),
    "no object": (lambda lines: [b"3", *lines[1:]], "line 1"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_anything_worse_is_reported_and_nothing_is_overwritten(folder, kind):
    damage, words = DAMAGE[kind]
    for i in range(3):
        folder.append(record(i), state(i))
    text = b"\n".join(damage(log_of(folder).read_bytes().split(b"\n")[:3])) + b"\n"
    log_of(folder).write_bytes(text)
    with pytest.raises(InvalidDataError, match=f"(?s){words}.*Nothing was"):
        folder.resume()
    assert log_of(folder).read_bytes() == text


def test_a_lost_checkpoint_is_reported(folder):
    folder.append(record(0), state(0))
    (folder.path / "checkpoint.pt").unlink()
    with pytest.raises(
        InvalidDataError, match="has 1 rounds, and the checkpoint beside it is of 0"
    ):
        folder.resume()


def test_another_spec_is_refused_with_both_shown(tmp_path, folder):
    other = SPEC.to_json().replace('"n_rounds":3', '"n_rounds":4')
    (folder.path / "spec.json").write_text(other)
    again = RunFolder(tmp_path, SPEC)
    again._lock_name = "other"
    folder_lock = folder.path / "lock"
    folder_lock.unlink()  # the fixture holds the old one
    with (
        pytest.raises(InvalidDataError, match='(?s)"n_rounds":4.*"n_rounds":3'),
        again.locked(),
    ):
        pass
    assert (folder.path / "spec.json").read_text() == other


@pytest.mark.slow
def test_two_processes_never_hold_the_same_run(tmp_path, folder):
    code = (
        "import sys; from skdal.experiments import RunFolder, RunSpec\n"
        f"with RunFolder({str(tmp_path)!r}, RunSpec.from_json({SPEC.to_json()!r})).locked() as "
        "mine: print(mine)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_failure(folder):
    assert folder.failure is None
    folder.fail("Traceback: broken")
    assert folder.failure == "Traceback: broken"
    folder.clear_failure()
    assert folder.failure is None


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from experiments.test_store import SPEC, record, state
from skdal.experiments import RunFolder
folder = RunFolder({root!r}, SPEC)
with folder.locked() as mine:
    assert mine
    rounds, held = folder.resume()
    assert held is None or held["n"] == len(rounds) - 1
    print("started", flush=True)
    for i in range(len(rounds), 400):
        folder.append(record(i), state(i))
"""


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path):
    """What the next process finds is always whole, goes on from there, and gets to the end."""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code, seen = WRITER.format(tests=tests, root=str(tmp_path)), []
    for delay in (0.0, 0.003, 0.01, 0.03, 0.1, 0.2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"started\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        folder = RunFolder(tmp_path, SPEC)
        with folder.locked() as is_mine:
            assert is_mine
            rounds, _ = folder.resume()
        assert rounds == [record(i) for i in range(len(rounds))]
        seen.append(len(rounds))
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 half a file"])
def test_a_damaged_checkpoint_is_named(folder, content):
    folder.append(record(0), state(0))
    (folder.path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(
        InvalidDataError, match=r"checkpoint\.pt is damaged .*Nothing was changed"
    ):
        folder.resume()
    assert (folder.path / "checkpoint.pt").read_bytes() == content


def test_a_checkpoint_of_something_else_is_named(folder):
    torch.save({"other": 1}, folder.path / "checkpoint.pt")
    with pytest.raises(InvalidDataError, match=r"checkpoint\.pt is damaged .KeyError"):
        folder.resume()


def test_what_a_killed_process_left_is_removed(tmp_path):
    path = RunFolder(tmp_path, SPEC).path
    path.mkdir()
    (path / ".checkpoint.pt.1.unfinished").write_bytes(b"half of it")
    with RunFolder(tmp_path, SPEC).locked():
        assert not (path / ".checkpoint.pt.1.unfinished").exists()
