"""The command line: arguments, exit codes, output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skdal import __version__, demo
from skdal.cli import main
from skdal.exceptions import InvalidDataError

SMALL = ["demo", "--quiet", "--seeds", "1", "--rounds", "1", "--n-instances", "5", "--n-initial", "30"]


@pytest.fixture
def no_training(monkeypatch):
    """Fail where training begins."""
    monkeypatch.setattr(demo.ConvergingNet, "fit_loop", lambda *args, **kwargs: pytest.fail("training began"))


def test_demo_prints_a_table_and_names_the_folder_of_its_figures(tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path / "new" / "folder")]) == 0
    out, err = capsys.readouterr()
    assert "labels" in out
    assert "seconds a query" in out
    assert str(tmp_path / "new" / "folder") in out
    assert err == ""  # --quiet
    for name in ("learning_curve.png", "queries.png"):
        assert name in out
        assert (tmp_path / "new" / "folder" / name).read_bytes().startswith(b"\x89PNG")


def test_demo_shows_a_progress_bar(tmp_path, capsys):
    assert main([*(word for word in SMALL if word != "--quiet"), "--out", str(tmp_path)]) == 0
    assert "6/6" in capsys.readouterr().err  # three samplers, two fits each


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "verb"),
        (["demonstrate"], "demo"),
        (["demo", "--seeds", "0"], "--seeds: must be an integer of at least 1; got '0'"),
        (["demo", "--rounds", "-1"], "--rounds"),
        (["demo", "--n-instances", "some"], "got 'some'"),
        (["demo", "--n-initial", "2.5"], "got '2.5'"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_what_came(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_too_many_labels_are_refused_before_any_training(tmp_path, capsys, no_training):
    assert main(["demo", "--rounds", "30", "--out", str(tmp_path)]) == 2
    assert "1297 digits" in capsys.readouterr().err


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_training(below, tmp_path, capsys, no_training):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / below
    assert main([*SMALL, "--out", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(InvalidDataError("broken digits"), 1, "error: broken digits"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_failures_have_their_exit_codes(error, code, said, tmp_path, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(demo, "run_demo", fail)
    assert main([*SMALL, "--out", str(tmp_path)]) == code
    assert said in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"skdal {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--help"], "Exit codes"), (["demo", "--help"], "(default: skdal_demo)")]
)
def test_help_comes_without_waiting_for_torch(arguments, said):
    code = (
        "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules)); import skdal.cli; skdal.cli.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0
    assert said in done.stdout
    assert done.stdout.endswith("False\n")
