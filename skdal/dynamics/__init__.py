"""The paper's theory as functions: training dynamics, tangent kernels, alignment, bounds."""

from skdal.dynamics._diagnose import diagnose
from skdal.dynamics._diagnose import effective_rank as effective_rank
from skdal.dynamics._diagnose import nearest_cosine as nearest_cosine
from skdal.dynamics._diagnose import spreading as spreading
from skdal.dynamics._diagnose import which_term as which_term
from skdal.dynamics._discrepancy import mmd_bound, mmd_squared
from skdal.dynamics._empirical import empirical_ntk
from skdal.dynamics._infinite import infinite_ntk
from skdal.dynamics._inputs import check_network as check_network
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
