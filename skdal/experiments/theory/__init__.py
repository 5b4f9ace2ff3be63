"""The paper's verification experiments: which links of the theory's chain hold."""

from skdal.experiments.theory._report import (
    THEORY,
    figure_stem,
    result_file,
    run_theory,
    stored_results,
)
from skdal.experiments.theory._settings import QUICK, TheorySettings

__all__ = [
    "QUICK",
    "THEORY",
    "TheorySettings",
    "figure_stem",
    "result_file",
    "run_theory",
    "stored_results",
]
