"""Samplers: which labels to ask for.

To add one: one file here with a sampler class, one line in `SAMPLERS`, one test case.
"""

from skdal.samplers._confidence import ConfidenceSampler
from skdal.samplers._dynamical import DynamicALSampler
from skdal.samplers._entropy import EntropySampler
from skdal.samplers._functions import as_function
from skdal.samplers._margin import MarginSampler
from skdal.samplers._random import RandomSampler

SAMPLERS = {
    "dynamical": DynamicALSampler,
    "random": RandomSampler,
    "confidence": ConfidenceSampler,
    "margin": MarginSampler,
    "entropy": EntropySampler,
}

dynamical_sampling = as_function(DynamicALSampler, "dynamical_sampling")
random_sampling = as_function(RandomSampler, "random_sampling")
confidence_sampling = as_function(ConfidenceSampler, "confidence_sampling")
margin_sampling = as_function(MarginSampler, "margin_sampling")
entropy_sampling = as_function(EntropySampler, "entropy_sampling")

__all__ = [
    "SAMPLERS",
    "ConfidenceSampler",
    "DynamicALSampler",
    "EntropySampler",
    "MarginSampler",
    "RandomSampler",
    "confidence_sampling",
    "dynamical_sampling",
    "entropy_sampling",
    "margin_sampling",
    "random_sampling",
]
