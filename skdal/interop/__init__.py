"""Query strategies of other libraries in our loops, and our samplers in theirs.

modAL needs nothing for the second: every sampler is one of its query strategies already.
scikit-activeml is an extra: `pip install skdal[activeml]`.
"""

from skdal.exceptions import MissingExtraError
from skdal.interop._activeml import TrainedClassifier as TrainedClassifier
from skdal.interop._guest import Reader as Reader
from skdal.interop._modal import ModalSampler
from skdal.interop._skactiveml_sampler import SkactivemlSampler
from skdal.interop._skactiveml_strategy import SkactivemlStrategy

__all__ = [
    "MissingExtraError",
    "ModalSampler",
    "SkactivemlSampler",
    "SkactivemlStrategy",
]
