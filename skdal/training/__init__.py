"""Training of estimators: from scratch or on from the current weights; undone where it fails.

A training of a net is a *round*. It goes through skorch's own `fit` and `partial_fit`, and what
skdal adds to it are callbacks: `_watch` looks on, `_callbacks` gives every callback the state of a
beginning.
"""

from skdal.training._start import StartingWeights
from skdal.training._train import train

__all__ = ["StartingWeights", "train"]
