"""Maximum mean discrepancy: sums written out, and what it is an estimate of."""

import math

import numpy as np
import pytest

from skdal.dynamics import mmd_bound, mmd_squared
from skdal.exceptions import InvalidDataError, InvalidKernelError, InvalidParameterError

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(9, 4))
THETA = FEATURES @ FEATURES.T
INITIAL = [7, 0, 3, 4]


def written_out(theta, initial):
    n, n_0 = len(theta), len(initial)
    a = sum(theta[i, j] for i in initial for j in initial if i != j)
    b = sum(theta[i, j] for i in range(n) for j in range(n) if i != j)
    c = sum(theta[i, j] for i in initial for j in range(n) if i != j)
    return a / (n_0**2 - n_0) + b / (n**2 - n) - 2 * c / (n_0 * (n - 1))


def test_eq_33():
    assert mmd_squared(THETA, INITIAL) == pytest.approx(
        written_out(THETA, INITIAL), rel=1e-12
    )


def test_a_sample_is_not_compared_with_itself():
    assert mmd_squared(THETA + np.diag(RNG.uniform(1, 9, 9)), INITIAL) == pytest.approx(
        mmd_squared(THETA, INITIAL)
    )


def test_nothing_was_queried():
    assert mmd_squared(THETA, range(9)) == pytest.approx(0, abs=1e-12)


def test_it_is_unbiased_and_so_may_be_negative():
    found = []
    for seed in range(400):
        x = np.random.default_rng(seed).normal(size=(12, 3))  # all of one distribution
        found.append(mmd_squared(np.exp(-((x[:, None] - x) ** 2).sum(2)), range(5)))
    assert abs(np.mean(found)) < 3 * np.std(found) / 20
    assert np.min(found) < 0 < np.max(found)


def test_moved_samples_are_found():
    x = np.concatenate([RNG.normal(size=(50, 2)), RNG.normal(3, 1, size=(50, 2))])
    theta = np.exp(-((x[:, None] - x) ** 2).sum(2))
    assert mmd_squared(theta, range(50)) > 0.03


def test_the_bound_of_appendix_b_3():
    squared, largest = mmd_squared(THETA, INITIAL), THETA.max()
    expected = math.sqrt(max(0, squared)) + 4 * math.sqrt(largest / 9)
    expected += math.sqrt(4 * largest * math.log(4 / 0.1) / (4 / 9 * 9))
    assert mmd_bound(THETA, INITIAL, delta=0.1) == pytest.approx(expected, rel=1e-12)
    assert mmd_bound(THETA, INITIAL, delta=0.01) > mmd_bound(THETA, INITIAL, delta=0.1)


BAD = {
    "one sample": (
        lambda: mmd_squared(THETA, [0]),
        InvalidDataError,
        "at least two positions",
    ),
    "a mask": (
        lambda: mmd_squared(THETA, np.arange(9) < 3),
        InvalidDataError,
        "of type bool",
    ),
    "twice": (
        lambda: mmd_squared(THETA, [1, 2, 1]),
        InvalidDataError,
        "1 of them twice",
    ),
    "outside": (
        lambda: mmd_squared(THETA, [1, 9]),
        InvalidDataError,
        "from 0 to 8.*got 1 to 9",
    ),
    "below": (lambda: mmd_squared(THETA, [-1, 2]), InvalidDataError, "from 0 to 8"),
    "asymmetric": (
        lambda: mmd_squared(THETA + np.triu(THETA + 1), [0, 1]),
        InvalidKernelError,
        "symmetric",
    ),
    "negative": (
        lambda: mmd_bound(-np.eye(4), [0, 1], delta=0.1),
        InvalidKernelError,
        "positive semidefinite",
    ),
    "certain": (
        lambda: mmd_bound(THETA, INITIAL, delta=0.0),
        InvalidParameterError,
        "between 0 and 1.*got 0.0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, said = BAD[name]
    with pytest.raises(error, match=said):
        call()
