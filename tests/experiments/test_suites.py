"""The suites: they are the paper's settings, and the paper's numbers are the paper's."""

import os
import re
from pathlib import Path

import pytest

from skdal.exceptions import InvalidParameterError
from skdal.experiments import SUITES, RunSpec, make_sampler, specs_of, suites_of
from skdal.models import MODELS

PAPERS = Path(
    os.environ.get("SKDAL_PAPERS", Path(__file__).parents[3] / "shared" / "papers")
)
NAMES = dict(
    zip(
        ("RANDOM", "MARG", "ENTROPY", "CORESET", "CONF", "ALBL", "BADGE", "dynamicAL"),
        (
            "random",
            "margin",
            "entropy",
            "coreset",
            "confidence",
            "albl",
            "badge",
            "dynamical",
        ),
    )
)
WORDS = {
    "CIFAR10": "cifar10",
    "SVHN": "svhn",
    "Caltech101": "caltech101",
    "CNN": "cnn",
    "ResNet": "resnet18",
    "VGG": "vgg11",
}
numbered = [name for name in SUITES if re.fullmatch(r"table\d+", name)]


@pytest.mark.parametrize("name", SUITES)
def test_a_suite(name):
    suite = SUITES[name]
    for label in suite.variants:
        spec = suite.spec(label, 3)
        assert spec.seed == 3
        assert spec.model in MODELS
        make_sampler(spec)
        assert suite.label(spec) == label
        assert (
            suite.label(
                suite.spec(label, 1, dataset="mine.npz", n_rounds=2, eval_every=0)
            )
            == label
        )
        assert suite.label(suite.spec(label, 1, n_initial=499)) is None
    if suite.paper:
        assert set(suite.paper["columns"]) == set(suite.variants)


@pytest.mark.parametrize("name", numbered)
def test_numbers_and_settings_are_those_of_the_paper(name):
    file = PAPERS / "dynamical-appendix.txt"
    if not file.exists():
        pytest.skip("the paper is not here; SKDAL_PAPERS names its folder")
    text = file.read_text()
    sizes = r"Query Batch Size:? ?(\d+), Initial Set Size:? ?(\d+)"
    pattern = rf"Table {name[5:]}: (\w+), (\w+), {sizes}\.?\n([^\n]+)\n\n((?:\d.*\n)+)"
    data, model, n_instances, n_initial, header, body = re.search(
        pattern, text
    ).groups()
    suite = SUITES[name]
    assert suite.base["dataset"] == WORDS[data]
    assert suite.base["model"] == WORDS[model]
    assert (suite.base["n_initial"], suite.base["n_instances"]) == (
        int(n_initial),
        int(n_instances),
    )
    columns = [NAMES[word] for word in header.split()[header.startswith("#") :]]
    assert set(columns) == set(suite.paper["columns"])
    n_cells = 0
    for line in body.strip().splitlines():
        number, *cells = line.split()
        n_labeled = str(int(n_initial) + int(number) * int(n_instances))
        for column, cell in zip(columns, cells, strict=True):
            assert suite.paper["columns"][column][n_labeled] == [
                float(part.rstrip("%")) for part in cell.split("±")
            ]
            n_cells += 1
    assert n_cells == sum(map(len, suite.paper["columns"].values()))


def test_table_1_is_the_paper_s():
    file = PAPERS / "dynamical-main.md"
    if not file.exists():
        pytest.skip("the paper is not here; SKDAL_PAPERS names its folder")
    rows = re.findall(r"\$R = (\d+), b = (\d+)\$\t(.+)", file.read_text())
    assert len(rows) == 4
    suites = suites_of("table1")
    assert [suite.name[7:] for suite in suites] == [
        "cifar10-cnn",
        "cifar10-resnet18",
        "svhn-vgg11",
        "caltech101-resnet18",
    ]
    for n_rounds, n_instances, cells in rows:
        for suite, cell in zip(suites, cells.split("\t"), strict=True):
            label = f"{n_rounds} x {n_instances}"
            spec = suite.spec(label, 0)
            assert (spec.n_rounds, spec.n_instances) == (
                int(n_rounds),
                int(n_instances),
            )
            assert suite.paper["columns"][label] == {"1500": [float(cell), None]}


def test_re_initialization():
    for name in ("table11", "table12"):
        training = SUITES[name].spec("dynamical", 0).training
        assert (training.accuracy, training.n_epochs_above, training.warm_start) == (
            0.99,
            10,
            False,
        )
    assert SUITES["table4"].spec("dynamical", 0).training.accuracy == 0.97


def test_specs_of_a_suite():
    specs = specs_of(suites_of("table3"), n_seeds=5)
    assert len(specs) == 40
    assert [spec.seed for spec in specs[:9]] == [0] * 8 + [1]
    assert len({spec.digest for spec in specs}) == 40
    few = specs_of(
        suites_of("table3"), n_seeds=1, labels=["badge", "random"], dataset="mine.npz"
    )
    assert {(spec.sampler, spec.dataset) for spec in few} == {
        ("badge", "mine.npz"),
        ("random", "mine.npz"),
    }
    assert len(specs_of(suites_of("table1"), n_seeds=2)) == 4 * 4 * 2


def test_gamma_and_kappa():
    found = {
        label: SUITES["figure5"].spec(label, 0).sampler_params
        for label in SUITES["figure5"].variants
    }
    assert found.pop("random") == {}
    assert found == {
        "gamma 0": {"gamma": 0},
        "gamma 1": {"gamma": 1},
        "gamma 2": {},
        "gamma inf": {"gamma": float("inf")},
    }
    assert (
        SUITES["interaction"].label(
            RunSpec("x", "cnn", "dynamical", {"interaction": -4.0})
        )
        == "kappa -4"
    )


def test_unknown_names_are_listed_with_the_nearest():
    with pytest.raises(
        InvalidParameterError,
        match="'tabel3' is no suite .did you mean 'table3'.*known are .*figure5",
    ):
        suites_of("tabel3")
    with pytest.raises(
        InvalidParameterError, match="at least one sampler and one seed"
    ):
        specs_of(suites_of("table3"), labels=[])


def test_the_paper_s_numbers_are_for_its_data():
    suite = SUITES["table3"]
    assert suite.is_paper_setting(suite.spec("random", 0))
    assert suite.is_paper_setting(
        suite.spec("random", 0, dataset="data/cifar10-jpeg.npz")
    )
    assert not suite.is_paper_setting(suite.spec("random", 0, dataset="cifar100"))
    assert not suite.is_paper_setting(suite.spec("random", 0, imbalance_ratio=100))
    assert not SUITES["figure5"].is_paper_setting(SUITES["figure5"].spec("random", 0))
