"""Samplers: which labels to ask for.

To add one: one file here with a sampler class, its line in `SAMPLERS` (and the import of the
class), one test case.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from skdal.samplers._albl import ALBLSampler
from skdal.samplers._badge import BADGESampler
from skdal.samplers._badge import kmeans_plusplus as kmeans_plusplus
from skdal.samplers._badge import logit_gradients as logit_gradients
from skdal.samplers._confidence import ConfidenceSampler, confidence_scores
from skdal.samplers._coreset import CoresetSampler
from skdal.samplers._coreset import k_center as k_center
from skdal.samplers._dynamical import DeltaWork as DeltaWork
from skdal.samplers._dynamical import DynamicALSampler
from skdal.samplers._egl import EGLSampler
from skdal.samplers._egl import closed_form as closed_form
from skdal.samplers._entropy import EntropySampler, entropy_scores
from skdal.samplers._entropy_gradient import EntropyGradientSampler
from skdal.samplers._entropy_gradient import predictive_entropy as predictive_entropy
from skdal.samplers._functions import as_function, is_stateless
from skdal.samplers._gradient import GradientSampler as GradientSampler
from skdal.samplers._margin import MarginSampler, margin_scores
from skdal.samplers._mc_dropout import MCDropoutSampler
from skdal.samplers._pool_subset import PoolSubset
from skdal.samplers._random import RandomSampler

SAMPLERS = {
    "dynamical": DynamicALSampler,
    "gradient_length": partial(DynamicALSampler, gamma=0.0),
    "influence": partial(DynamicALSampler, gamma=np.inf),
    "egl": EGLSampler,
    "entropy_gradient": EntropyGradientSampler,
    "random": RandomSampler,
    "confidence": ConfidenceSampler,
    "margin": MarginSampler,
    "entropy": EntropySampler,
    "coreset": CoresetSampler,
    "badge": BADGESampler,
    "albl": ALBLSampler,
    "mc_dropout": MCDropoutSampler,
}

# Every other public name comes from the registry: the classes, and a function KEY_sampling
# for each key whose sampler learns nothing from round to round.
_CLASSES: set[Any] = {getattr(make, "func", make) for make in SAMPLERS.values()}
_FUNCTIONS = {
    f"{key}_sampling": as_function(key, SAMPLERS)
    for key in SAMPLERS
    if is_stateless(SAMPLERS[key])
}
globals().update(_FUNCTIONS)

if TYPE_CHECKING:
    # What the loop makes, for tools that read types.
    def __getattr__(name: str) -> Any: ...


__all__ = [
    "SAMPLERS",
    "PoolSubset",
    "confidence_scores",
    "entropy_scores",
    "margin_scores",
    *sorted(cls.__name__ for cls in _CLASSES),
    *sorted(_FUNCTIONS),
]
