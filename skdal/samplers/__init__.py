"""Samplers: which labels to ask for.

To add one: one file here with a sampler class, one line in `SAMPLERS`, one test case.
"""

from functools import partial

import numpy as np

from skdal.samplers._albl import ALBLSampler
from skdal.samplers._badge import BADGESampler
from skdal.samplers._confidence import ConfidenceSampler, confidence_scores
from skdal.samplers._coreset import CoresetSampler
from skdal.samplers._dynamical import DynamicALSampler
from skdal.samplers._egl import EGLSampler
from skdal.samplers._entropy import EntropySampler, entropy_scores
from skdal.samplers._entropy_gradient import EntropyGradientSampler
from skdal.samplers._functions import as_function
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

# As functions, for modAL; ALBL keeps state from round to round, so it is passed as an instance.
dynamical_sampling = as_function("dynamical", SAMPLERS)
gradient_length_sampling = as_function("gradient_length", SAMPLERS)
influence_sampling = as_function("influence", SAMPLERS)
egl_sampling = as_function("egl", SAMPLERS)
entropy_gradient_sampling = as_function("entropy_gradient", SAMPLERS)
random_sampling = as_function("random", SAMPLERS)
confidence_sampling = as_function("confidence", SAMPLERS)
margin_sampling = as_function("margin", SAMPLERS)
entropy_sampling = as_function("entropy", SAMPLERS)
coreset_sampling = as_function("coreset", SAMPLERS)
badge_sampling = as_function("badge", SAMPLERS)
mc_dropout_sampling = as_function("mc_dropout", SAMPLERS)

__all__ = [
    "SAMPLERS",
    "ALBLSampler",
    "BADGESampler",
    "ConfidenceSampler",
    "CoresetSampler",
    "DynamicALSampler",
    "EGLSampler",
    "EntropyGradientSampler",
    "EntropySampler",
    "MCDropoutSampler",
    "MarginSampler",
    "PoolSubset",
    "RandomSampler",
    "badge_sampling",
    "confidence_sampling",
    "confidence_scores",
    "coreset_sampling",
    "dynamical_sampling",
    "egl_sampling",
    "entropy_gradient_sampling",
    "entropy_sampling",
    "entropy_scores",
    "gradient_length_sampling",
    "influence_sampling",
    "margin_sampling",
    "margin_scores",
    "mc_dropout_sampling",
    "random_sampling",
]
