"""Experiments: frozen specs of runs, and a store that survives being killed."""

from skdal.experiments._spec import RunSpec, Training
from skdal.experiments._store import RunFolder

__all__ = ["RunFolder", "RunSpec", "Training"]
