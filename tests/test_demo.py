"""The demonstration on digits: a fair comparison, figures, and nothing of the caller's changed."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from skdal import demo
from skdal.demo import SAMPLERS, DemoResult, DemoSettings
from skdal.exceptions import InvalidParameterError
from skdal.utils import prepare_folder

SETTINGS = DemoSettings(n_seeds=2, n_rounds=2, n_instances=20, n_initial=30)


@pytest.fixture(scope="module")
def result():
    return demo.run_demo(SETTINGS)


@pytest.fixture
def made_up():
    """A result of known numbers: dynamicAL is one point above margin and two above random."""
    start = np.array([[0.50, 0.80], [0.60, 0.90]])
    accuracy = {
        "dynamicAL": start,
        "margin": start - [0, 0.01],
        "random": start - [0, 0.02],
    }
    seconds = {name: np.full((2, 1), 0.125) for name in SAMPLERS}
    rng = np.random.default_rng(0)
    query = {
        "images": rng.random((40, 8, 8)),
        "scores": np.linspace(2000, -3, 40),
        "predicted": np.arange(40) % 10,
        "true": np.r_[5, np.arange(1, 40) % 10],
        "n_labeled": 30,
    }
    return DemoResult(DemoSettings(2, 1, 20, 30), accuracy, seconds, query)


# --- the comparison ---------------------------------------------------------------------------------


def test_every_sampler_starts_from_the_same_labels_and_weights(result):
    starts = np.array([result.accuracy[name][:, 0] for name in SAMPLERS])
    assert (starts == starts[0]).all()
    assert starts[0, 0] != starts[0, 1]  # and the seeds differ


def test_samplers_part_after_the_first_query(result):
    dynamical, margin, random = (
        result.accuracy[name][:, 1:].tolist() for name in SAMPLERS
    )
    assert dynamical != margin != random != dynamical


def test_the_result_covers_all_seeds_and_rounds(result):
    assert SETTINGS.n_labeled.tolist() == [30, 50, 70]
    for name in SAMPLERS:
        assert result.accuracy[name].shape == (2, 3)
        assert (result.accuracy[name] > 0.3).all()
        assert (result.accuracy[name] <= 1).all()
        assert result.seconds[name].shape == (2, 2)
        assert (result.seconds[name] > 0).all()


def test_the_query_shown_is_the_last_one_over_its_whole_pool(result):
    query = result.query
    assert query["n_labeled"] == 50
    assert (
        len(query["scores"])
        == len(query["images"])
        == len(query["predicted"])
        == 1797 - demo.N_TEST - 50
    )
    assert (np.diff(query["scores"]) <= 0).all()


def test_a_run_repeats_and_test_labels_steer_nothing(result, monkeypatch):
    X, X_test, y, y_test = demo._digits()
    monkeypatch.setattr(demo, "_digits", lambda: (X, X_test, y, np.roll(y_test, 1)))
    one_seed = DemoSettings(1, 2, 20, 30)
    again = demo.run_demo(one_seed)
    assert (again.query["scores"] == result.query["scores"]).all()
    assert (again.query["images"] == result.query["images"]).all()
    assert (again.accuracy["dynamicAL"] != result.accuracy["dynamicAL"][:1]).all()


def test_the_test_digits_are_not_in_the_pool():
    X, X_test, *_ = demo._digits()
    assert (len(X), len(X_test)) == (1297, 500)
    assert not {x.tobytes() for x in X} & {x.tobytes() for x in X_test}


def test_threads_and_generators_are_as_found():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        demo.run_demo(DemoSettings(1, 1, 5, 20))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("target", [-1, 0.4, 2])
def test_training_ends_at_the_accuracy_or_at_the_last_epoch(target):
    X, _, y, _ = demo._digits()
    torch.manual_seed(0)
    net = demo.make_net().set_params(max_epochs=12)
    net.target_accuracy = target
    reached = [
        accuracy > target
        for accuracy in net.fit(X[:100], y[:100]).history[:, "train_acc"]
    ]
    assert not any(reached[:-1])
    assert len(reached) == 12 if target == 2 else reached[-1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (DemoSettings(5, 30, 50, 50), "make 1550; with 1297 digits"),
        (DemoSettings(5, 1, 1, 1290), "at most 1273"),
        (DemoSettings(0, 6, 50, 50), "at least 1"),
        (DemoSettings(5, 6, 50, -1), "n_initial=-1"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(InvalidParameterError, match=said):
        demo.run_demo(settings)


# --- table, figures, folder -------------------------------------------------------------------------


def test_table(made_up):
    lines = [line.split() for line in demo.format_table(made_up).splitlines()]
    assert lines[2] == ["labels", "dynamicAL", "margin", "random"]
    assert lines[3] == ["30"] + ["55.0", "(5.0)"] * 3
    assert lines[4] == ["50", "85.0", "(5.0)", "84.0", "(5.0)", "83.0", "(5.0)"]
    assert lines[5] == ["seconds", "a", "query"] + ["0.125"] * 3
    assert lines[-2][-3:] == ["+1.0", "(0.0)", "points"]
    assert lines[-1][-3:] == ["+2.0", "(0.0)", "points"]


def test_table_says_so_where_dynamical_is_behind(made_up):
    made_up.accuracy["random"][:, 1] += 0.05
    assert demo.format_table(made_up).splitlines()[-1].endswith("-3.0 (0.0) points")


def test_table_of_one_seed_has_no_standard_error(made_up):
    accuracy = {name: values[:1] for name, values in made_up.accuracy.items()}
    table = demo.format_table(
        DemoResult(DemoSettings(1, 1, 20, 30), accuracy, made_up.seconds, made_up.query)
    )
    assert "one seed" in table
    assert "nan" not in table
    assert "(" not in table


def test_learning_curve_has_means_bands_and_labelled_axes(made_up):
    (axes,) = demo.draw_learning_curve(made_up).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert np.allclose(lines["dynamicAL"], [[30, 55], [50, 85]])
    assert np.allclose(lines["random"], [[30, 55], [50, 83]])
    band = axes.collections[-1].get_paths()[0].vertices  # dynamicAL is drawn last
    assert np.allclose([band[:, 1].min(), band[:, 1].max()], [50, 90])
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(SAMPLERS)


def test_picture_of_the_query_shows_both_ends_with_scores(made_up):
    axes = demo.draw_query(made_up.query).axes
    titles = [one.get_title() for one in axes]
    assert len(titles) == 2 * demo.N_SHOWN
    assert titles[0] == "2,000\nnet: 0, true: 5"
    assert titles[demo.N_SHOWN] == "-3\nnet: 9"
    assert (axes[0].images[0].get_array() == made_up.query["images"][0]).all()
    assert (
        axes[demo.N_SHOWN].images[0].get_array() == made_up.query["images"][-1]
    ).all()


def test_figures_replace_old_ones_and_leave_pyplot_alone(made_up, tmp_path):
    (tmp_path / "queries.png").write_text("old")
    open_before = plt.get_fignums()
    paths = demo.write_figures(made_up, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "learning_curve.png",
        "queries.png",
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
