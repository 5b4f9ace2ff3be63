"""Sphinx configuration: `make docs` builds these pages with warnings as errors."""

import importlib
import inspect
import os
import re
from pathlib import Path

import skdal

ROOT = Path(__file__).resolve().parent.parent

project = "skdal"
author = "skdal developers"
copyright = author
version = release = skdal.__version__

API = re.findall(
    r"^   (skdal[\w.]*)$", (ROOT / "docs" / "api.rst").read_text(), flags=re.MULTILINE
)


HEADINGS = (
    "Classes",
    "Functions",
    "Errors and warnings",
    "Values",
    "Documented elsewhere",
)


def kind_of(value):
    """Return the heading that a public name stands under in its package's page."""
    if inspect.isclass(value):
        is_error = issubclass(value, BaseException)
        return "Errors and warnings" if is_error else "Classes"
    return "Functions" if callable(value) else "Values"


def public_names():
    """Return package -> heading -> names.

    What two packages have, the first one in api.rst documents.
    """
    public, homes = {}, {}
    for package in API:
        module = importlib.import_module(package)
        found = {heading: [] for heading in HEADINGS}
        for name in sorted(module.__all__):
            value = getattr(module, name)
            heading, entry = kind_of(value), name
            if heading != "Values":
                home = homes.setdefault((name, id(value)), package)
                if home != package:
                    heading, entry = "Documented elsewhere", f"{home}.{name}"
            found[heading].append(entry)
        public[package] = {heading: names for heading, names in found.items() if names}
    return public


extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "tables", "results/tables"]
default_role = "py:obj"  # `name` in a docstring is a link where it names something
highlight_language = "pycon"

autosummary_generate = True
autosummary_context = {"public": public_names()}
autodoc_typehints = "none"
numpydoc_show_class_members = False  # _templates/autosummary/class.rst lists them

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_title = f"skdal {release}"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
}
html_sidebars = {  # pages without siblings have nothing to list
    page: [] for page in ("index", "baselines", "genindex", "search")
}

# The CIFAR-10 example needs images that do not come with skdal.
# Without them it is shown, not executed.
data = Path(os.environ.get("SKDAL_DATA", ROOT.parent / "shared" / "data"))
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_"
    if (data / "cifar10.npz").is_file()
    else "plot_(?!cifar10)",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
}
