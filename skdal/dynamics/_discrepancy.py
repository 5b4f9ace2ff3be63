"""How far the labeled set has moved from a random sample: the maximum mean discrepancy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skdal.dynamics._spectrum import check_semidefinite
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import as_array, is_number


def mmd_squared(theta: Any, initial: Any) -> Any:
    """Estimate the squared maximum mean discrepancy of the initial labeled set and the whole
    labeled set.

    The cross term leaves out each pair of a sample with itself. Of sets that are distributed alike
    the estimate is therefore zero on average, and may be negative.

    Parameters
    ----------
    theta : array (n, n)
        A kernel over the whole labeled set S.
    initial : array of int (n0,)
        Positions in S of the initial set S0, drawn at random; at least two, each once.

    Returns
    -------
    float

    Raises
    ------
    InvalidDataError
        `initial` is not made of different positions in S, or the kernel is not a square matrix of
        finite numbers.
    InvalidKernelError
        The kernel is not symmetric, or has negative eigenvalues beyond rounding.

    References
    ----------
    Wang et al., "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, Eq. 33.

    Examples
    --------
    >>> import numpy as np
    >>> from skdal.dynamics import mmd_squared
    >>> round(mmd_squared(np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 2.0]]), [0, 1]), 6)
    0.333333
    """
    kernel = check_semidefinite(theta)
    n = len(kernel)
    initial = _checked(initial, len(kernel))
    n_initial = len(initial)
    off_diagonal = kernel - np.diag(np.diag(kernel))
    within_initial = off_diagonal[np.ix_(initial, initial)].sum() / (
        n_initial * (n_initial - 1)
    )
    within_all = off_diagonal.sum() / (n * (n - 1))
    across = off_diagonal[initial].sum() / (n_initial * (n - 1))
    return float(within_initial + within_all - 2 * across)


def mmd_bound(theta: Any, initial: Any, *, delta: float) -> Any:
    r"""Bound by how much the risk may differ between a random sample's distribution and the labeled
    set's.

    .. math:: \mathrm{MMD} + 4 \sqrt{C / n} + \sqrt{4 C \ln(4 / \delta) / (\gamma n)},
              \qquad \gamma = n_0 / n

    with C the largest entry of the kernel; for a probability of 1 - delta, as the appendix has it.

    Parameters
    ----------
    theta : array (n, n)
    initial : array of int (n0,)
        As in `mmd_squared`; a negative estimate counts as 0.
    delta : float
        In (0, 1).

    Returns
    -------
    float

    Raises
    ------
    InvalidParameterError
        `delta` is not between 0 and 1.
    InvalidDataError, InvalidKernelError
        As of `mmd_squared`.

    References
    ----------
    Appendix B.3.
    """
    if not is_number(delta) or not 0 < delta < 1:
        raise InvalidParameterError(
            f"delta must be a number between 0 and 1, as in appendix B.3; got {delta!r}."
        )
    squared = mmd_squared(theta, initial)
    n = len(theta)
    n_initial = len(initial)
    largest = float(as_array(theta, "theta").max())
    discrepancy = math.sqrt(max(0.0, squared))
    return (
        discrepancy
        + 4 * math.sqrt(largest / n)
        + math.sqrt(4 * largest * math.log(4 / delta) / n_initial)
    )


def _checked(initial, n):
    positions = as_array(initial, "initial")
    if positions.ndim != 1 or positions.dtype.kind not in "iu" or len(positions) < 2:
        raise InvalidDataError(
            "initial must be at least two positions of the initial set in S, integers; got "
            f"{positions.shape} of type {positions.dtype}."
        )
    if (
        positions.min() < 0
        or positions.max() >= n
        or len(np.unique(positions)) < len(positions)
    ):
        raise InvalidDataError(
            f"initial must be different positions from 0 to {n - 1}, S being of {n} samples; "
            f"got {positions.min()} to {positions.max()}, "
            f"{len(positions) - len(np.unique(positions))} of them twice."
        )
    return positions
