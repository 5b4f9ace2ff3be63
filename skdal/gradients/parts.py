"""Parts of the engine, for the packages above it and for its tests.

They may change from release to release.
Users have `skdal.gradients.gradient_statistics` and `labeled_gradient`.
"""

from skdal.gradients._backends import StatisticsPass
from skdal.gradients._backward import differentiate, with_gaps
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._context import differentiating
from skdal.gradients._cover import cover, is_inside
from skdal.gradients._engine import GhostBackend
from skdal.gradients._factorizer import Factorizer, RunsOtherwise
from skdal.gradients._factors import concatenated
from skdal.gradients._graph import Use, nodes_of, walk
from skdal.gradients._hooks import arguments, output_hooks
from skdal.gradients._ladder import Ladder
from skdal.gradients._minibatch import FEW, MiniBatch, Question
from skdal.gradients._parameters import select_parameters
from skdal.gradients._products import Products
from skdal.gradients.rules._cost import cheapest
from skdal.gradients.rules._forms import inner

__all__ = [
    "FEW",
    "Factorizer",
    "GhostBackend",
    "Ladder",
    "MiniBatch",
    "Products",
    "Question",
    "RunsOtherwise",
    "StatisticsPass",
    "Use",
    "arguments",
    "cheapest",
    "concatenated",
    "cover",
    "differentiate",
    "differentiating",
    "inner",
    "is_inside",
    "nodes_of",
    "output_hooks",
    "refuse_cross_sample_layers",
    "select_parameters",
    "walk",
    "with_gaps",
]
