"""What a kernel and labels say of training: alignment, convergence, generalization."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np

from skdal.dynamics._spectrum import (
    check_kernel,
    check_labels,
    check_rate,
    check_semidefinite,
    roundings,
    spectrum,
)
from skdal.exceptions import InvalidParameterError
from skdal.utils import is_boolean

_MOST_STEPS = 2**53  # above it not every integer is a float


class Bounds(NamedTuple):
    """Both sides of an inequality.

    Attributes
    ----------
    lower, upper : float
    """

    lower: float
    upper: float


def alignment(theta: Any, Y: Any) -> Any:
    r"""Compute the alignment A = Tr[Y' Theta Y] of labels with a kernel.

    Parameters
    ----------
    theta : array (n, n)
        A tangent kernel, such as `infinite_ntk` gives.
    Y : array (n, K)
        One-hot labels.

    Returns
    -------
    float

    Raises
    ------
    InvalidKernelError
        The kernel is not symmetric, or has negative eigenvalues beyond rounding.
    InvalidDataError, InvalidLabelsError
        The kernel is not a square matrix of finite numbers; the labels are not one-hot, or of other
        samples.

    References
    ----------
    Wang et al., "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, Definition 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdal.dynamics import alignment
    >>> alignment(np.array([[2.0, 1.0], [1.0, 2.0]]), np.eye(2)[[0, 0]])
    6.0
    """
    kernel = check_semidefinite(theta)
    labels = check_labels(Y, len(kernel))
    return float(np.sum(labels * (kernel @ labels)))


def convergence_error(theta: Any, Y: Any, *, t: float, learning_rate: float) -> Any:
    r"""Compute the training error E_t that gradient descent is left with after t steps, on the
    squared error.

    .. math:: E_t = \sqrt{\sum_k \sum_i (1 - \eta \lambda_i)^{2t} (v_i^\top Y^k)^2}

    Parameters
    ----------
    theta : array (n, n)
    Y : array (n, K)
        One-hot.
    t : int
        Steps, at least 0.
    learning_rate : float
        eta, above 0; above 2 / lambda_max the error grows.

    Returns
    -------
    float

    Raises
    ------
    InvalidKernelError
        The kernel is not symmetric, or has negative eigenvalues beyond rounding.
    InvalidParameterError, InvalidDataError, InvalidLabelsError
        Other arguments do not fit.

    References
    ----------
    Eq. 16.
    """
    t = _check_steps(t, 0)
    learning_rate = check_rate(learning_rate)
    found = _spectrum(theta, Y)
    left = np.abs(1 - learning_rate * found.eigenvalues) ** (2 * t)
    return float(np.sqrt(left @ (found.projections**2).sum(1)))


def convergence_bounds(theta: Any, Y: Any, *, t: float, learning_rate: float) -> Any:
    """Compute both sides of Theorem 1, which hold the SQUARE of `convergence_error`.

    Tr[Y'Y] - 2 t eta A <= E_t^2 <= Tr[Y'Y] - eta A.

    Parameters
    ----------
    theta : array (n, n)
    Y : array (n, K)
        One-hot.
    t : int
        Steps, at least 1.
    learning_rate : float
        eta, above 0 and at most 1 / lambda_max.

    Returns
    -------
    Bounds
        (lower, upper); the lower one is below 0 for large t, where it says nothing.

    Raises
    ------
    InvalidParameterError
        The learning rate is above 1 / lambda_max, or another argument does not fit.
    InvalidKernelError
        The kernel is not symmetric and positive semidefinite.
    InvalidDataError, InvalidLabelsError
        Other arguments do not fit.

    References
    ----------
    Theorem 1, Eq. 17.
    """
    t = _check_steps(t, 1, "Theorem 1")
    learning_rate = check_rate(
        learning_rate, " and at most 1 / lambda_max, as Theorem 1 assumes"
    )
    found = _spectrum(theta, Y)
    largest = found.eigenvalues[-1]
    if learning_rate * largest > 1 + roundings(theta, found.eigenvalues):
        raise InvalidParameterError(
            f"Theorem 1 assumes a learning rate of at most 1 / lambda_max = {1 / largest:.6g}; got "
            f"{learning_rate:.6g}."
        )
    squares = (found.projections**2).sum(1)
    aligned = found.eigenvalues @ squares
    total = squares.sum()
    return Bounds(
        float(total - 2 * t * learning_rate * aligned),
        float(total - learning_rate * aligned),
    )


def generalization_bound(theta: Any, Y: Any) -> Any:
    r"""Compute the dominant term B of the bound on the population risk.

    .. math:: B = \sqrt{2 \operatorname{Tr}[Y^\top \Theta^{-1} Y] / n}

    Parameters
    ----------
    theta : array (n, n)
        Where its smallest eigenvalue is below n eps lambda_max (eps of float64; of a shorter type,
        its own eps lambda_max), all are raised by what it lacks, with a warning.
    Y : array (n, K)
        One-hot.

    Returns
    -------
    float

    Raises
    ------
    InvalidKernelError
        The kernel is not symmetric, or has negative eigenvalues beyond rounding.
    InvalidDataError, InvalidLabelsError
        The arguments do not fit.

    Warns
    -----
    IllConditionedWarning
        The kernel is as good as singular; its condition number is told.

    References
    ----------
    Lemma 2 and Theorem 2.
    """
    found = _spectrum(theta, Y, invertible=True)
    return float(np.sqrt(2 * _inverse_norm(found) / len(found.eigenvalues)))


def generalization_bounds(theta: Any, Y: Any) -> Any:
    """Compute both sides of Theorem 2, which hold n/2 times the SQUARE of `generalization_bound`.

    Tr[Y'Y]^2 / A <= n/2 B^2 <= lambda_max / lambda_min Tr[Y'Y]^2 / A. Where eigenvalues have to be
    raised, alignment and eigenvalues are those of the raised kernel, as in `generalization_bound`.

    Parameters
    ----------
    theta : array (n, n)
    Y : array (n, K)
        One-hot.

    Returns
    -------
    Bounds
        (lower, upper).

    Raises
    ------
    InvalidKernelError, InvalidDataError, InvalidLabelsError
        As of `generalization_bound`.

    Warns
    -----
    IllConditionedWarning
        As of `generalization_bound`.

    References
    ----------
    Theorem 2, Eq. 19.
    """
    found = _spectrum(theta, Y, invertible=True)
    squares = (found.projections**2).sum(1)
    lower = squares.sum() ** 2 / (found.eigenvalues @ squares)
    return Bounds(
        float(lower), float(found.eigenvalues[-1] / found.eigenvalues[0] * lower)
    )


def _spectrum(theta, Y, *, invertible=False):
    return spectrum(
        theta,
        check_labels(Y, len(check_kernel(theta))),
        invertible=invertible,
        stacklevel=4,
    )


def _inverse_norm(found):
    return (1 / found.eigenvalues) @ (found.projections**2).sum(1)


def _check_steps(t, least, theorem="Eq. 16"):
    """Return the number of steps as a float, which no product of it overflows."""
    if (
        is_boolean(t)
        or not isinstance(t, numbers.Integral)
        or not least <= t <= _MOST_STEPS
    ):
        raise InvalidParameterError(
            f"{theorem} is for an integer number of steps t of at least {least}, and at most 2^53; "
            f"got {t!r}."
        )
    return float(t)
