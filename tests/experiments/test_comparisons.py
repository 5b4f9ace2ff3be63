"""Comparisons, tables and plots, from made-up records."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from experiments.helpers import quick, store

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.experiments import (
    SUITES,
    RunFolder,
    comparisons,
    format_comparison,
    format_csv,
    suites_of,
    summary_table,
    write_plots,
)

RANDOM = [[0.30, 0.34, 0.38], [0.31, 0.36, 0.37], [0.29, 0.35, 0.39]]
BETTER = [[0.30, 0.36, 0.40], [0.31, 0.38, 0.40], [0.29, 0.37, 0.41]]
OTHER = [[0.30, 0.35, 0.40], [0.31, 0.35, 0.36], [0.29, 0.36, 0.38]]


def fill(root, suite="table3", curves=None, **changes):
    for label, seeds in (
        curves or {"random": RANDOM, "dynamical": BETTER, "margin": OTHER}
    ).items():
        for seed, accuracies in enumerate(seeds):
            store(root, SUITES[suite].spec(label, seed, **changes), accuracies)
    return root


@pytest.fixture
def table3(tmp_path):
    return comparisons(fill(tmp_path, dataset="cifar10-jpeg.npz"))[0]


def rows_of(text):
    """Return a table of Markdown as a list of lists."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_a_comparison(table3):
    assert (table3.name, table3.dataset) == ("table3", "cifar10-jpeg")
    assert table3.labels == ["random", "margin", "dynamical"]  # as in the suite
    assert table3.n_labeled == [500, 1000, 1500]
    assert table3.seeds == [0, 1, 2]
    np.testing.assert_array_equal(table3.curves("random"), RANDOM)
    mean, deviation = table3.of_paper("dynamical")
    np.testing.assert_array_equal(mean, [32.37, 34.88, 36.78])
    np.testing.assert_array_equal(deviation, [1.049, 1.557, 1.253])


def test_runs_are_of_the_suite_of_their_data(tmp_path):
    """Tables 4 and 8 are alike but for the data."""
    fill(tmp_path, "table8", dataset="caltech101-64.npz", n_rounds=2)
    assert [(found.name, found.dataset) for found in comparisons(tmp_path)] == [
        ("table8", "caltech101-64")
    ]
    assert comparisons(tmp_path)[0].paper is not None


def test_rounds(table3):
    header, _, *rows = rows_of(format_comparison(table3, parts=["rounds"]))
    assert header == ["labels", "random", "margin", "dynamical"]
    assert [row[0] for row in rows] == ["500", "1000", "1500"]
    assert rows[1][1] == "35.00 ± 1.00 [34.87 ± 1.29]"
    assert rows[2][3] == "40.33 ± 0.58 [36.78 ± 1.25]"


def test_summary_by_hand(table3):
    _, header, rows = summary_table(table3, "accuracy")
    found = {row[0]: dict(zip(header, row)) for row in rows}
    dynamical = found["dynamical"]
    assert dynamical["seeds"] == 3
    assert dynamical["at the end"] == "40.33 ± 0.58"
    # differences 2, 3, 2: mean 2.333, deviation 0.577, t(0.975, 2) = 4.3027
    assert dynamical["minus random"] == "+2.33 (+0.90 to +3.77)"
    assert (dynamical["paper"], dynamical["paper minus random"]) == ("36.78", "+0.33")
    # areas: random 34, 35, 34.5; dynamicAL 35.5, 36.75, 36
    assert dynamical["mean of the curve"] == "36.08 ± 0.63"
    assert dynamical["curve minus random"] == "+1.58 (+1.22 to +1.94)"
    # random's 38, 37 and 39 are reached at 1250, 500 + 500 * 6 / 7 and 1250 instead of 1500
    assert dynamical["labels saved"] == "+357 (-104 to +818)"
    assert (dynamical["s training"], dynamical["s query"]) == ("6", "0.50")
    assert found["random"]["minus random"] == ""


def test_summary_is_at_the_paper_s_last_round(tmp_path):
    accuracies = [0.3 + 0.01 * i for i in range(11)]
    fill(
        tmp_path,
        curves={"random": [accuracies], "dynamical": [accuracies]},
        dataset="cifar10",
    )
    title, header, rows = summary_table(
        comparisons(tmp_path, suites_of("table3"))[0], "accuracy"
    )
    assert title.startswith("At 5000 labels")
    assert rows[0][2] == "39.00"
    assert dict(zip(header, rows[1]))["paper minus random"] == "+1.61"


def test_penalty(table3):
    rows = rows_of(format_comparison(table3, parts=["penalty"]))[2:]
    # dynamicAL beats random by 2, 3, 2 in the end; 2, 2, 2 before does not say how it varies
    assert rows[2] == ["dynamical", "0.50", "0.00", ""]
    assert rows[3] == ["mean of the column", "0.25", "0.00", "0.00"]


def test_two_seeds_decide_nothing(tmp_path):
    fill(tmp_path, curves={"random": RANDOM[:2], "dynamical": BETTER[:2]})
    assert "beats" not in format_comparison(comparisons(tmp_path)[0])


def test_csv_is_read_back(tmp_path):
    fill(tmp_path, dataset="cifar10-jpeg.npz")
    fill(tmp_path, dataset="mine.npz")
    rows = list(csv.DictReader(format_csv(comparisons(tmp_path)).splitlines()))
    assert len(rows) == 2 * 3 * 3
    row = next(
        r
        for r in rows
        if (r["data"], r["sampler"], r["labels"])
        == ("cifar10-jpeg", "dynamical", "1500")
    )
    assert (row["suite"], row["measure"], row["seeds"], row["pairs"]) == (
        "table3",
        "accuracy",
        "3",
        "3",
    )
    numbers = [
        float(row[k])
        for k in (
            "mean",
            "deviation",
            "difference",
            "low",
            "high",
            "paper_mean",
            "paper_deviation",
        )
    ]
    np.testing.assert_allclose(
        numbers, [40.3333, 0.5774, 2.3333, 0.8991, 3.7676, 36.78, 1.253], atol=1e-4
    )
    assert {r["paper_mean"] for r in rows if r["data"] == "mine"} == {""}


def test_latex(table3):
    text = format_comparison(table3, style="latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert r"$\pm$" in text
    assert "±" not in text
    assert all(
        line.startswith(("%", "\\", " ")) or "&" in line or not line
        for line in text.splitlines()
    )


def test_restructured_text(table3):
    text = format_comparison(table3, style="rst")
    title, line = text.splitlines()[:2]
    assert title == "table3: CIFAR-10, CNN, 500 labels a query"
    assert line == "-" * len(title)
    assert text.count("=======") > 9


@pytest.mark.parametrize("measure", ["optimistic_accuracy", "macro_f1"])
def test_other_measures(table3, measure):
    text = format_comparison(table3, measure=measure)
    assert ("paper's" in text) == (
        measure == "optimistic_accuracy"
    )  # its numbers are accuracies
    assert ("optimistic" in text) == (measure == "optimistic_accuracy")
    assert ("36.00" if measure == "optimistic_accuracy" else "34.00") in text


def test_what_is_missing_is_left_out(tmp_path):
    fill(
        tmp_path,
        curves={"random": RANDOM, "dynamical": [BETTER[0], BETTER[1][:2]]},
        dataset="cifar10",
    )
    found = comparisons(tmp_path, suites_of("table3"))[0]
    assert np.isnan(found.curves("dynamical")).tolist() == [
        [False] * 3,
        [False, False, True],
        [True] * 3,
    ]
    row = rows_of(format_comparison(found, parts=["summary"]))[-1]
    assert row[:4] == ["dynamical", "1", "40.00", "+2.00"]  # one pair has no interval
    assert "failed" not in format_comparison(found)


def test_failed_runs_are_told(tmp_path):
    fill(tmp_path, dataset="cifar10")
    RunFolder(tmp_path, SUITES["table3"].spec("margin", 1, dataset="cifar10")).fail(
        "why"
    )
    assert "1 run failed" in format_comparison(comparisons(tmp_path)[0])


def test_one_run_belongs_to_several_suites(tmp_path):
    fill(tmp_path, "figure5", {"random": RANDOM, "gamma 2": BETTER, "gamma 0": OTHER})
    assert [c.name for c in comparisons(tmp_path)] == ["figure5"]
    fill(tmp_path, "table3", {"margin": OTHER})
    found = {c.name: c.labels for c in comparisons(tmp_path)}
    assert found == {
        "table3": ["random", "margin", "dynamical"],
        "figure5": ["random", "gamma 0", "gamma 2"],
    }


def test_a_longer_run_begins_with_the_shorter(tmp_path):
    fill(tmp_path, "table3", {"dynamical": BETTER}, n_rounds=10)
    fill(tmp_path, "table2", {"dynamical": OTHER}, n_rounds=10)
    fill(tmp_path, "table1-cifar10-cnn", {"2 x 500": [[0.1, 0.2, 0.3]]})
    found = comparisons(tmp_path, suites_of("table1"))[0]
    assert found.labels == ["4 x 250", "2 x 500"]
    np.testing.assert_array_equal(found.curves("4 x 250")[:, [0, 1, 2]], OTHER)
    assert found.n_labeled == [500, 750, 1000, 1500]


def test_runs_of_no_suite_are_grouped_by_setting(tmp_path):
    for seed in (0, 1):
        store(tmp_path, quick("margin", seed=seed), RANDOM[seed])
        store(tmp_path, quick("dynamical", {"gamma": 1.0}, seed=seed), BETTER[seed])
        store(tmp_path, quick("margin", seed=seed, n_instances=30), OTHER[seed])
    found = comparisons(tmp_path)
    assert sorted(map(len, (c.labels for c in found))) == [1, 2]
    assert {"margin", "dynamical (gamma=1)"} == {
        label for c in found for label in c.labels
    }
    assert "digits_cnn, 40 labels, then 2 x 30, accuracy 0.8" in format_comparison(
        found[-1]
    )


def test_data_sets_are_kept_apart(tmp_path):
    fill(tmp_path, dataset="cifar10")
    fill(tmp_path, dataset="svhn")
    fill(tmp_path, dataset="cifar10", imbalance_ratio=100)
    fill(tmp_path, dataset="cifar10-blurred.npz")
    found = {c.dataset: c.paper is not None for c in comparisons(tmp_path)}
    names = ("svhn", "cifar10, imbalance ratio 100", "cifar10-blurred")
    assert found == {"cifar10": True} | dict.fromkeys(names, False)


def test_columns_without_numbers_are_left_out(tmp_path):
    store(tmp_path, quick("margin"), RANDOM[0])
    _, header, _ = summary_table(comparisons(tmp_path)[0], "accuracy")
    assert header == [
        "sampler",
        "seeds",
        "at the end",
        "mean of the curve",
        "s training",
        "s query",
    ]


def test_data_of_one_name_are_kept_apart(tmp_path):
    fill(tmp_path, curves={"random": RANDOM, "margin": OTHER}, dataset="a/flowers.npz")
    fill(tmp_path, curves={"random": BETTER, "margin": OTHER}, dataset="b/flowers.npz")
    found = {c.dataset: c.curves("random")[0, 1] for c in comparisons(tmp_path)}
    assert found == {"a/flowers.npz": 0.34, "b/flowers.npz": 0.36}


def test_data_that_were_replaced_are_kept_apart(tmp_path):
    fill(tmp_path, curves={"random": RANDOM, "margin": OTHER}, dataset="flowers.npz")
    for log in tmp_path.glob("*margin*/rounds.jsonl"):
        log.write_text(log.read_text().replace('"digest"', '"another"'))
    assert [(c.dataset, c.labels) for c in comparisons(tmp_path)] == [
        ("flowers (another)", ["margin"]),
        ("flowers (digest)", ["random"]),
    ]


def test_trainings_that_did_not_converge_are_told(tmp_path):
    fill(tmp_path)
    log = next(tmp_path.glob("*margin-0*/rounds.jsonl"))
    log.write_text(log.read_text().replace('"converged":true', '"converged":false', 1))
    assert "1 of 27 trainings ended at the limit of epochs" in format_comparison(
        comparisons(tmp_path)[0]
    )


def test_seconds_are_those_of_complete_runs(tmp_path):
    fill(tmp_path, curves={"random": RANDOM, "margin": OTHER[:1]})
    _, header, rows = summary_table(comparisons(tmp_path)[0], "accuracy")
    assert [dict(zip(header, row))["s training"] for row in rows] == ["6", "6"]


def test_variants_of_other_points_have_areas(tmp_path):
    fill(
        tmp_path,
        "table1-cifar10-cnn",
        {"2 x 500": RANDOM, "1 x 1000": [r[:2] for r in OTHER]},
    )
    _, header, rows = summary_table(comparisons(tmp_path)[0], "accuracy")
    assert {row[0]: dict(zip(header, row))["mean of the curve"] for row in rows} == {
        "2 x 500": "34.50 ± 0.50",
        "1 x 1000": "32.67 ± 0.29",
    }


def test_runs_without_a_finished_round(tmp_path):
    spec = SUITES["table3"].spec("margin", 1)
    with RunFolder(tmp_path, spec).locked():
        RunFolder(tmp_path, spec).fail("why")
    with pytest.raises(
        InvalidDataError, match="no finished round of any run .1 of 1 runs there failed"
    ):
        comparisons(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_spec_that_cannot_be_read_is_named(tmp_path, text):
    fill(tmp_path)
    file = RunFolder(tmp_path, SUITES["table3"].spec("dynamical", 0)).path / "spec.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(InvalidDataError, match=r"spec\.json cannot be read"):
        comparisons(tmp_path)
    if (
        text != "{"
    ):  # a run that begins restores what is not there, and overwrites nothing
        with RunFolder(tmp_path, SUITES["table3"].spec("dynamical", 0)).locked():
            pass
        assert comparisons(tmp_path)[0].labels == ["random", "margin", "dynamical"]


def test_plots_of_other_settings_do_not_overwrite_each_other(tmp_path):
    for n_instances in (20, 30):
        store(tmp_path, quick("margin", n_instances=n_instances), RANDOM[0])
    paths = [
        path
        for c in comparisons(tmp_path)
        for path in write_plots(c, tmp_path / "plots")
    ]
    assert len(set(paths)) == 4


def test_nothing_to_show(tmp_path):
    with pytest.raises(InvalidDataError, match="no runs in .*skdal run"):
        comparisons(tmp_path)
    fill(tmp_path)
    with pytest.raises(InvalidDataError, match="no finished round of table4"):
        comparisons(tmp_path, suites_of("table4"))


def test_a_folder_of_another_name_is_told(tmp_path):
    fill(tmp_path)
    next(tmp_path.iterdir()).rename(tmp_path / "mine")
    with pytest.raises(InvalidDataError, match="another name"):
        comparisons(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("measure", "loss"), ("style", "csv"), ("parts", ["rows"])]
)
def test_wrong_arguments(table3, name, value):
    with pytest.raises(InvalidParameterError, match="known are"):
        format_comparison(table3, **{name: value})


def test_plots(tmp_path, table3):
    paths = write_plots(table3, tmp_path / "plots")
    assert [path.name for path in paths] == [
        "table3-cifar10-jpeg.png",
        "table3-cifar10-jpeg.svg",
    ]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in paths[1].read_bytes()
    before = [path.read_bytes() for path in paths]
    assert [
        path.read_bytes() for path in write_plots(table3, tmp_path / "plots")
    ] == before
    other = write_plots(table3, tmp_path / "plots", measure="macro_f1")
    assert other[0].name == "table3-cifar10-jpeg-macro_f1.png"


def test_a_plot_shows_means_and_differences(table3):
    from skdal.experiments import draw

    left, right = draw(table3).axes
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
    np.testing.assert_allclose(lines["random"], [30, 35, 38])
    differences = {line.get_label(): line.get_ydata() for line in right.lines}
    np.testing.assert_allclose(differences["dynamical"], [0, 2, 7 / 3], atol=1e-9)


def test_a_plot_without_random_has_one_panel(tmp_path):
    from skdal.experiments import draw

    store(tmp_path, quick("margin"), RANDOM[0])
    assert len(draw(comparisons(tmp_path)[0]).axes) == 1


def test_records_as_they_are_published(tmp_path):
    """A folder of specs and logs alone, without checkpoints, is enough for tables."""
    fill(tmp_path)
    for file in tmp_path.glob("*/checkpoint.pt"):
        file.unlink()
    assert comparisons(tmp_path)[0].labels == ["random", "margin", "dynamical"]
    spec = dataclasses.replace(SUITES["table3"].spec("random", 0))
    log = RunFolder(tmp_path, spec).path / "rounds.jsonl"
    assert json.loads(log.read_text().splitlines()[0])["accuracy"] == 0.30
