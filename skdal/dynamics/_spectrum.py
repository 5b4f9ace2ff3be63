"""Kernels, labels and eigenvalues as the theory assumes them."""

import warnings
from typing import NamedTuple

import numpy as np

from skdal.exceptions import (
    IllConditionedWarning,
    InvalidDataError,
    InvalidKernelError,
    InvalidLabelsError,
    InvalidParameterError,
)
from skdal.utils import as_array, is_number

# times `roundings` lambda_max: how far below zero an eigenvalue of a Gram matrix may come out
_ROUNDINGS = 10
# share of the largest entry that is never taken for rounding, which n eps of float16 soon exceeds
_MOST = 1e-3
_SCALES = 1e-150, 1e150  # of entries, whose squares are finite and not zero


class Spectrum(NamedTuple):
    """Eigenvalues of a kernel, and labels in the basis of its eigenvectors.

    Attributes
    ----------
    eigenvalues : array (n,)
        In ascending order, none negative.
    eigenvectors : array (n, n)
        In columns.
    projections : array (n, K)
        v_i . Y^k.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    projections: np.ndarray


def check_kernel(theta, name="theta"):
    """Return a kernel (n, n) as float64 after checking that it is a finite symmetric matrix.

    Raises
    ------
    InvalidDataError
        It is not a square matrix of finite numbers, or of a scale of which squares overflow or
        vanish.
    InvalidKernelError
        It is not symmetric.
    """
    kernel = as_matrix(theta, name)
    if kernel.shape[0] != kernel.shape[1]:
        raise InvalidDataError(f"{name} must be square, (n, n); got {kernel.shape}.")
    largest = np.abs(kernel).max()
    if largest and not _SCALES[0] < largest < _SCALES[1]:
        raise InvalidDataError(
            f"the largest entry of {name} is {largest:.3g}, and squares of it overflow or vanish. "
            "Scale the kernel."
        )
    asymmetry = np.abs(kernel - kernel.T).max()
    if asymmetry > roundings(theta, kernel) * largest:
        raise InvalidKernelError(
            f"{name} is not symmetric (entries differ by up to {asymmetry:.3g}), and a tangent "
            "kernel is: Theta(x, x') = Theta(x', x). Symmetrize it, (theta + theta.T) / 2, if "
            "this is rounding."
        )
    return (kernel + kernel.T) / 2


def check_semidefinite(theta, name="theta"):
    """Return a kernel as `check_kernel` does, after checking that it has no negative eigenvalue
    beyond rounding.

    A Cholesky decomposition tells, at a small part of the cost of eigenvalues.

    Raises
    ------
    InvalidDataError, InvalidKernelError
        As of `check_kernel`; an eigenvalue is negative.
    """
    kernel = check_kernel(theta, name)
    slack = _ROUNDINGS * roundings(theta, kernel)
    # with no more than eigenvalues are allowed, as lambda_max is at least the largest entry of the
    # diagonal
    try:
        np.linalg.cholesky(
            kernel + slack * kernel.diagonal().max() * np.eye(len(kernel))
        )
    except np.linalg.LinAlgError:
        _check_signs(np.linalg.eigvalsh(kernel), slack, name)
    return kernel


def _check_signs(eigenvalues, slack, name):
    """Raise if an eigenvalue is below zero by more than a share `slack` of the largest."""
    if eigenvalues[0] < -slack * np.abs(eigenvalues).max():
        raise InvalidKernelError(
            f"{name} has eigenvalues from {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g}, and a "
            "tangent kernel is positive semidefinite, as a matrix of inner products of "
            "gradients. If it was computed in float32 and cast, pass it as it was computed, "
            "so that its own rounding counts."
        )


def check_labels(Y, n):
    """Return labels (n, K) as float64 after checking that they are one-hot.

    Raises
    ------
    InvalidLabelsError
        They are not, or of another number of samples.
    InvalidDataError
        They are sparse.
    """
    given = as_array(Y, "Y")
    labels = given.astype(np.float64) if given.dtype.kind in "biuf" else None
    if (
        labels is None
        or labels.ndim != 2
        or not ((labels == 0) | (labels == 1)).all()
        or (labels.sum(1) != 1).any()
    ):
        raise InvalidLabelsError(
            "Y must be one-hot, (n, K) with one 1 a row, as in Definition 1; got "
            f"{given.shape} of type {given.dtype}. numpy.eye(K)[y] makes it of integers y."
        )
    if len(labels) != n:
        raise InvalidLabelsError(f"theta is of {n} samples and Y of {len(labels)}.")
    return labels


def as_matrix(values, name):
    """Return a matrix of finite numbers as float64.

    Raises
    ------
    InvalidDataError
        It is none.
    """
    matrix = as_array(values, name)
    if matrix.dtype.kind not in "biuf" or matrix.ndim != 2 or not matrix.size:
        hint = (
            ' An (n, K, n, K) kernel becomes one by reduction="trace", over K.'
            if matrix.ndim == 4
            else ""
        )
        raise InvalidDataError(
            f"{name} must be a matrix of numbers, not empty; got {matrix.shape} of type "
            f"{matrix.dtype}.{hint}"
        )
    if not np.isfinite(matrix).all():
        raise InvalidDataError(
            f"{name} has {(~np.isfinite(matrix)).sum()} NaN or infinite entries."
        )
    return matrix.astype(np.float64)


def spectrum(theta, labels, *, invertible, stacklevel=3):
    """Decompose a kernel.

    Parameters
    ----------
    theta : array (n, n)
    labels : array (n, K)
    invertible : bool
        Whether eigenvalues are divided by. If the smallest is below what `resolution` of lambda_max
        is, where rounding is all that is left of it, then all are raised by as much as it lacks.

    Returns
    -------
    Spectrum

    Raises
    ------
    InvalidKernelError
        An eigenvalue is negative beyond rounding, or all are zero.

    Warns
    -----
    IllConditionedWarning
        Eigenvalues were raised; the condition number is told.
    """
    kernel = check_kernel(theta)
    eigenvalues, eigenvectors = np.linalg.eigh(kernel)
    _check_signs(eigenvalues, _ROUNDINGS * roundings(theta, kernel), "theta")
    largest = eigenvalues[-1]
    if largest <= 0:
        raise InvalidKernelError(
            "theta has no eigenvalue above 0, and it must be not zero: the lemmas assume "
            "lambda_min > 0."
        )
    least = resolution(as_array(theta, "theta").dtype, len(kernel)) * largest
    if invertible and eigenvalues[0] < least:
        jitter = least - eigenvalues[0]
        warnings.warn(
            f"theta is ill-conditioned: its eigenvalues go from {eigenvalues[0]:.3g} to "
            f"{largest:.3g}. {jitter:.3g} is added to all, which makes its condition number "
            f"{(largest + jitter) / least:.3g}; what is computed from the inverse depends on "
            "this. Equal or all but equal samples are the usual cause.",
            IllConditionedWarning,
            stacklevel=stacklevel,
        )
        eigenvalues = eigenvalues + jitter
    return Spectrum(np.maximum(eigenvalues, 0), eigenvectors, eigenvectors.T @ labels)


def roundings(theta, kernel):
    """Return n eps, with eps of the kernel's own type: more than what sums of n roundings make of
    zero.
    """
    return min(_MOST, len(kernel) * _eps(as_array(theta, "theta").dtype))


def resolution(dtype, n):
    """Return the share of the largest eigenvalue below which an eigenvalue of n samples' kernel is
    rounding.

    Eigenvalues are computed in float64, up to n eps of it. Entries that were rounded to a shorter
    type, each by eps of itself at most, move them by eps times the largest eigenvalue of the
    entries' absolute values. What an entry lost while it was computed is not known here.
    """
    return max(_eps(dtype), n * np.finfo(np.float64).eps)


def _eps(dtype):
    return max(
        np.finfo(dtype if dtype.kind == "f" else np.float64).eps,
        np.finfo(np.float64).eps,
    )


def check_rate(learning_rate, theorem=""):
    """Return a learning rate as a float after checking that it is a finite number above 0."""
    if not is_number(learning_rate) or not 0 < learning_rate < np.inf:
        raise InvalidParameterError(
            f"learning_rate must be a finite number above 0{theorem}; got {learning_rate!r}."
        )
    return float(learning_rate)
