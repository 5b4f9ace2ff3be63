"""The demonstration on digits: a suite, its table and its two figures, and nothing of the caller's
changed."""

import numpy as np
import pytest
import torch
from experiments.helpers import fake_records, refuse_training
from matplotlib import pyplot as plt

from skdal.exceptions import InvalidParameterError, SkdalError
from skdal.experiments import (
    SUITES,
    Ended,
    NextQuery,
    RunFolder,
    StoredRun,
    comparison_of,
    draw_query,
    format_demo,
    load,
    next_query,
    run_demo,
)
from skdal.utils import prepare_folder

SUITE = SUITES["digits-quick"]
SMALL = {"n_seeds": 1, "n_rounds": 1, "n_instances": 5, "n_initial": 30}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of a small demonstration, its text and its figures."""
    folder = tmp_path_factory.mktemp("demo")
    text, paths = run_demo(folder, **SMALL)
    return folder, text, paths


@pytest.fixture
def made_up():
    """A comparison of known numbers: dynamicAL is one point above margin and two above random."""
    lead = {"random": 0.02, "margin": 0.01, "badge": 0.0, "dynamical": 0.0}
    stored = [
        StoredRun(SUITE.spec(label, seed), fake_records([start, start + 0.3 - less]))
        for label, less in lead.items()
        for seed, start in enumerate((0.5, 0.6))
    ]
    return comparison_of(SUITE, stored)


@pytest.fixture
def query():
    """Forty images; the net is wrong about the first."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    predicted = np.arange(40) % 10
    true = np.r_[5, predicted[1:]]
    return NextQuery(images, np.linspace(2000, -3, 40), predicted, true, 30)


def spec_of(label, seed=0):
    sizes = {name: value for name, value in SMALL.items() if name != "n_seeds"}
    return SUITE.spec(label, seed, **sizes)


def test_all_samplers_of_the_suite_are_compared_at_the_sizes_asked_for(shown):
    folder, text, _ = shown
    rows = [line.split() for line in text.splitlines() if line.startswith("|")]
    assert [word for word in rows[0] if word != "|"] == ["labels", *SUITE.variants]
    assert [row[1] for row in rows[2:]] == ["30", "35"]
    for label in SUITE.variants:
        assert len(RunFolder(folder / "runs", spec_of(label)).rounds()) == 2


def test_what_is_there_is_not_done_again(shown, monkeypatch):
    folder, text, paths = shown
    before = [path.read_bytes() for path in paths]
    refuse_training(monkeypatch)
    assert run_demo(folder, **SMALL) == (text, paths)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.slow
def test_other_runs_in_the_folder_are_left_out(shown):
    folder, text, _ = shown
    two_seeds, _ = run_demo(folder, **SMALL | {"n_seeds": 2})
    assert two_seeds != text
    assert run_demo(folder, **SMALL)[0] == text


def test_the_next_query_is_of_the_last_net_and_the_whole_pool(shown):
    folder, _, _ = shown
    spec = spec_of("dynamical")
    found = next_query(spec, folder / "runs")
    records = RunFolder(folder / "runs", spec).rounds()
    pool = load(spec)[0].train
    assert found.n_labeled == records[-1]["n_labeled"] == 35
    assert len(found.scores) == len(found.images) == len(pool) - 35
    assert (np.diff(found.scores) <= 0).all()
    labeled = records[0]["initial"] + records[0]["queried"]
    rest = np.setdiff1d(np.arange(len(pool)), labeled)
    assert sorted(x.tobytes() for x in found.images) == sorted(
        x.tobytes() for x in pool.images[rest]
    )
    # Most of the labeled digits alone: the net that is read back knows more than one that guesses.
    assert np.mean(found.predicted == found.true) > 0.3


@pytest.mark.slow
def test_threads_and_generators_are_as_found(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        run_demo(tmp_path, **SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"n_rounds": 5}, "n_rounds must be from 1 to 4.*got 5"),
        ({"n_initial": 1290}, "make 1490; the pool of digits has 1438"),
        ({"n_initial": -1}, "n_initial.*got -1"),
        ({"n_seeds": 0}, "seed.*got.*0"),
    ],
)
def test_impossible_sizes_are_refused_before_any_training(sizes, said, tmp_path):
    with pytest.raises(InvalidParameterError, match=said):
        run_demo(tmp_path / "new", **sizes)
    assert not (tmp_path / "new" / "runs").exists()


def test_a_run_that_failed_is_said(tmp_path, monkeypatch):
    ended = Ended([], [(spec_of("random"), "Traceback: it broke")], [])
    monkeypatch.setattr(
        "skdal.experiments._demo.run_suite", lambda *args, **kwargs: ended
    )
    with pytest.raises(SkdalError, match="(?s)1 runs in .*it broke"):
        run_demo(tmp_path)


# --- table, figures, folder
# -------------------------------------------------------------------------


def test_text_has_accuracies_seconds_and_paired_differences(made_up):
    lines = format_demo(made_up).splitlines()
    assert "| 100      | 83.00 ± 7.07 | 84.00 ± 7.07 | 85.00 ± 7.07" in "\n".join(lines)
    assert "random 0.50, margin 0.50, badge 0.50, dynamical 0.50" in "\n".join(lines)
    # The curves have two points, so their mean height differs by half of what their last points do.
    assert lines[-3].startswith("dynamical minus random")
    assert lines[-3].endswith("+1.0 points")
    assert lines[-2].endswith("+0.5 points")


def test_text_says_so_where_dynamical_is_behind(made_up):
    for records in made_up.runs["margin"].values():
        records[1]["accuracy"] += 0.05
    assert "minus margin, mean of the curve: -2.0 points" in format_demo(made_up)


def test_picture_of_the_query_shows_both_ends_with_scores(query):
    panels = draw_query(query).axes
    titles = [axes.get_title() for axes in panels]
    assert len(titles) == 24
    assert titles[0] == "2,000\nnet: 0, true: 5"
    assert titles[12] == "-3\nnet: 9"
    assert (panels[0].images[0].get_array() == query.images[0, ..., 0]).all()
    assert (panels[12].images[0].get_array() == query.images[-1, ..., 0]).all()


def test_figures_replace_old_ones_and_leave_pyplot_alone(shown):
    folder, _, paths = shown
    assert paths == [folder / "learning_curve.png", folder / "queries.png"]
    (folder / "queries.png").write_text("old")
    open_before = plt.get_fignums()
    run_demo(folder, **SMALL)
    assert sorted(path.name for path in folder.iterdir()) == [
        "learning_curve.png",
        "queries.png",
        "runs",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert plt.get_fignums() == open_before


def test_folder_is_made_and_left_empty(tmp_path):
    folder = prepare_folder(tmp_path / "a" / "b")
    assert list(folder.iterdir()) == []


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InvalidParameterError, match="cannot write into the folder .*file"
    ):
        prepare_folder(tmp_path / "file")
