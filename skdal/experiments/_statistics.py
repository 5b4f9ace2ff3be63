"""Statistics of learning curves, in pairs: runs of one seed share their first labels and
weights.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Difference(NamedTuple):
    """A mean difference with its 95% confidence interval; NaN bounds where the pairs do not tell
    how it varies.
    """

    mean: float
    low: float
    high: float
    n_pairs: int


def paired_difference(a, b):
    """Return the mean of a - b over pairs, with the 95% interval of Student's t.

    Parameters
    ----------
    a, b : array-like (n_seeds,)
        Values of the same seeds; pairs with a NaN are left out.

    Returns
    -------
    Difference
    """
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    differences = differences[~np.isnan(differences)]
    n = len(differences)
    if n == 0:
        return Difference(np.nan, np.nan, np.nan, 0)
    mean = differences.mean()
    deviation = differences.std(ddof=1) if n > 1 else 0.0
    varies = deviation > 1e-9 * max(
        1.0, abs(mean)
    )  # a few equal differences are chance, no certainty
    half = stats.t.ppf(0.975, n - 1) * deviation / np.sqrt(n) if varies else np.nan
    return Difference(float(mean), float(mean - half), float(mean + half), n)


def area_under_curve(n_labeled, accuracy):
    """Return the mean height of learning curves: the area by the trapezoid rule over the range of
    labels.

    Parameters
    ----------
    n_labeled : array-like (n_points,)
        Ascending.
    accuracy : array-like (..., n_points)

    Returns
    -------
    array (...)
        NaN where a point is missing; of a single point its height.
    """
    n_labeled = np.asarray(n_labeled, dtype=float)
    accuracy = np.asarray(accuracy, dtype=float)
    if len(n_labeled) == 1:
        return accuracy[..., 0]
    return np.trapezoid(accuracy, n_labeled, axis=-1) / (n_labeled[-1] - n_labeled[0])


def labels_saved(n_labeled, accuracy, baseline):
    """Return how many labels fewer than a baseline a sampler needs for the same accuracy.

    It is the accuracy that both have reached in the end, the lower of their last values. Where a
    curve first gets there is interpolated linearly. On a plateau this is mostly noise: look at its
    interval over seeds.

    Parameters
    ----------
    n_labeled : array-like (n_points,)
        Ascending.
    accuracy, baseline : array-like (n_points,)

    Returns
    -------
    float
        Negative where the baseline needs fewer; NaN where a value is missing.
    """
    n_labeled, accuracy, baseline = (
        np.asarray(v, dtype=float) for v in (n_labeled, accuracy, baseline)
    )
    if np.isnan(accuracy + baseline).any():
        return np.nan
    height = min(accuracy[-1], baseline[-1])
    return float(
        _first_reached(n_labeled, baseline, height)
        - _first_reached(n_labeled, accuracy, height)
    )


def _first_reached(n_labeled, curve, height):
    i = int(np.argmax(curve >= height))
    if i == 0:
        return n_labeled[0]
    share = (height - curve[i - 1]) / (curve[i] - curve[i - 1])
    return n_labeled[i - 1] + share * (n_labeled[i] - n_labeled[i - 1])


def penalty_matrix(curves):
    """Return how often each sampler is significantly better than each other (Ash et al., "BADGE",
    section 5).

    Parameters
    ----------
    curves : list of array (n_seeds, n_points)
        Of each sampler, the points that follow a query; the rows of all are of the same seeds.

    Returns
    -------
    array (n_samplers, n_samplers)
        Entry (i, j): the share of points at which i beats j by a two-sided paired t-test at 5%, of
        those with at least three pairs; NaN where there is none. The lower the mean of a column,
        the better its sampler.
    """
    found = np.full((len(curves), len(curves)), np.nan)
    for i, ours in enumerate(curves):
        for j, theirs in enumerate(curves):
            tested = [paired_difference(a, b) for a, b in zip(ours.T, theirs.T)]
            wins = [
                difference.low > 0 for difference in tested if difference.n_pairs >= 3
            ]
            if wins and i != j:
                found[i, j] = np.mean(wins)
    return found
