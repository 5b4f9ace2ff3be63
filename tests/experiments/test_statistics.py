"""Statistics of learning curves, against numbers worked out by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats

from skdal import experiments as s


def test_paired_difference_by_hand():
    """Differences 1, 2, 3: mean 2, deviation 1, and t(0.975, 2) = 4.302653."""
    found = s.paired_difference([3, 5, 7], [2, 3, 4])
    assert found.n_pairs == 3
    half = 4.302653 / np.sqrt(3)
    np.testing.assert_allclose(found[:3], [2, 2 - half, 2 + half], rtol=1e-6)


def test_paired_difference_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.normal(0.4, 1, 5), rng.normal(size=5)
        found = s.paired_difference(a, b)
        assert (found.low > 0 or found.high < 0) == (
            stats.ttest_rel(a, b).pvalue < 0.05
        )


def test_paired_difference_leaves_out_what_is_missing():
    assert s.paired_difference([1, np.nan, 3], [0, 0, np.nan])[0] == 1
    assert s.paired_difference([1, np.nan], [0, 0]).n_pairs == 1
    assert np.isnan(s.paired_difference([1], [0]).low)
    assert np.isnan(
        s.paired_difference([51.3, 52.3, 49.3], [50.1, 51.1, 48.1]).low
    )  # equal by chance
    assert np.isnan(s.paired_difference([np.nan], [0]).mean)
    assert s.paired_difference([], []).n_pairs == 0


def test_area_under_curve():
    assert s.area_under_curve([0, 1, 3], [0, 2, 2]) == pytest.approx((1 + 4) / 3)
    np.testing.assert_allclose(s.area_under_curve([5, 10], [[1, 3], [2, 2]]), [2, 2])
    assert s.area_under_curve([500], [[0.3]]) == pytest.approx([0.3])
    assert np.isnan(s.area_under_curve([0, 1], [np.nan, 1]))


def test_labels_saved_by_hand():
    n, low, high = [100, 200, 300], [10, 20, 30], [10, 30, 50]
    assert s.labels_saved(n, high, low) == 100  # 30 at 200 instead of 300
    assert s.labels_saved(n, low, high) == -100
    assert s.labels_saved(n, low, low) == 0
    assert s.labels_saved(n, [10, 40, 50], low) == pytest.approx(
        300 - (100 + 100 * 20 / 30)
    )
    assert s.labels_saved(n, [40, 45, 50], low) == 200  # from the start
    assert s.labels_saved(n, [10, 35, 33], low) == pytest.approx(
        300 - (100 + 100 * 20 / 25)
    )  # the first time
    plateau = [50, 60, 60]
    assert s.labels_saved(n, plateau, plateau) == 0
    assert s.labels_saved(n, plateau, [50, 60, 60.001]) == 0
    assert np.isnan(s.labels_saved(n, [10, np.nan, 30], low))


def test_penalty_matrix_by_hand():
    """Two points, three seeds: a beats b at both, b never; c is too noisy to say."""
    base = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    clear = base + [[1.0, 2.0], [1.1, 2.1], [0.9, 1.9]]
    noisy = base + [[9.0, -9.0], [-9.0, 9.0], [1.0, 1.0]]
    found = s.penalty_matrix([clear, base, noisy])
    np.testing.assert_array_equal(
        found, [[np.nan, 1, 0], [0, np.nan, 0], [0, 0, np.nan]]
    )
    only_first = base + [[1.0, 5.0], [1.1, -5.0], [0.9, 1.0]]
    assert s.penalty_matrix([only_first, base])[0, 1] == 0.5
    only_first[:, 1] = np.nan  # as of a variant without this point
    assert s.penalty_matrix([only_first, base])[0, 1] == 1
    assert np.isnan(s.penalty_matrix([only_first[:2], base[:2]])).all()
