"""Fixtures shared by the tests."""

from functools import lru_cache

import pytest
from problems import Problem

_latest = lru_cache(maxsize=1)(
    Problem
)  # pytest itself sets up once for every pair of a case and a backend


@pytest.fixture(scope="module")
def problem(request):
    return _latest(request.param)
