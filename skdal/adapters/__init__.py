"""The one door to skorch nets, Pipelines, FrozenEstimator and modAL learners."""

from skdal.adapters._batches import check_net_rows, default_batch_size, paired
from skdal.adapters._kinds import (
    check_classifier,
    check_fitted,
    check_net,
    check_transformable,
    final_estimator,
    is_net,
    transform_rows,
    unfrozen,
    warn_of_held_out_labels,
)
from skdal.adapters._labels import check_labels, labels_of
from skdal.adapters._net import NetView, first_output, open_net
from skdal.adapters._pools import check_pool, warn_of_random_transforms
from skdal.adapters._probabilities import predict_proba
from skdal.adapters._trained import Trained, resolve, wants_scores

__all__ = [
    "NetView",
    "Trained",
    "check_classifier",
    "check_fitted",
    "check_labels",
    "check_net",
    "check_net_rows",
    "check_pool",
    "check_transformable",
    "default_batch_size",
    "final_estimator",
    "first_output",
    "is_net",
    "labels_of",
    "open_net",
    "paired",
    "predict_proba",
    "resolve",
    "transform_rows",
    "unfrozen",
    "wants_scores",
    "warn_of_held_out_labels",
    "warn_of_random_transforms",
]
