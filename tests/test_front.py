"""What README and the first pages of the documentation quote is what the records say."""

import json
from pathlib import Path

import numpy as np
import pytest

from skdal.experiments import (
    area_under_curve,
    comparisons,
    paired_difference,
    suites_of,
)

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
COMPARE = ["README.md", "docs/quickstart.rst"]
START = [*COMPARE, "docs/index.rst", "docs/estimators.rst"]


def words_of(name):
    """Return a page in one line, without the marks of its links and emphasis."""
    text = (ROOT / name).read_text().replace("*", "")
    return " ".join(text.split())


def missing(page, sentences):
    """Return the sentences that the page does not have."""
    text = words_of(page)
    return [sentence for sentence in sentences if sentence not in text]


def of_suite(name, dataset="cifar10-jpeg"):
    found = comparisons(RESULTS / "records", suites_of(name))
    (comparison,) = (one for one in found if one.dataset == dataset)
    return comparison


def gain(comparison, label, n_labeled=5000):
    column = comparison.n_labeled.index(n_labeled)
    ours = 100 * comparison.curves(label)[:, column]
    return paired_difference(ours, 100 * comparison.curves("random")[:, column])


def curve_gain(comparison, label, other):
    heights = [
        100 * area_under_curve(comparison.n_labeled, comparison.curves(name))
        for name in (label, other)
    ]
    return paired_difference(*heights)


def interval(found):
    return f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


@pytest.fixture(scope="module")
def table3():
    return of_suite("table3")


@pytest.mark.parametrize("page", COMPARE)
def test_which_sampler(page, table3):
    assert {len(seeds) for seeds in table3.runs.values()} == {5}
    margin, badge = (curve_gain(table3, "dynamical", x) for x in ("margin", "badge"))
    assert margin.low < 0 < margin.high
    assert badge.low < 0 < badge.high
    said = [interval(gain(table3, label)) for label in ("margin", "badge", "dynamical")]
    said += [
        f"below random: {interval(gain(table3, 'coreset'))}",
        f"{-margin.mean:.2f} points below margin and {-badge.mean:.2f} below BADGE",
    ]
    assert missing(page, said) == []
    means = {label: gain(table3, label).mean for label in table3.labels[1:]}
    assert max(means, key=means.get) == "badge"


@pytest.mark.parametrize("page", COMPARE)
def test_unequal_classes(page):
    table8 = of_suite("table8", "caltech101-64")
    assert table8.seeds == [0]
    text = (RESULTS / "tables" / "table8-caltech101-64-picks.rst").read_text()
    rows = [line.split() for line in text.splitlines()[3:-1]]
    classes = {row[0]: row[-1] for row in rows}
    said = [
        f"{gain(table8, 'dynamical', 1000).mean:+.2f} after one query",
        f"{classes['dynamical']} classes in effect, random ones {classes['random']}",
    ]
    assert missing(page, said) == []


@pytest.mark.parametrize("page", COMPARE)
def test_frozen_features(page):
    record = ROOT / "benchmarks" / "results" / "penalty.json"
    rows = json.loads(record.read_text())["rows"]
    assert {row["seed"] for row in rows} == set(range(5))
    accuracy = {}
    for row in rows:
        accuracy.setdefault(row["way"], []).append(100 * row["accuracy"])
    mean = {way: np.mean(values) for way, values in accuracy.items()}
    labels = [row["labels"] for row in rows]
    said = [
        f"dynamicAL was {mean['random'] - mean['Eq. 15, penalty']:.1f} points below random",
        f"gradient length {mean['random'] - mean['length alone']:.1f}",
        f"{min(labels)} to {max(labels)} labels",
    ]
    assert missing(page, said) == []


@pytest.mark.parametrize("page", START)
def test_warm_or_cold(page, table3):
    cold = of_suite("protocol-cold")
    ends = [
        100 * comparison.runs["random"][seed][-1]["accuracy"]
        for comparison in (cold, table3)
        for seed in (0, 1)
    ]
    assert cold.n_labeled[-1] == table3.n_labeled[-1] == 5500
    assert min(ends[:2]) - max(ends[2:]) > 2 * gain(table3, "badge", 5500).mean
    said = [
        "at 5500 labels random queries reach {:.2f} and {:.2f} % of accuracy from a cold "
        "start, and {:.2f} and {:.2f} % from a warm start".format(*ends),
        "two seeds",
        "warm_start=False",
    ]
    assert missing(page, said) == []
