"""The bases of every sampler: a scikit-learn meta-estimator and a modAL query strategy at once.

Read this first. A sampler's author writes one hook: `_score_samples` for a `ScoreSampler`, `_select`
for anything else (an `EmbeddingSampler` has representations to select by). Both get a `Trained`
(classifier and labeled set) and a pool that is checked. What is the same for all shards of a pool is
made once by `_shared`; the executor runs the hook on the shards, and the reduce is `_select`.
"""

from skdal.base._base import BaseSampler
from skdal.base._embedding import EmbeddingSampler
from skdal.base._score import ScoreSampler
from skdal.base._shards import check_any
from skdal.base._table import highest

__all__ = ["BaseSampler", "EmbeddingSampler", "ScoreSampler", "check_any", "highest"]
