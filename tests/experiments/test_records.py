"""Many runs in one compressed file, and files and folders read alike."""

import json
import lzma
from pathlib import Path

import pytest
from experiments.helpers import fake_records, store

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.experiments import (
    SUITES,
    StoredRun,
    comparisons,
    read_records,
    write_records,
)

ROOT = Path(__file__).resolve().parents[2]
SUITE = SUITES["digits-quick"]


def made_up(label, seed, last=0.9):
    return StoredRun(SUITE.spec(label, seed), fake_records([0.5, 0.7, 0.8, 0.85, last]))


@pytest.fixture
def runs():
    return [made_up(label, seed) for label in ("random", "margin") for seed in (0, 1)]


def test_what_is_written_is_read(runs, tmp_path):
    write_records(tmp_path / "mine.runs.xz", runs)
    found = read_records(tmp_path / "mine.runs.xz")
    assert sorted(map(runs.index, found)) == [0, 1, 2, 3]
    assert read_records(tmp_path) == found
    assert comparisons(tmp_path / "mine.runs.xz")[0].labels == ["random", "margin"]


def test_the_order_of_runs_is_no_part_of_the_file(runs, tmp_path):
    for name, some in (("one", runs), ("other", runs[::-1])):
        write_records(tmp_path / f"{name}.runs.xz", some)
    one, other = (
        tmp_path.joinpath(f"{n}.runs.xz").read_bytes() for n in ("one", "other")
    )
    assert one == other


def test_files_and_folders_are_read_together_and_no_run_twice(runs, tmp_path):
    write_records(tmp_path / "mine.runs.xz", runs)
    store(tmp_path, runs[0].spec, [0.5, 0.7, 0.8, 0.85, 0.9])
    store(tmp_path, SUITE.spec("badge", 0), [0.6, 0.7])
    found = {run.spec: run for run in read_records(tmp_path)}
    assert len(read_records(tmp_path)) == len(found) == 5
    assert [r["accuracy"] for r in found[SUITE.spec("badge", 0)].records] == [0.6, 0.7]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xz",
        lzma.compress(b"{}"),
        lzma.compress(b"[1, 2"),
        lzma.compress(b'{"spec": {"dataset": 1}, "rounds": []}'),
        lzma.compress(b"\xff"),
    ],
)
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "mine.runs.xz").write_bytes(content)
    with pytest.raises(InvalidDataError, match="mine.runs.xz"):
        read_records(tmp_path)


def test_another_ending_is_refused(runs, tmp_path):
    with pytest.raises(InvalidParameterError, match="mine.xz"):
        write_records(tmp_path / "mine.xz", runs)
    assert list(tmp_path.iterdir()) == []


def test_our_records_are_small_and_whole():
    files = sorted((ROOT / "docs" / "results" / "records").iterdir())
    assert {file.name.removesuffix(".runs.xz") for file in files} <= set(SUITES)
    assert max(file.stat().st_size for file in files) <= 2**20
    assert sum(len(read_records(file)) for file in files) == 116
    first = lzma.decompress(files[0].read_bytes()).decode().splitlines()[0]
    assert set(json.loads(first)) == {"spec", "rounds"}
