"""The verification experiments, on small data: numbers against the functions they are made of,
going on, errors."""

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy.stats import kendalltau

from skdal.datasets import load_dataset
from skdal.dynamics import (
    alignment,
    approximation_ratio,
    convergence_error,
    generalization_bound,
    infinite_ntk,
    mmd_squared,
    mse_training_dynamics,
)
from skdal.exceptions import (
    IllConditionedWarning,
    InvalidDataError,
    InvalidParameterError,
    NonFiniteScoreError,
)
from skdal.experiments import RunSpec, Training, make_net, run, train_until_learned
from skdal.experiments.theory import (
    PREDICTIONS,
    QUICK,
    THEORY,
    DiscrepancyRow,
    KernelMeasures,
    TheorySettings,
    _discrepancy,
    _ratio,
    kernel_images,
    rank_correlations,
    result_file,
    run_theory,
    stored_results,
)

SMALL = dataclasses.replace(
    QUICK,
    pixels=4,
    n_initial=30,
    n_query=10,
    n_draws=12,
    n_candidates=40,
    budget=16,
    batches=(4, 16),
    epochs=(0, 3),
    models=("digits_cnn",),
    n_ratio_draws=5,
)
DIGITS = load_dataset("digits").train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of all experiments, each done once."""
    root = tmp_path_factory.mktemp("theory")
    for name in THEORY:
        run_theory(name, root, SMALL)
    return root


def of(name, found):
    """Return what JSON holds as the result of an experiment."""
    return THEORY[name].experiment.RESULT.from_json({"orders": {}} | found)


def result(folder, name):
    return json.loads(result_file(THEORY[name], folder, SMALL).read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", THEORY)
def test_a_table_and_a_figure(folder, name, monkeypatch):
    monkeypatch.setattr(THEORY[name].experiment, "compute", None)  # it is there already
    text, paths = run_theory(name, folder, SMALL)
    assert text.startswith(f"## {THEORY[name].title}")
    assert "pixels = 4" in text or name == "fig4"
    assert "paper" in text
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert all(path.stat().st_size > 5_000 for path in paths)
    for style, mark in (("rst", "====="), ("latex", r"\begin{tabular}")):
        text = run_theory(name, folder, SMALL, style=style)[0]
        assert mark in text
        assert not re.search("^#|±" if style == "latex" else "^#", text)


@pytest.mark.slow
def test_one_computation_serves_several_figures(folder):
    assert len(list(folder.glob("*.json"))) == 3


@pytest.mark.slow
def test_correlations(folder):
    found = result(folder, "fig2")["raw"]
    dynamics = {key: np.array(values) for key, values in found["dynamics"].items()}
    assert all(len(values) == 12 for values in dynamics.values())
    np.testing.assert_allclose(dynamics["zero, true"], found["alignment"], rtol=1e-9)
    assert np.abs(dynamics["kernel, pseudo"]).max() < 1e-9 * np.max(found["alignment"])
    taus = rank_correlations(KernelMeasures(**found), "alignment")
    assert taus["zero, true"][0] == pytest.approx(1)
    assert np.isnan(taus["kernel, pseudo"][0])
    assert np.isnan(taus["net, pseudo"][0])
    expected = kendalltau(dynamics["net, true"], found["bound"])
    assert rank_correlations(KernelMeasures(**found), "bound")[
        "net, true"
    ] == pytest.approx(tuple(expected))


@pytest.mark.slow
def test_the_first_draw_by_hand(folder):
    found, spec = (
        result(folder, "fig2"),
        RunSpec("digits", "cnn_gap", "random", n_initial=30, n_rounds=1),
    )
    initial = np.random.default_rng(spec.seed_of("initial")).choice(
        len(DIGITS), 30, replace=False
    )
    rng = np.random.default_rng([0, 2])
    candidates = rng.choice(
        np.setdiff1d(np.arange(len(DIGITS)), initial), 40, replace=False
    )
    drawn = np.concatenate([initial, candidates[rng.choice(40, 10, replace=False)]])
    theta = infinite_ntk(kernel_images(DIGITS, drawn, 4), kind="conv", depth=3)
    Y = np.eye(10)[DIGITS.targets[drawn]]
    lengths = np.sqrt(np.diag(theta))
    largest = result(folder, "fig2")["kernel"]["eigenvalues"][1]
    for name, kernel in (
        ("raw", theta),
        ("unit diagonal", theta / np.outer(lengths, lengths)),
    ):
        assert found[name]["alignment"][0] == pytest.approx(
            alignment(kernel, Y), rel=1e-9
        )
        assert found[name]["bound"][0] == pytest.approx(
            generalization_bound(kernel, Y), rel=1e-6
        )
        assert found[name]["trace"][0] == pytest.approx(
            np.trace(kernel[30:, 30:]), rel=1e-9
        )
    expected = convergence_error(theta, Y, t=100, learning_rate=1 / largest)
    assert found["raw"]["error"]["100"][0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_labels_by_chance_are_a_control(folder):
    """Of labels that have nothing to do with the images; here with the first labeling written
    out."""
    found = result(folder, "fig2")
    for name in ("raw", "unit diagonal"):
        for against in ("alignment", "bound"):
            assert {
                f: len(taus) for f, taus in found[name]["random"][against].items()
            } == dict.fromkeys(PREDICTIONS, 30)
    initial = np.random.default_rng(
        RunSpec("digits", "cnn_gap", "random").seed_of("initial")
    )
    initial = initial.choice(len(DIGITS), 30, replace=False)
    rng = np.random.default_rng([0, 2])
    candidates = rng.choice(
        np.setdiff1d(np.arange(len(DIGITS)), initial), 40, replace=False
    )
    images = np.concatenate([initial, candidates])
    theta = infinite_ntk(kernel_images(DIGITS, images, 4), kind="conv", depth=3)
    drawn = np.eye(10)[np.random.default_rng([0, 6]).integers(10, size=(30, 40))[0]]
    labels, G = np.concatenate([np.eye(10)[DIGITS.targets[initial]], drawn]), []
    for _ in range(SMALL.n_draws):
        rows = np.concatenate([np.arange(30), 30 + rng.choice(40, 10, replace=False)])
        G.append(mse_training_dynamics(theta[np.ix_(rows, rows)], -labels[rows]))
    expected = kendalltau(G, found["raw"]["alignment"]).statistic
    assert found["raw"]["random"]["alignment"]["zero"][0] == pytest.approx(expected)
    text = THEORY["fig7"].table(of("fig7", found), SMALL, "fig7", "markdown")
    taus = np.array(found["raw"]["random"]["bound"]["net"])
    said = f"{taus.mean():+.3f} ± {taus.std(ddof=1):.2g}"
    assert re.search(rf"net .*by chance \(30 times\).*{re.escape(said)}", text)
    assert "trace of Q's kernel" in text
    of_bound = kendalltau(found["raw"]["alignment"], found["raw"]["bound"]).statistic
    assert f"on the raw kernel {of_bound:+.3f} with B" in text


@pytest.mark.slow
def test_discrepancies(folder, tmp_path):
    rows = result(folder, "fig1")["rows"]
    assert [(row["sampler"], row["batch"], row["round"]) for row in rows] == [
        *(("dynamical", 4, r) for r in (1, 2, 3, 4)),
        ("dynamical", 16, 1),
        *(("random", 4, r) for r in (1, 2, 3, 4)),
    ]
    spec = RunSpec(
        "digits",
        "cnn_gap",
        "dynamical",
        n_initial=30,
        n_instances=4,
        n_rounds=4,
        eval_every=0,
    )
    records = run(spec, tmp_path)
    order = np.concatenate(
        [records[0]["initial"], *(record["queried"] for record in records)]
    ).astype(int)[:38]
    theta = infinite_ntk(kernel_images(DIGITS, order, 4), kind="conv", depth=3)
    row = next(row for row in rows if (row["sampler"], row["n"]) == ("dynamical", 38))
    assert row["mmd_squared"] == pytest.approx(mmd_squared(theta, range(30)), rel=1e-9)
    assert row["bound"] == pytest.approx(
        generalization_bound(theta, np.eye(10)[DIGITS.targets[order]]), rel=1e-6
    )
    assert result(folder, "fig1")["orders"]["dynamical-4"][:38] == order.tolist()
    assert (
        row["classes"] == np.bincount(DIGITS.targets[order[30:]], minlength=10).tolist()
    )
    np.testing.assert_allclose(
        row["eigenvalues"], np.linalg.eigvalsh(theta)[[0, -1]], rtol=1e-6
    )
    normalized = theta / np.diag(theta).mean()
    expected = np.sqrt(max(0, mmd_squared(normalized, range(30))))
    expected /= generalization_bound(normalized, np.eye(10)[DIGITS.targets[order]])
    assert DiscrepancyRow(**row).ratio(normalized=True) == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.slow
def test_the_bar_counts_trainings_also_where_some_are_there(tmp_path, capsys):
    few = dataclasses.replace(SMALL, n_initial=10, budget=4, batches=(2, 4))
    run_theory("table10", tmp_path, few, verbose=1)
    assert "queries: 100%" in capsys.readouterr().err
    for file in [
        *tmp_path.glob("*.json"),
        *tmp_path.glob("discrepancies/*/dynamical-4-order.json"),
    ]:
        file.unlink()
    run_theory("table10", tmp_path, few, verbose=1)
    assert "| 5/5 " in capsys.readouterr().err


@pytest.mark.slow
def test_approximation_ratios(folder):
    rows = result(folder, "fig4")["rows"]
    assert [(row["epoch"], row["batch"]) for row in rows] == [
        (e, b) for e in (0, 3) for b in (4, 16)
    ]
    spec = RunSpec("digits", "digits_cnn", "random", n_initial=30, n_rounds=1)
    net = make_net(spec, load_dataset("digits"), "cpu").initialize()
    labeled = DIGITS.take(
        np.random.default_rng(spec.seed_of("initial")).choice(
            len(DIGITS), 30, replace=False
        )
    )
    rng = np.random.default_rng([0, 4])
    pool = DIGITS.take(np.setdiff1d(np.arange(len(DIGITS)), labeled._rows))
    draw = rng.choice(len(pool), 16, replace=False)
    for row, b in zip(rows, (4, 16)):
        expected = approximation_ratio(
            net, labeled, None, pool.take(draw[:b]).unlabeled()
        )
        assert row["random"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_it_goes_on_after_an_interruption(tmp_path, folder, monkeypatch):
    worked, work = [], _discrepancy.infinite_ntk

    def interrupted(*args, **kwargs):
        if len(worked) == at_most:
            raise KeyboardInterrupt
        worked.append(1)
        return work(*args, **kwargs)

    monkeypatch.setattr(_discrepancy, "infinite_ntk", interrupted)
    at_most = 2
    with pytest.raises(KeyboardInterrupt):
        run_theory("fig1", tmp_path, SMALL)
    assert not result_file(THEORY["fig1"], tmp_path, SMALL).exists()
    at_most = 100
    monkeypatch.setattr(_discrepancy, "run", None)  # what was asked for is kept
    run_theory("fig1", tmp_path, SMALL)
    assert result(tmp_path, "fig1")["rows"] == result(folder, "fig1")["rows"]


@pytest.mark.slow
def test_pairs_that_two_series_have_are_worked_once(folder, monkeypatch):
    worked = []

    def counted(X1, X2=None, **kwargs):
        worked.append(len(X1) * (len(X1) + 1) // 2 if X2 is None else len(X1) * len(X2))
        return infinite_ntk(X1, X2, kind="conv", depth=3)

    monkeypatch.setattr(_discrepancy, "infinite_ntk", counted)
    orders = [
        np.arange(20),
        np.array([3, 2, 1, 0, 30, 31]),
        np.array([31, 30, 19, 18, 40]),
    ]
    kernels = []
    for order in orders:
        kernels.append(
            (
                order,
                _discrepancy._kernel(DIGITS, order, kernels, 4, {"dtype": "float64"}),
            )
        )
    for order, theta in kernels:
        expected = infinite_ntk(kernel_images(DIGITS, order, 4), kind="conv", depth=3)
        np.testing.assert_allclose(theta, expected, rtol=1e-12)
    pairs = {
        frozenset((i, j))
        for order in orders
        for i in order.tolist()
        for j in order.tolist()
    }
    assert sum(worked) == len(pairs)


@pytest.mark.slow
def test_the_first_round_of_all_series_is_done_once(tmp_path, monkeypatch):
    sizes = []

    def counted(net, labeled, *args):
        sizes.append(len(labeled))
        return train_until_learned(net, labeled, *args)

    monkeypatch.setattr("skdal.experiments._run.train_until_learned", counted)
    few = dataclasses.replace(SMALL, n_initial=10, budget=6, batches=(2, 3))
    run_theory("table10", tmp_path, few)
    assert sizes == [10, 12, 14, 13]
    for b in few.batches:  # the same as by itself
        spec = _discrepancy._spec(few, "dynamical", b)
        shared, alone = (
            run(spec, root, n_records=spec.n_rounds)
            for root in (tmp_path / "runs", tmp_path / "alone")
        )
        for one, other in zip(shared, alone):
            timed = {"train_seconds", "test_seconds", "query_seconds", "peak_memory"}
            assert {k: v for k, v in one.items() if k not in timed} == {
                k: other[k] for k in one if k not in timed
            }


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_labeled_set_with_twins_gives_a_bound_and_says_so(dtype, tmp_path):
    X = np.repeat(
        np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8),
        3,
        axis=0,
    )
    y = np.tile([0, 1], 30)
    np.savez(
        tmp_path / "twins.npz",
        X_train=X,
        y_train=y,
        X_test=X,
        y_test=y,
        class_names=np.array(["a", "b"]),
    )
    settings = dataclasses.replace(
        SMALL,
        dataset="twins.npz",
        dtype=dtype,
        n_initial=10,
        budget=40,
        batches=(40,),
        pixels=8,
    )
    with pytest.warns(IllConditionedWarning):
        text, _ = run_theory("fig9", tmp_path / "out", settings, data_root=tmp_path)
    again, _ = run_theory("fig9", tmp_path / "out", settings, data_root=tmp_path)
    for said in (text, again):
        assert "2 of 2 kernels are ill-conditioned" in said


@pytest.mark.slow
def test_ratios_go_on_after_an_interruption(tmp_path, monkeypatch):
    work, seen = _ratio._rows, []

    def interrupted(model, epoch, *args):
        seen.append(epoch)
        if seen == [0, 3]:
            raise KeyboardInterrupt
        return work(model, epoch, *args)

    settings = dataclasses.replace(
        SMALL, n_initial=100, epochs=(0, 3, 5), n_ratio_draws=2
    )  # two mini-batches an epoch
    with monkeypatch.context() as patch:
        patch.setattr(_ratio, "_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_theory("fig4", tmp_path, settings)
        run_theory("fig4", tmp_path, settings)
    assert seen == [0, 3, 3, 5]
    run_theory("fig4", tmp_path / "whole", settings)
    file = result_file(THEORY["fig4"], tmp_path, settings).name
    parts, whole = (
        json.loads((root / file).read_text()) for root in (tmp_path, tmp_path / "whole")
    )
    assert parts["rows"] == whole["rows"]


@pytest.mark.slow
def test_results_of_other_data_of_the_same_name_are_told_apart(tmp_path):
    def save(seed):
        rng, parts = np.random.default_rng(seed), {}
        for part, n in (("train", 90), ("test", 9)):
            parts[f"X_{part}"] = rng.integers(256, size=(n, 8, 8), dtype=np.uint8)
            parts[f"y_{part}"] = np.arange(n) % 3
        np.savez(tmp_path / "mine.npz", **parts)

    settings = dataclasses.replace(SMALL, dataset="mine.npz", n_draws=2)
    save(0)
    run_theory("fig2", tmp_path / "out", settings, data_root=tmp_path)
    save(1)
    with pytest.raises(
        InvalidDataError, match=r"other data of the name mine.npz .*use another folder"
    ):
        run_theory("fig7", tmp_path / "out", settings, data_root=tmp_path)


@pytest.mark.slow
def test_stored_results_are_found_by_name(folder):
    assert {name for name, _, _ in stored_results(folder)} == set(THEORY)
    assert (
        next(
            settings.n_draws
            for name, settings, _ in stored_results(folder)
            if name == "fig2"
        )
        == 12
    )


@pytest.mark.slow
def test_other_settings_are_other_results(folder):
    other = dataclasses.replace(SMALL, n_draws=13)
    assert result_file(THEORY["fig2"], folder, other) != result_file(
        THEORY["fig2"], folder, SMALL
    )
    assert result_file(THEORY["fig4"], folder, other) == result_file(
        THEORY["fig4"], folder, SMALL
    )


@pytest.mark.slow
def test_figures_of_other_settings_do_not_replace_each_other(folder, tmp_path):
    changed = [{}, {"dtype": "float32"}, {"n_draws": 11}]
    paths = [
        run_theory("fig2", tmp_path, dataclasses.replace(SMALL, **changes))[1]
        for changes in changed
    ]
    assert len({path for pair in paths for path in pair}) == 6
    digest = result_file(THEORY["fig2"], tmp_path, SMALL).stem.removeprefix(
        "correlation-"
    )
    assert paths[0][0].name == f"fig2-digits-4px-{digest}.png"


def test_a_diverged_training_is_told_of(tmp_path, monkeypatch):
    def spec(model, settings):
        return RunSpec(
            settings.dataset,
            model,
            "random",
            n_initial=settings.n_initial,
            training=Training(lr=1e30),
        )

    monkeypatch.setattr(_ratio, "_spec", spec)
    with pytest.raises(
        NonFiniteScoreError, match="after epoch 3: its training has diverged. Lower"
    ):
        run_theory("fig4", tmp_path, SMALL)


@pytest.mark.slow
def test_every_series_is_drawn(folder):
    """Also where there are more than colors; the last one is that of random queries."""
    found = result(folder, "fig9")
    rows = [
        row | {"batch": row["batch"] + k} for k in range(6) for row in found["rows"]
    ]
    figure = THEORY["fig9"].draw(of("fig9", {"rows": rows}), SMALL, "fig9")
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len([name for name in names if name.startswith("dynamical")]) == 12
    assert len([name for name in names if name.startswith("random")]) == 6
    ratios = result(folder, "fig4")["rows"]
    rows = [row | {"batch": k} for k in range(8) for row in ratios[::2]]
    figure = THEORY["fig4"].draw(of("fig4", {"rows": rows}), SMALL, "fig4")
    assert len(figure.axes[-1].get_legend().get_texts()) == 16


@pytest.mark.slow
def test_lines_end_where_a_ratio_changes_its_sign(folder):
    row = result(folder, "fig4")["rows"][0]
    values = [0.5, 0.7, 1.8, -2.0, -1.0, 0.9]
    rows = [
        row | {"epoch": 2**k, "random": [v] * 5, "own": v} for k, v in enumerate(values)
    ]
    axes = THEORY["fig4"].draw(of("fig4", {"rows": rows}), SMALL, "fig4").axes[0]
    drawn = [
        list(line.get_ydata())
        for line in axes.lines
        if len(line.get_ydata()) and line.get_linestyle() == "-"
    ]
    assert drawn[:3] == [[0.5, 0.7, 1.8], [-2.0, -1.0], [0.9]]


@pytest.mark.slow
def test_negative_estimates_are_marked(folder):
    rows = [row | {"mmd_squared": -1e-3} for row in result(folder, "fig1")["rows"]]
    axes = THEORY["fig1"].draw(of("fig1", {"rows": rows}), SMALL, "fig1").axes[0]
    assert [text.get_text() for text in axes.texts] == ["MMD^2 < 0"] * 3
    legend = (
        THEORY["fig9"]
        .draw(of("fig9", {"rows": rows}), SMALL, "fig9")
        .axes[0]
        .get_legend()
    )
    assert legend.get_texts()[-1].get_text() == "MMD^2 < 0"


def test_the_papers_sizes():
    settings = TheorySettings()
    assert (
        settings.n_initial,
        settings.n_query,
        settings.n_draws,
        settings.n_candidates,
    ) == (500, 250, 150, 1000)


def test_a_damaged_result_is_told_of_and_kept(tmp_path):
    file = result_file(THEORY["fig2"], tmp_path, SMALL)
    file.write_text('{"alignment": [1')
    with pytest.raises(InvalidDataError, match=r"is damaged .* move it away"):
        run_theory("fig2", tmp_path, SMALL)
    assert file.read_text() == '{"alignment": [1'


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"settings": {}}'])
def test_a_result_of_another_shape_is_told_of(text, tmp_path):
    result_file(THEORY["fig2"], tmp_path, SMALL).write_text(text)
    with pytest.raises(InvalidDataError, match=r"is damaged \(no .* move it away"):
        run_theory("fig2", tmp_path, SMALL)
    with pytest.raises(InvalidDataError, match="is damaged"):
        list(stored_results(tmp_path))


@pytest.mark.slow
def test_a_result_with_other_rows_is_told_of(folder, tmp_path):
    file = result_file(THEORY["fig4"], folder, SMALL)
    held = json.loads(file.read_text())
    held["rows"][0].pop("own")
    (tmp_path / file.name).write_text(json.dumps(held))
    with pytest.raises(InvalidDataError, match=f"{file.name} is damaged .*own"):
        run_theory("fig4", tmp_path, SMALL)


@pytest.mark.slow
def test_other_files_of_the_folder_are_no_results(folder):
    (folder / "notes.json").write_text("[1]")
    assert {name for name, _, _ in stored_results(folder)} == set(THEORY)
    (folder / "notes.json").unlink()


@pytest.mark.slow
def test_a_result_of_other_data_is_refused_without_the_digest_file(folder, tmp_path):
    file = result_file(THEORY["fig2"], folder, SMALL)
    held = json.loads(file.read_text()) | {"data": "0" * 16}
    (tmp_path / file.name).write_text(json.dumps(held))
    with pytest.raises(
        InvalidDataError, match="was made with other data of the name digits"
    ):
        run_theory("fig2", tmp_path, SMALL)


def test_a_damaged_part_is_told_of(tmp_path):
    settings = dataclasses.replace(SMALL, epochs=(0,))
    run_theory("fig4", tmp_path, settings)
    result_file(THEORY["fig4"], tmp_path, settings).unlink()
    (part,) = tmp_path.glob("ratios/*/digits_cnn-0.json")
    part.write_text("{}")
    with pytest.raises(
        InvalidDataError, match=r"digits_cnn-0.json is damaged \(no list"
    ):
        run_theory("fig4", tmp_path, settings)


@pytest.mark.slow
def test_a_ratio_without_a_change_is_no_number(folder):
    found = result(folder, "fig4")
    found["rows"][0] |= {"own": None, "random": [None, 0.5, 1.0, None, 1.5]}
    found["rows"][1] |= {"own": None, "random": [None] * 5}
    lines = (
        THEORY["fig4"]
        .table(of("fig4", found), SMALL, "fig4", "markdown")
        .splitlines()[2:4]
    )
    assert "1 ± 0.5" in lines[0]
    assert [line.count("no change") for line in lines] == [1, 2]
    THEORY["fig4"].draw(of("fig4", found), SMALL, "fig4")


def test_every_net_is_tried_before_the_first_is_trained(tmp_path):
    with pytest.raises(InvalidParameterError, match="the model cnn does not work"):
        run_theory(
            "fig4", tmp_path, dataclasses.replace(SMALL, models=("digits_cnn", "cnn"))
        )
    assert not list(tmp_path.glob("ratios/*/*"))


def test_a_format_and_a_folder_that_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr(THEORY["fig2"].experiment, "compute", None)
    with pytest.raises(
        InvalidParameterError,
        match="'html' is no format; known are markdown, latex, rst",
    ):
        run_theory("fig2", tmp_path, SMALL, style="html")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidParameterError, match="cannot write into the folder"):
        run_theory("fig2", tmp_path / "file", SMALL)


WRONG = [
    {"batches": ()},
    {"batches": (0, 3)},
    {"batches": (3, 3)},
    {"epochs": (3, 0)},
    {"epochs": (0.5,)},
    {"models": "cnn"},
    {"models": ("cnn", "cnn")},
    {"n_draws": 1},
    {"n_query": 0},
    {"pixels": 2.5},
    {"seed": -1},
    {"dataset": ""},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_settings_that_cannot_be(changes):
    ((name, value),) = changes.items()
    with pytest.raises(
        InvalidParameterError, match=f"{name} must be .*got {re.escape(repr(value))}"
    ):
        TheorySettings(**changes)


BAD = {
    "name": ("fig3", {}, "'fig3' is no verification experiment.*fig1, fig2"),
    "pixels": ("fig2", {"pixels": 9}, r"of \(8, 8\) pixels .* down to 9.*--pixels"),
    "too few images": (
        "fig2",
        {"n_candidates": 2000},
        "2030 training images are needed.*has 14",
    ),
    "too few for the rounds": (
        "table10",
        {"budget": 3200},
        "3230 training images are needed",
    ),
    "too few for a query": (
        "fig4",
        {"batches": (4, 2000)},
        "2030 training images are needed",
    ),
    "a query of more than there are": (
        "fig7",
        {"n_query": 50},
        "a query of 50 cannot come from 40 candidates",
    ),
    "uneven queries": (
        "fig9",
        {"batches": (3, 4)},
        r"budget of 16 labels is not a multiple of queries of \[3\]",
    ),
    "a precision": (
        "fig9",
        {"dtype": "float16"},
        "'float16' is no dtype.*float64, float32",
    ),
    "a model": ("fig4", {"models": ("resnet19",)}, "'resnet19' is no model"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, tmp_path):
    name, changes, said = BAD[case]
    with pytest.raises(InvalidParameterError, match=said):
        run_theory(name, tmp_path, dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize(
    ("name", "changes", "device", "said"),
    [
        ("fig2", {}, "nowhere", "no device 'nowhere'"),
        ("fig4", {"models": ("cnn",)}, "cpu", "does not work with the"),
    ],
)
def test_nets_and_devices_that_do_not_work(name, changes, device, said, tmp_path):
    with pytest.raises(InvalidParameterError, match=said):
        run_theory(name, tmp_path, dataclasses.replace(SMALL, **changes), device=device)


@pytest.mark.slow
@pytest.mark.cuda
@pytest.mark.parametrize("name", ["fig2", "table10", "fig4"])
def test_cuda(name, folder, tmp_path):
    """Trainings differ in the last digits and then in more; what is asked for of them is that they
    run."""
    run_theory(name, tmp_path, SMALL, device="cuda")
    found, expected = (
        json.loads(result_file(THEORY[name], f, SMALL).read_text())
        for f in (tmp_path, folder)
    )
    assert [sorted(row) for row in found["rows"]] == [
        sorted(row) for row in expected["rows"]
    ]
    for one, other in zip(found["rows"], expected["rows"]):
        if one.get("sampler") == "random":
            assert one["bound"] == pytest.approx(other["bound"], rel=1e-9)
