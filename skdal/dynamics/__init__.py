"""The paper's theory as functions: training dynamics, tangent kernels, alignment, bounds."""

from skdal.dynamics._diagnose import diagnose
from skdal.dynamics._discrepancy import mmd_bound, mmd_squared
from skdal.dynamics._empirical import empirical_ntk
from skdal.dynamics._infinite import infinite_ntk
from skdal.dynamics._kernels import (
    Bounds,
    alignment,
    convergence_bounds,
    convergence_error,
    generalization_bound,
    generalization_bounds,
)
from skdal.dynamics._regression import kernel_regression, mse_training_dynamics
from skdal.dynamics._training import (
    approximation_ratio,
    training_dynamics,
    training_dynamics_change,
)

__all__ = [
    "Bounds",
    "alignment",
    "approximation_ratio",
    "convergence_bounds",
    "convergence_error",
    "diagnose",
    "empirical_ntk",
    "generalization_bound",
    "generalization_bounds",
    "infinite_ntk",
    "kernel_regression",
    "mmd_bound",
    "mmd_squared",
    "mse_training_dynamics",
    "training_dynamics",
    "training_dynamics_change",
]
