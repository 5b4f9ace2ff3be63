"""The paper's verification experiments: which links of the theory's chain hold."""

from skdal.experiments.theory._correlation import PREDICTIONS as PREDICTIONS
from skdal.experiments.theory._correlation import rank_correlations as rank_correlations
from skdal.experiments.theory._correlation import tau as tau
from skdal.experiments.theory._report import (
    THEORY,
    figure_stem,
    result_file,
    run_theory,
    stored_results,
)
from skdal.experiments.theory._results import DiscrepancyRow as DiscrepancyRow
from skdal.experiments.theory._results import KernelMeasures as KernelMeasures
from skdal.experiments.theory._settings import QUICK, TheorySettings
from skdal.experiments.theory._settings import kernel_images as kernel_images

__all__ = [
    "QUICK",
    "THEORY",
    "TheorySettings",
    "figure_stem",
    "result_file",
    "run_theory",
    "stored_results",
]
