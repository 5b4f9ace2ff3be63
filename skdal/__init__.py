"""skdal: deep active learning by training dynamics, for scikit-learn, skorch and PyTorch."""

import importlib

__version__ = "0.1.0"

__all__ = ["ActiveLearner", "DynamicALSampler", "__version__", "dynamical_sampling"]

_HOMES = {
    "ActiveLearner": "skdal.learner",
    "DynamicALSampler": "skdal.samplers",
    "dynamical_sampling": "skdal.samplers",
}


def __getattr__(name):
    # PEP 562: `import skdal` stays light, torch is imported with the first name that needs it.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'skdal' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
