"""Experiments: frozen specs of runs, the round loop, and a store that survives being killed."""

from skdal.experiments._run import run
from skdal.experiments._spec import RunSpec, Training
from skdal.experiments._store import RunFolder

__all__ = ["RunFolder", "RunSpec", "Training", "run"]
