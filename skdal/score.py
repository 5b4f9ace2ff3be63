"""Names that were here up to 0.1 and are in `skdal.cli.score` now; they go in 0.3."""

import importlib
import warnings

_MOVED = ("load_net", "open_pool", "read_labels", "score", "unlabeled")


def __getattr__(name):
    if name not in _MOVED:
        raise AttributeError(f"module 'skdal.score' has no attribute {name!r}")
    warnings.warn(
        f"skdal.score.{name} is now skdal.cli.score.{name}; the old name goes in release 0.3.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(importlib.import_module("skdal.cli.score"), name)
