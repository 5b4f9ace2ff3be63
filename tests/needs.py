"""Packages of the test extra: without one its tests are skipped, but where CI runs they fail."""

import importlib
import os

import pytest


def needs(package):
    """Return a package that some tests need; skip these where it is missing, unless CI=true."""
    if os.environ.get("CI") == "true":
        return importlib.import_module(package)
    return pytest.importorskip(package)
