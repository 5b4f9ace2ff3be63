"""The command line: arguments, exit codes, output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from experiments.helpers import refuse_training

from skdal import __version__, experiments
from skdal.cli import main
from skdal.exceptions import InvalidDataError

SMALL = [
    "demo",
    "--quiet",
    "--seeds",
    "1",
    "--rounds",
    "1",
    "--n-instances",
    "5",
    "--n-initial",
    "30",
    "--jobs",
    "1",
]


@pytest.fixture
def no_training(monkeypatch):
    """Fail where training begins."""
    refuse_training(monkeypatch)


def test_demo_prints_a_table_and_names_the_folder_of_its_figures(tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path / "new" / "folder")]) == 0
    out, err = capsys.readouterr()
    assert "labels" in out
    assert "Seconds per query" in out
    assert str(tmp_path / "new" / "folder") in out
    assert err == ""  # --quiet
    for name in ("learning_curve.png", "queries.png"):
        assert name in out
        assert (tmp_path / "new" / "folder" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_demo_shows_a_progress_bar(tmp_path, capsys):
    assert (
        main([*(word for word in SMALL if word != "--quiet"), "--out", str(tmp_path)])
        == 0
    )
    assert "runs 4/4, rounds 8/8" in capsys.readouterr().err


RUN = [
    "run",
    "digits-quick",
    "--seeds",
    "2",
    "--rounds",
    "1",
    "--samplers",
    "random",
    "margin",
]


@pytest.mark.slow
def test_run_then_table_then_plot(tmp_path, capsys):
    out = str(tmp_path / "runs")
    assert main([*RUN, "--jobs", "2", "--out", out]) == 0
    shown = capsys.readouterr()
    assert "4 runs are done, 0 failed, 0 are in use" in shown.out
    assert "runs 4/4, rounds 8/8" in shown.err
    assert main([*RUN, "--out", out, "--quiet"]) == 0  # nothing is left to do
    assert capsys.readouterr().err == ""
    assert main(["table", out]) == 0
    table = capsys.readouterr().out
    assert "## digits-quick: A first look" in table
    assert "minus random" in table
    assert main(["table", out, "--suite", "digits-quick", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("suite,data,measure,sampler,labels,")
    assert (
        main(["plot", out, "--suite", "digits-quick", "--out", str(tmp_path / "plots")])
        == 0
    )
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == [
        "digits-quick-digits.png",
        "digits-quick-digits.svg",
    ]


def test_a_failed_run_exits_with_1_and_shows_why(tmp_path, capsys, monkeypatch):
    spec = experiments.SUITES["digits-quick"].spec("random", 0)
    monkeypatch.setattr(
        experiments,
        "run_suite",
        lambda *a, **k: experiments.Ended([], [(spec, "Traceback: it broke")], []),
    )
    assert main([*RUN, "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "1 failed" in out
    assert "it broke" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["run", "tabel3", "--out", "x"],
            2,
            "'tabel3' is no suite (did you mean 'table3'?)",
        ),
        (
            ["run", "table3", "--out", "x", "--samplers", "bagde"],
            2,
            "did you mean 'badge'",
        ),
        (
            ["run", "table3", "--out", "x", "--dataset", "cifra10"],
            2,
            "did you mean 'cifar10'",
        ),
        (["run", "table3", "--out", "x", "--data-root", "nowhere"], 1, "download=True"),
        (["table", "nowhere"], 1, "skdal run SUITE --out DIR"),
        (["plot", "nowhere", "--suite", "table33"], 2, "'table33' is no suite"),
    ],
)
def test_what_experiments_refuse(arguments, code, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "verb"),
        (["run", "table3"], "--out"),
        (["run", "table3", "--out", "x", "--jobs", "0"], "--jobs"),
        (["table"], "DIR"),
        (["table", "x", "--format", "html"], "html"),
        (["demonstrate"], "demo"),
        (
            ["demo", "--seeds", "0"],
            "--seeds: must be an integer of at least 1; got '0'",
        ),
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
    assert main(["demo", "--n-instances", "400", "--out", str(tmp_path)]) == 2
    assert "pool of digits has 1438" in capsys.readouterr().err


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_training(
    below, tmp_path, capsys, no_training
):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / below
    assert main([*SMALL, "--out", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvalidDataError("broken digits"), 1, "error: broken digits"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures_have_their_exit_codes(
    error, code, said, tmp_path, capsys, monkeypatch
):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(experiments, "run_demo", fail)
    assert main([*SMALL, "--out", str(tmp_path)]) == code
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_theory(tmp_path, capsys):
    assert (
        main(
            [
                "theory",
                "fig2",
                "--quick",
                "--pixels",
                "4",
                "--quiet",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert "## Figure 2" in out
    assert "pixels = 4" in out
    assert err == ""
    for kind in ("png", "svg"):
        (figure,) = tmp_path.glob(f"fig2-digits-4px-*.{kind}")
        assert str(figure) in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fig3"], 2, "'fig3' is no verification experiment"),
        (["fig2", "--quick", "--pixels", "16"], 2, r"cannot be averaged down to 16"),
        (["fig2", "--models", "cnn"], 2, "fig2 has no use for --models"),
        (["fig4", "--quick", "--pixels", "8"], 2, "fig4 has no use for --pixels"),
        (["fig2", "--quick", "--device", "nowhere"], 2, "no device 'nowhere'"),
        (["fig2", "--data-root", "nowhere"], 1, "nowhere, or is damaged"),
    ],
)
def test_what_theory_refuses(arguments, code, said, tmp_path, capsys):
    assert main(["theory", *arguments, "--quiet", "--out", str(tmp_path)]) == code
    assert said in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"skdal {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--help"], "Exit codes"), (["demo", "--help"], "(default: skdal_demo)")],
)
def test_help_comes_without_waiting_for_torch(arguments, said):
    code = (
        "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules)); import "
        "skdal.cli; skdal.cli.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0
    assert said in " ".join(done.stdout.split())
    assert done.stdout.endswith("False\n")
