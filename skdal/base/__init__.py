"""The bases of every sampler: a scikit-learn meta-estimator and a modAL query strategy at once.

Read this first. A sampler's author writes one hook: `_score` for a `ProbabilitySampler`, `_work`
for a `ScoreSampler`, `_select` for anything else (an `EmbeddingSampler` has representations to
select by). The hooks get a `Trained` (classifier and labeled set) and a pool that is checked. A
`Work` is what a pass over the pool does with a shard, wherever the executor runs it; a reducer
(`Best`, `Table`, `Gather`, `OrderedSum`) is what becomes of it.
"""

from skdal.base._base import BaseSampler, Selection
from skdal.base._embedding import EmbeddingSampler, EmbeddingWork
from skdal.base._gather import gather
from skdal.base._pass import PassResult, check_any, run_pass
from skdal.base._pass import shards_of as shards_of
from skdal.base._probability import ProbabilitySampler
from skdal.base._reducers import Best, Gather, OrderedSum, Table, highest
from skdal.base._score import ScoreSampler
from skdal.base._task import Part
from skdal.base._work import ModuleWork, Work, as_work

__all__ = [
    "BaseSampler",
    "Best",
    "EmbeddingSampler",
    "EmbeddingWork",
    "Gather",
    "ModuleWork",
    "OrderedSum",
    "Part",
    "PassResult",
    "ProbabilitySampler",
    "ScoreSampler",
    "Selection",
    "Table",
    "Work",
    "as_work",
    "check_any",
    "gather",
    "highest",
    "run_pass",
]
