"""What the documentation has to hold of the code: a row per sampler, an entry per public name."""

import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import pytest
from jinja2 import Environment

import skdal
from skdal.samplers import SAMPLERS

DOCS = Path(__file__).resolve().parents[1] / "docs"
# packages, with all below them, that are public to each other and not to users
INTERNAL = (
    "skdal.adapters",
    "skdal.cli",
    "skdal.gradients.parts",
    "skdal.gradients.rules",
    "skdal.training",
    "skdal.utils",
)


def table_below(page, caption):
    """Return the text of a list-table of a page."""
    text = (DOCS / page).read_text()
    (table,) = re.findall(
        rf"^\.\. list-table:: {caption}\n(.*?)^(?=\S)", text, re.MULTILINE | re.DOTALL
    )
    return table


@pytest.mark.parametrize("caption", ["What is asked for", "What it costs"])
def test_every_sampler_has_a_row(caption):
    table = table_below("baselines.rst", re.escape(caption))
    firsts = re.findall(r"^   \* - (.*)$", table, re.MULTILINE)
    found = [key for first in firsts for key in re.findall(r'``"(\w+)"``', first)]
    assert [key for key in SAMPLERS if key not in found] == []
    assert [key for key in found if key not in SAMPLERS] == []


def test_readme_names_no_sampler_that_is_gone():
    text = (DOCS.parent / "README.md").read_text()
    (table,) = re.findall(r"\| key in `SAMPLERS` .*?\n\n", text, re.DOTALL)
    firsts = [line.split("|")[1] for line in table.splitlines()[2:] if line]
    named = [key for first in firsts for key in re.findall(r"`(\w+)`", first)]
    assert named
    assert [key for key in named if key not in SAMPLERS] == []


@pytest.fixture(scope="module")
def conf():
    return runpy.run_path(str(DOCS / "conf.py"))


def test_every_public_package_has_a_page(conf):
    names = [found.name for found in pkgutil.walk_packages(skdal.__path__, "skdal.")]
    public = [
        name
        for name in ["skdal", *names]
        if not name.startswith(INTERNAL)
        and "._" not in name
        and getattr(importlib.import_module(name), "__all__", None)
    ]
    assert sorted(conf["API"]) == sorted(public)


def test_every_public_name_is_on_its_page(conf):
    template = (DOCS / "_templates" / "autosummary" / "module.rst").read_text()
    page_of = Environment(autoescape=False).from_string(
        template.replace(" | escape | underline", "")
    )
    context = conf["autosummary_context"]
    for package in conf["API"]:
        page = page_of.render(fullname=package, **context)
        named = set(re.findall(r"(\w+)`*$", page, re.MULTILINE))
        missing = set(importlib.import_module(package).__all__) - named
        assert missing == set(), package
