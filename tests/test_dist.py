"""Source distribution and wheel: what is in them, and that the wheel works alone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from needs import needs

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "_build", "generated"
)

needs("build")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Build both from a copy of the tree, the wheel from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=ELSEWHERE)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    subprocess.run([*command, folder, tree], check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def test_the_source_distribution_is_small(made):
    sdist, _ = made
    with tarfile.open(sdist) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"} <= names
    tops = {name.split("/")[0] for name in names}
    assert tops.isdisjoint({"docs", "tests", "benchmarks"})
    assert sdist.stat().st_size < 1e6


def test_the_wheel_has_the_whole_package(made):
    _, wheel = made
    found = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "skdal"
    wanted = [
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.suffix in (".py", ".json", ".typed")
    ]
    assert [name for name in wanted if name not in found] == []
    assert {name.split("/")[0].split("-")[0] for name in found} == {"skdal"}


def environment(folder):
    """Create an environment that finds the installed packages behind its own, and nothing of this
    tree."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    here = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    behind = dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib")))
    (here / "behind.pth").write_text("\n".join(behind) + "\n")
    return Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)}))


def test_the_wheel_alone_runs_the_demo(made, tmp_path):
    _, wheel = made
    scripts = environment(tmp_path / "env")
    hidden = ("PYTHONPATH", "PYTHONHOME")
    variables = {key: value for key, value in os.environ.items() if key not in hidden}

    def run(*command):
        done = subprocess.run(
            [scripts / command[0], *command[1:]],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    install = ("-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed")
    run("python", *install, wheel)
    where = Path(run("python", "-c", "import skdal; print(skdal.__file__)").strip())
    assert where.is_relative_to(tmp_path)
    table = run("skdal", "demo", "--seeds", "1", "--rounds", "1")
    assert "margin" in table
    assert list((tmp_path / "skdal_demo").glob("*.png"))
