"""What a kernel and labels say of training: alignment, convergence, generalization, regression."""

import numbers
from typing import NamedTuple

import numpy as np

from skdal.dynamics._spectrum import as_matrix, check_kernel, check_labels, roundings, spectrum
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import is_boolean, is_number


class Bounds(NamedTuple):
    """Both sides of an inequality.

    Attributes
    ----------
    lower, upper : float
    """

    lower: float
    upper: float


def alignment(theta, Y):
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
        The kernel is not symmetric.
    InvalidDataError, InvalidLabelsError
        The kernel is no square matrix of finite numbers; the labels are not one-hot, or of other samples.

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
    kernel = check_kernel(theta)
    labels = check_labels(Y, len(kernel))
    return float(np.sum(labels * (kernel @ labels)))


def convergence_error(theta, Y, *, t, learning_rate):
    r"""Compute the training error E_t that gradient descent is left with after t steps, on the squared error.

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
    _check_steps(t, 0)
    _check_rate(learning_rate)
    found = _spectrum(theta, Y)
    left = (1 - learning_rate * found.eigenvalues) ** (2 * t)
    return float(np.sqrt(left @ (found.projections**2).sum(1)))


def convergence_bounds(theta, Y, *, t, learning_rate):
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
    _check_steps(t, 1, "Theorem 1")
    _check_rate(learning_rate)
    found = _spectrum(theta, Y)
    largest = found.eigenvalues[-1]
    if learning_rate * largest > 1 + roundings(theta, found.eigenvalues):
        raise InvalidParameterError(
            f"Theorem 1 assumes a learning rate of at most 1 / lambda_max = {1 / largest:.6g}; got {learning_rate:.6g}."
        )
    squares = (found.projections**2).sum(1)
    aligned = found.eigenvalues @ squares
    total = squares.sum()
    return Bounds(float(total - 2 * t * learning_rate * aligned), float(total - learning_rate * aligned))


def generalization_bound(theta, Y):
    r"""Compute the dominant term B of the bound on the population risk.

    .. math:: B = \sqrt{2 \operatorname{Tr}[Y^\top \Theta^{-1} Y] / n}

    Parameters
    ----------
    theta : array (n, n)
        Where its smallest eigenvalue is below n eps lambda_max (eps of its own type), all are raised by what it lacks,
        with a warning.
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


def generalization_bounds(theta, Y):
    """Compute both sides of Theorem 2, which hold n/2 times the SQUARE of `generalization_bound`.

    Tr[Y'Y]^2 / A <= n/2 B^2 <= lambda_max / lambda_min Tr[Y'Y]^2 / A. Where eigenvalues have to be raised, alignment
    and eigenvalues are those of the raised kernel, as in `generalization_bound`.

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
    return Bounds(float(lower), float(found.eigenvalues[-1] / found.eigenvalues[0] * lower))


def mse_training_dynamics(theta, residual):
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
        The kernel is not symmetric; shapes do not fit.

    References
    ----------
    Section 4.3 and appendix A.3.
    """
    kernel, residual = check_kernel(theta), as_matrix(residual, "residual")
    if len(residual) != len(kernel):
        raise InvalidDataError(f"theta is of {len(kernel)} samples and the residual of {len(residual)}.")
    return float(np.sum(residual * (kernel @ residual)))


def kernel_regression(theta_train, theta_test_train, Y, *, t=None, learning_rate=None):
    r"""Predict with the infinitely wide net that was trained for a time on the squared error, from zero.

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
        Steps. None: until convergence; ill-conditioned kernels are then raised as in `generalization_bound`.
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
        raise InvalidParameterError("t and learning_rate go together: pass both, or neither for a converged net.")
    labels, cross = as_matrix(Y, "Y"), as_matrix(theta_test_train, "theta_test_train")
    n = len(as_matrix(theta_train, "theta_train"))
    if len(labels) != n or cross.shape[1] != n:
        raise InvalidDataError(
            f"theta_train is of {n} samples, theta_test_train of {cross.shape[1]} (its columns), Y of {len(labels)}."
        )
    found = spectrum(theta_train, labels, invertible=t is None)
    values = found.eigenvalues
    if t is None:
        weights = 1 / values
    else:
        if not is_number(t) or not 0 <= t < np.inf:
            raise InvalidParameterError(
                f"t must be a finite number of steps, at least 0; got {t!r}. Leave out t and learning_rate for a "
                "converged net."
            )
        _check_rate(learning_rate)
        # The limit eta t of directions without an eigenvalue is what they are learned at.
        weights = np.full_like(values, learning_rate * t)
        np.divide(-np.expm1(-learning_rate * t * values), values, out=weights, where=values > 0)
    return cross @ (found.eigenvectors @ (weights[:, None] * found.projections))


def _spectrum(theta, Y, *, invertible=False):
    return spectrum(theta, check_labels(Y, len(check_kernel(theta))), invertible=invertible, stacklevel=4)


def _inverse_norm(found):
    return (1 / found.eigenvalues) @ (found.projections**2).sum(1)


def _check_steps(t, least, theorem="Eq. 16"):
    if is_boolean(t) or not isinstance(t, numbers.Integral) or t < least:
        raise InvalidParameterError(f"{theorem} is for an integer number of steps t of at least {least}; got {t!r}.")


def _check_rate(learning_rate):
    if not is_number(learning_rate) or not 0 < learning_rate < np.inf:
        raise InvalidParameterError(f"learning_rate must be a finite number above 0; got {learning_rate!r}.")
