"""The examples of the gallery run; the one on CIFAR-10 in a small form."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from lanes import slow_unless
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
SMALL = {"n_labeled": 100, "n_pool": 2_000, "n_instances": 50}


@pytest.fixture
def cifar10():
    """The CIFAR-10 example as a namespace, without its last block."""
    matplotlib.use("Agg")
    defined = runpy.run_path(
        str(ROOT / "examples" / "plot_cifar10.py"), run_name="plot_cifar10"
    )
    yield SimpleNamespace(**defined)
    plt.close("all")


def synthetic_images():
    """Images, labels and names in the shape of CIFAR-10's."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2_500)
    images = rng.integers(0, 128, (2_500, 32, 32, 3)) + 12 * labels[:, None, None, None]
    return images.astype("uint8"), labels, [f"class {k}" for k in range(10)]


@pytest.mark.slow
def test_cifar10_in_a_small_form(cifar10, capsys, monkeypatch):
    folder = cifar10.data_folder()
    present = (folder / "load.py").is_file() and (folder / "cifar10.npz").is_file()
    if not present and "SKDAL_DATA" in os.environ:
        pytest.fail(f"SKDAL_DATA names {folder}, which has no load.py and cifar10.npz")
    if not present:
        monkeypatch.setitem(cifar10.main.__globals__, "load_images", synthetic_images)
    picked, scores = cifar10.main(**SMALL)
    out = capsys.readouterr().out
    assert "query of 50 from 2000" in out
    assert "images a second" in out
    assert "peak memory" in out
    assert len(set(picked.tolist())) == 50
    assert picked.min() >= 100
    assert picked.max() < 2_100
    assert (np.diff(scores) <= 0).all()
    (figure,) = map(plt.figure, plt.get_fignums())
    assert sum(bool(axes.images) for axes in figure.axes) == 24
    assert figure.axes[0].get_title().startswith(f"{scores[0]:,.0f}\n")


def test_cifar10_ends_without_failing_where_there_are_no_images(
    cifar10, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("SKDAL_DATA", str(tmp_path))
    assert cifar10.main() is None
    assert f"No CIFAR-10 in {tmp_path}: set SKDAL_DATA" in capsys.readouterr().out


def test_cifar10_looks_beside_the_repository_by_default(cifar10, monkeypatch):
    monkeypatch.delenv("SKDAL_DATA", raising=False)
    assert cifar10.data_folder() == ROOT.resolve().parent / "shared" / "data"


def test_cifar10_pool_stays_uint8_and_items_are_float32(cifar10):
    images, labels, _ = synthetic_images()
    photographs = cifar10.Photographs(images, labels)
    assert photographs.images is images
    item, label = photographs[3]
    assert (item.shape, item.dtype, label) == ((3, 32, 32), torch.float32, labels[3])
    assert torch.allclose(
        item, torch.from_numpy(images[3]).permute(2, 0, 1) / 127.5 - 1
    )


@pytest.mark.slow
def test_quickstart_runs(tmp_path):
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    script = ROOT / "examples" / "plot_quickstart.py"
    done = subprocess.run(
        [sys.executable, "-W", "error:::skdal", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr.replace(
        "UserWarning: FigureCanvasAgg is non-interactive", ""
    )


SMALLER = {
    "modal_loop": ("= 20, 20, 6, 6", "= 20, 20, 1, 2"),
    "sklearn_loop": ("= 12, 3, 20", "= 12, 3, 4"),
    "samplers": ("= 30, 30, 3, 4", "= 30, 5, 1, 2"),
    "gamma_kappa": ("n_instances=12", "n_instances=12"),
    "diagnose": ("max_epochs=200", "max_epochs=40"),
    "experiment": (
        "n_seeds=3,\n    n_rounds=3",
        "n_seeds=2,\n    n_rounds=1",
    ),
    "large_pool": ("max_epochs=30", "max_epochs=5"),
    "own_sampler": ("max_epochs=20", "max_epochs=5"),
}


# one example every time
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", [slow_unless(name == "own_sampler", name) for name in SMALLER]
)
def test_example_runs_and_draws(name, monkeypatch, tmp_path):
    matplotlib.use("Agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    source, n_threads = (
        (ROOT / "examples" / f"plot_{name}.py").read_text(),
        torch.get_num_threads(),
    )
    full, small = SMALLER[name]
    assert source.count(full) == 1
    script = tmp_path / f"plot_{name}.py"
    script.write_text(source.replace(full, small))
    try:
        runpy.run_path(str(script), run_name="__main__")
        assert plt.get_fignums()
        for number in plt.get_fignums():
            plt.figure(number).savefig(tmp_path / "figure.png")
    finally:
        plt.close("all")
        torch.set_num_threads(n_threads)


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES} == {
        f"plot_{name}" for name in (*SMALLER, "quickstart", "cifar10")
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_have_the_head_that_the_gallery_wants(path):
    title, line, *_ = ast.get_docstring(ast.parse(path.read_text())).splitlines()
    assert line == "=" * len(line)
    assert len(line) >= len(title)
