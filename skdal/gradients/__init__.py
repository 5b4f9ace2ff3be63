"""Per-sample gradient statistics of a trained net: squared norms and inner products, exactly."""

from skdal.gradients._api import gradient_statistics, labeled_gradient
from skdal.gradients._statistics import GradientStatistics

__all__ = ["GradientStatistics", "gradient_statistics", "labeled_gradient"]
