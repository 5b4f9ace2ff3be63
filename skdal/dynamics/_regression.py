"""What an infinitely wide net predicts, and the training dynamics of what it is off by."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdal.dynamics._spectrum import as_matrix, check_rate, check_semidefinite, spectrum
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import is_number


def mse_training_dynamics(theta: Any, residual: Any) -> Any:
    r"""Compute the training dynamics of the squared error, G_MSE = Tr[(f - Y)' Theta (f - Y)].

    Parameters
    ----------
    theta : array (n, n)
    residual : array (n, K)
        f(X) - Y: what the net, or `kernel_regression`, is off by.

    Returns
    -------
    float

    Raises
    ------
    InvalidKernelError, InvalidDataError
        The kernel is not symmetric, or has negative eigenvalues beyond rounding; shapes do not fit.

    References
    ----------
    Section 4.3 and appendix A.3.
    """
    kernel = check_semidefinite(theta)
    residual = as_matrix(residual, "residual")
    if len(residual) != len(kernel):
        raise InvalidDataError(
            f"theta is of {len(kernel)} samples and the residual of {len(residual)}."
        )
    return float(np.sum(residual * (kernel @ residual)))


def kernel_regression(
    theta_train: Any,
    theta_test_train: Any,
    Y: Any,
    *,
    t: float | None = None,
    learning_rate: float | None = None,
) -> Any:
    r"""Predict with the infinitely wide net that was trained for a time on the squared error, from
    zero.

    .. math:: f(x) = \Theta(x, X) \Theta(X, X)^{-1} (I - e^{-\eta \Theta(X, X) t}) Y

    Parameters
    ----------
    theta_train : array (n, n)
        Theta(X, X).
    theta_test_train : array (m, n)
        Theta(x, X).
    Y : array (n, K)
        Of the training samples; not only one-hot labels.
    t : float, optional
        Steps. None: until convergence; ill-conditioned kernels are then raised as in
        `generalization_bound`.
    learning_rate : float, optional
        eta; to be given with `t`.

    Returns
    -------
    array (m, K)

    Raises
    ------
    InvalidKernelError, InvalidDataError, InvalidParameterError
        The arguments do not fit.

    Warns
    -----
    IllConditionedWarning
        As of `generalization_bound`.

    References
    ----------
    Eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skdal.dynamics import kernel_regression
    >>> theta = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> kernel_regression(theta, theta[:1], np.eye(2)).round(6) + 0.0
    array([[1., 0.]])
    """
    if (t is None) != (learning_rate is None):
        raise InvalidParameterError(
            "t and learning_rate go together: pass both, or neither for a converged net."
        )
    labels = as_matrix(Y, "Y")
    cross = as_matrix(theta_test_train, "theta_test_train")
    n = len(as_matrix(theta_train, "theta_train"))
    if len(labels) != n or cross.shape[1] != n:
        raise InvalidDataError(
            f"theta_train is of {n} samples, theta_test_train of {cross.shape[1]} (its columns), Y "
            f"of {len(labels)}."
        )
    found = spectrum(theta_train, labels, invertible=t is None)
    values = found.eigenvalues
    if t is None:
        weights = 1 / values
    else:
        if not is_number(t) or not 0 <= t < np.inf:
            raise InvalidParameterError(
                f"t must be a finite number of steps, at least 0; got {t!r}. Leave out t and "
                "learning_rate for a converged net."
            )
        t = float(t)
        learning_rate = check_rate(learning_rate)
        # The limit eta t of directions without an eigenvalue is what they are learned at.
        weights = np.full_like(values, learning_rate * t)
        np.divide(
            -np.expm1(-learning_rate * t * values),
            values,
            out=weights,
            where=values > 0,
        )
    return cross @ (found.eigenvectors @ (weights[:, None] * found.projections))
