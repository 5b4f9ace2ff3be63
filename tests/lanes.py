"""Which tests run every time and which are left to `make test-all`: products of two lists in
pairs."""

from itertools import product

import pytest


def slow_unless(usual, *values, marks=()):
    """Return the values of one test as pytest takes them, marked `slow` where they are not
    usual."""
    lane = () if usual else (pytest.mark.slow,)
    return pytest.param(*values, marks=[*marks, *lane])


def crossed(names, rows, columns, *, some_rows, some_columns):
    """Parametrize by every pair of a row and a column, names as in "row, column".

    All rows meet some columns, and all columns meet some rows, every time; what is left is marked
    `slow`. A fault is nearly always one of a row or of a column, which these find; one of a certain
    pair is found by `make test-all`.
    """
    assert set(some_rows) <= set(rows), some_rows
    assert set(some_columns) <= set(columns), some_columns
    return pytest.mark.parametrize(
        names,
        [
            slow_unless(row in some_rows or column in some_columns, row, column)
            for row, column in product(rows, columns)
        ],
    )
