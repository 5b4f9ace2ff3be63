"""Alignment, both theorems, kernel regression: identities on random kernels under their
assumptions."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from skdal.dynamics import (
    alignment,
    convergence_bounds,
    convergence_error,
    generalization_bound,
    generalization_bounds,
    kernel_regression,
    mmd_squared,
    mse_training_dynamics,
)
from skdal.exceptions import (
    IllConditionedWarning,
    InvalidDataError,
    InvalidKernelError,
    InvalidLabelsError,
    InvalidParameterError,
)


def draw(seed, n=12, n_classes=3, spread=2.0):
    """Return a positive definite kernel, one-hot labels, eigenvalues of which the largest is 10 **
    spread."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    eigenvalues = 10 ** rng.uniform(-spread, spread, n)
    eigenvalues[0] = 10**spread
    theta = basis * eigenvalues @ basis.T
    return (
        (theta + theta.T) / 2,
        np.eye(n_classes)[rng.integers(n_classes, size=n)],
        eigenvalues,
    )


many = given(seed=st.integers(0, 2**32 - 1))
quickly = settings(max_examples=60, deadline=None)


@quickly
@many
def test_alignment_is_the_sum_over_eigenvectors(seed):
    theta, Y, _ = draw(seed)
    values, vectors = np.linalg.eigh(theta)
    expected = sum(
        values[i] * (vectors[:, i] @ Y[:, k]) ** 2
        for i in range(len(Y))
        for k in range(Y.shape[1])
    )
    assert alignment(theta, Y) == pytest.approx(expected, rel=1e-10)


@quickly
@given(seed=st.integers(0, 2**32 - 1), t=st.integers(1, 1000), share=st.floats(1e-3, 1))
def test_theorem_1(seed, t, share):
    theta, Y, eigenvalues = draw(seed)
    rate = share / np.linalg.eigvalsh(theta)[-1]
    error = convergence_error(theta, Y, t=t, learning_rate=rate)
    lower, upper = convergence_bounds(theta, Y, t=t, learning_rate=rate)
    assert lower <= error**2 * (1 + 1e-10)
    assert error**2 <= upper * (1 + 1e-10)
    total = np.trace(Y.T @ Y)
    assert lower == pytest.approx(total - 2 * t * rate * alignment(theta, Y), rel=1e-9)
    assert upper == pytest.approx(
        total - rate * alignment(theta, Y), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("number", [np.uint8, np.int8, np.int32, np.int64])
def test_numbers_of_numpy_do_not_overflow(number):
    theta, Y, _ = draw(0)
    rate, most = 1 / (2 * np.linalg.eigvalsh(theta)[-1]), np.iinfo(number).max
    t = int(min(most, 2**31 - 1))
    for function in (convergence_error, convergence_bounds):
        expected = function(theta, Y, t=t, learning_rate=float(np.float16(rate)))
        assert (
            function(theta, Y, t=number(t), learning_rate=np.float16(rate)) == expected
        )
    assert np.all(np.isfinite(expected))
    flow = kernel_regression(
        theta, theta, Y, t=Fraction(5, 2), learning_rate=Fraction(1, 500)
    )
    np.testing.assert_allclose(
        flow, kernel_regression(theta, theta, Y, t=2.5, learning_rate=0.002)
    )


def test_the_error_is_what_gradient_descent_is_left_with():
    theta, Y, _ = draw(0, spread=1.0)
    rate, f = 0.5 / np.linalg.eigvalsh(theta)[-1], np.zeros_like(Y)
    for t in range(30):
        expected = np.linalg.norm(Y - f)
        assert convergence_error(theta, Y, t=t, learning_rate=rate) == pytest.approx(
            expected, rel=1e-10
        )
        f = f - rate * theta @ (f - Y)


@quickly
@many
def test_theorem_2(seed):
    theta, Y, _ = draw(seed)
    bound = generalization_bound(theta, Y)
    n = len(Y)
    assert bound == pytest.approx(
        np.sqrt(2 * np.trace(Y.T @ np.linalg.solve(theta, Y)) / n), rel=1e-8
    )
    lower, upper = generalization_bounds(theta, Y)
    assert lower * (1 - 1e-10) <= n / 2 * bound**2 <= upper * (1 + 1e-10)
    assert lower == pytest.approx(
        np.trace(Y.T @ Y) ** 2 / alignment(theta, Y), rel=1e-9
    )
    values = np.linalg.eigvalsh(theta)
    assert upper == pytest.approx(values[-1] / values[0] * lower, rel=1e-6)


@quickly
@many
def test_mse_training_dynamics(seed):
    theta, Y, _ = draw(seed)
    residual = np.random.default_rng(seed).normal(size=Y.shape)
    expected = np.trace(residual.T @ theta @ residual)
    assert mse_training_dynamics(theta, residual) == pytest.approx(expected, rel=1e-10)
    assert mse_training_dynamics(theta, -Y) == pytest.approx(
        alignment(theta, Y), rel=1e-12
    )  # before training


def test_kernel_regression_follows_gradient_flow():
    theta, Y, _ = draw(1, n=15, spread=1.0)
    train, cross, Y, rate = theta[:10, :10], theta[10:, :10], Y[:10], 0.01
    weights, n_steps = np.zeros_like(Y), 20_000  # small steps in the dual
    for _ in range(n_steps):
        weights -= rate / 100 * (train @ weights - Y)
    found = kernel_regression(train, cross, Y, t=n_steps / 100, learning_rate=rate)
    np.testing.assert_allclose(found, cross @ weights, rtol=2e-3, atol=2e-3)
    converged = kernel_regression(train, cross, Y)
    np.testing.assert_allclose(converged, cross @ np.linalg.solve(train, Y), rtol=1e-8)
    np.testing.assert_allclose(
        kernel_regression(train, cross, Y, t=1e9, learning_rate=1.0),
        converged,
        rtol=1e-8,
    )
    assert not kernel_regression(train, cross, Y, t=0, learning_rate=1.0).any()


def test_directions_without_an_eigenvalue_are_learned_at_the_rate():
    theta, Y = np.diag([1.0, 0.0]), np.eye(2)
    found = kernel_regression(theta, np.eye(2), Y, t=3, learning_rate=0.5)
    np.testing.assert_allclose(found, np.diag([1 - np.exp(-1.5), 1.5]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_twins_are_told_of_and_raised(dtype):
    theta, Y, _ = draw(2)
    theta = theta[np.ix_([*range(12), 0], [*range(12), 0])].astype(dtype)
    Y = Y[[*range(12), 0]]
    share = (
        np.finfo(np.float32).eps
        if dtype == np.float32
        else len(theta) * np.finfo(np.float64).eps
    )
    smallest = share * np.linalg.eigvalsh(theta.astype(float))[-1]
    with pytest.warns(
        IllConditionedWarning, match="condition number .*Equal or all but equal samples"
    ):
        bound = generalization_bound(theta, Y)
    raised = theta.astype(float) + (
        smallest - np.linalg.eigvalsh(theta.astype(float))[0]
    ) * np.eye(len(theta))
    expected = np.sqrt(2 * np.trace(Y.T @ np.linalg.solve(raised, Y)) / len(Y))
    assert bound == pytest.approx(expected, rel=1e-2)
    with pytest.warns(IllConditionedWarning):
        lower, upper = generalization_bounds(theta, Y)
    assert lower <= len(Y) / 2 * bound**2 <= upper
    with pytest.warns(IllConditionedWarning):
        kernel_regression(theta, theta, Y)


def test_a_kernel_in_float32_has_the_bound_of_float64():
    """Whose smallest eigenvalue is above eps lambda_max, and far below n eps lambda_max."""
    rng = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(rng.normal(size=(400, 400)))
    theta = (vectors * np.geomspace(2e-5, 1, 400)) @ vectors.T + 0.1
    theta, Y = (theta + theta.T) / 2, np.eye(4)[rng.integers(4, size=400)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact, rounded = (
            generalization_bound(theta, Y),
            generalization_bound(theta.astype(np.float32), Y),
        )
    assert rounded == pytest.approx(exact, rel=0.02)


def test_a_sound_kernel_is_not_warned_of():
    theta, Y, _ = draw(3, spread=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lower, upper = generalization_bounds(theta, Y)
    assert lower < upper


def test_the_largest_rate_of_a_float32_kernel_is_allowed():
    for seed in range(40):
        theta, Y, _ = draw(seed)
        theta = theta.astype(np.float32)
        lower, upper = convergence_bounds(
            theta, Y, t=2, learning_rate=float(1 / np.linalg.eigvalsh(theta)[-1])
        )
        assert lower < upper


def test_a_warning_points_at_the_caller():
    theta, Y, _ = draw(2)
    twins = [0, *range(12)]
    with pytest.warns(IllConditionedWarning) as bound:
        generalization_bound(theta[np.ix_(twins, twins)], Y[twins])
    with pytest.warns(IllConditionedWarning) as regression:
        kernel_regression(np.ones((12, 12)), np.ones((1, 12)), Y)
    assert {warning.filename for warning in [*bound, *regression]} == {__file__}


def test_tensors_and_integers_are_taken():
    theta, Y, _ = draw(4)
    assert alignment(
        torch.tensor(theta, requires_grad=True), torch.tensor(Y).long()
    ) == alignment(theta, Y)
    assert mmd_squared(torch.tensor(theta), torch.arange(3)) == mmd_squared(
        theta, [0, 1, 2]
    )


@pytest.mark.parametrize("share", [0.5, 3.0])
def test_all_functions_allow_the_same_negative_eigenvalue(share):
    """By a kernel of which the largest row sum, a bound of lambda_max, is eight times as much."""
    n = 400
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    least = -share * 10 * n * np.finfo(np.float32).eps
    theta = (
        basis * np.r_[least, np.zeros(n // 2), np.ones(n - n // 2 - 1)] @ basis.T
    ).astype(np.float32)
    theta, Y = np.maximum(theta, theta.T), np.eye(4)[np.arange(n) % 4]
    assert np.abs(theta).sum(1).max() > 6
    for call in (
        alignment,
        mse_training_dynamics,
        lambda theta, Y: convergence_error(theta, Y, t=1, learning_rate=1),
    ):
        if share < 1:
            call(theta, Y)
        else:
            with pytest.raises(InvalidKernelError, match="from -0.00143 to 1"):
                call(theta, Y)


GOOD, LABELS, _ = draw(5)
ASYMMETRIC = GOOD + np.triu(np.full_like(GOOD, 0.1), 1)
NEGATIVE = GOOD - 1e-3 * np.linalg.eigvalsh(GOOD)[-1] * np.eye(12)
HOLED = np.where(np.eye(12) == 1, np.nan, GOOD)
BAD = {
    "a kernel that is not symmetric": (
        lambda: alignment(ASYMMETRIC, LABELS),
        InvalidKernelError,
        "symmetric.*0.1",
    ),
    "a negative eigenvalue": (
        lambda: generalization_bound(NEGATIVE, LABELS),
        InvalidKernelError,
        "semidefinite",
    ),
    "of an alignment": (
        lambda: alignment(NEGATIVE, LABELS),
        InvalidKernelError,
        "semidefinite",
    ),
    "of training dynamics": (
        lambda: mse_training_dynamics(NEGATIVE, LABELS),
        InvalidKernelError,
        "semidefinite",
    ),
    "of a discrepancy": (
        lambda: mmd_squared(NEGATIVE, [0, 1]),
        InvalidKernelError,
        "semidefinite",
    ),
    "a kernel of zeros": (
        lambda: generalization_bound(0 * GOOD, LABELS),
        InvalidKernelError,
        "not zero",
    ),
    "a kernel with NaN": (lambda: alignment(HOLED, LABELS), InvalidDataError, "12 NaN"),
    "a kernel that is not square": (
        lambda: alignment(GOOD[:5], LABELS),
        InvalidDataError,
        "square.*5, 12",
    ),
    "a kernel of words": (
        lambda: alignment([["a"]], LABELS),
        InvalidDataError,
        "matrix of numbers",
    ),
    "a tensor of half precision": (
        lambda: alignment(torch.tensor(GOOD).bfloat16(), LABELS),
        *(InvalidDataError, "theta is a tensor of torch.bfloat16.*float32 or float64"),
    ),
    "labels in a sparse tensor": (
        lambda: alignment(GOOD, torch.tensor(LABELS).to_sparse()),
        *(InvalidDataError, "Y is a tensor of .*sparse_coo.*pass a dense one"),
    ),
    "a full empirical kernel": (
        lambda: alignment(np.ones((2, 3, 2, 3)), LABELS),
        InvalidDataError,
        'reduction="trace"',
    ),
    "sparse labels": (
        lambda: alignment(GOOD, csr_array(LABELS)),
        InvalidDataError,
        r"Y.toarray\(\)",
    ),
    "a sparse kernel": (
        lambda: alignment(csr_array(GOOD), LABELS),
        InvalidDataError,
        r"theta.toarray\(\)",
    ),
    "a kernel of nothing": (
        lambda: alignment(GOOD[:0, :0], LABELS[:0]),
        InvalidDataError,
        "not empty",
    ),
    "a kernel of huge scale": (
        lambda: generalization_bound(1e300 * GOOD, LABELS),
        InvalidDataError,
        "Scale the kernel",
    ),
    "a kernel of tiny scale": (
        lambda: alignment(1e-300 * GOOD, LABELS),
        InvalidDataError,
        "Scale the kernel",
    ),
    "a negative one in half precision": (
        lambda: alignment(
            -np.eye(400, dtype=np.float16), np.eye(2)[np.arange(400) % 2]
        ),
        *(InvalidKernelError, "semidefinite"),
    ),
    "one that is not symmetric in half precision": (
        lambda: alignment(
            (50 * np.eye(1100) + np.tri(1100, k=-1)).astype(np.float16),
            np.eye(2)[np.arange(1100) % 2],
        ),
        *(InvalidKernelError, "symmetric"),
    ),
    "integers as labels": (
        lambda: alignment(GOOD, LABELS.argmax(1)),
        InvalidLabelsError,
        "one-hot.*numpy.eye",
    ),
    "two classes at once": (
        lambda: alignment(GOOD, 0 * LABELS + 1),
        InvalidLabelsError,
        "one-hot",
    ),
    "probabilities": (
        lambda: alignment(GOOD, 0 * LABELS + 1 / 3),
        InvalidLabelsError,
        "one-hot",
    ),
    "labels of other samples": (
        lambda: alignment(GOOD, LABELS[:5]),
        InvalidLabelsError,
        "12 samples and Y of 5",
    ),
    "a step of Theorem 1 too many": (
        lambda: convergence_bounds(
            GOOD, LABELS, t=1, learning_rate=1.01 / np.linalg.eigvalsh(GOOD)[-1]
        ),
        *(
            InvalidParameterError,
            "Theorem 1 assumes a learning rate of at most 1 / lambda_max = 0.01; got 0.0101",
        ),
    ),
    "no rate": (
        lambda: convergence_bounds(GOOD, LABELS, t=1, learning_rate=0.0),
        *(InvalidParameterError, "Theorem 1 assumes; got 0.0"),
    ),
    "no step": (
        lambda: convergence_bounds(GOOD, LABELS, t=0, learning_rate=1e-3),
        *(
            InvalidParameterError,
            "Theorem 1 is for an integer .* at least 1, .*; got 0",
        ),
    ),
    "more steps than can be counted": (
        lambda: convergence_error(GOOD, LABELS, t=10**400, learning_rate=1e-3),
        *(InvalidParameterError, r"at most 2\^53"),
    ),
    "half a step": (
        lambda: convergence_error(GOOD, LABELS, t=0.5, learning_rate=1e-3),
        *(InvalidParameterError, "integer .*got 0.5"),
    ),
    "a negative rate": (
        lambda: convergence_error(GOOD, LABELS, t=1, learning_rate=-1.0),
        *(InvalidParameterError, "above 0; got -1.0"),
    ),
    "a time without a rate": (
        lambda: kernel_regression(GOOD, GOOD, LABELS, t=3),
        InvalidParameterError,
        "together",
    ),
    "for ever": (
        lambda: kernel_regression(GOOD, GOOD, LABELS, t=np.inf, learning_rate=1.0),
        *(InvalidParameterError, "finite.*converged"),
    ),
    "a negative time": (
        lambda: kernel_regression(GOOD, GOOD, LABELS, t=-1, learning_rate=1.0),
        *(InvalidParameterError, "at least 0; got -1"),
    ),
    "a kernel the wrong way": (
        lambda: kernel_regression(GOOD, GOOD[:, :5], LABELS),
        *(InvalidDataError, "theta_test_train of 5 .its columns."),
    ),
    "a residual of other samples": (
        lambda: mse_training_dynamics(GOOD, LABELS[:5]),
        InvalidDataError,
        "12 .* 5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, said = BAD[name]
    with pytest.raises(error, match=said):
        call()
