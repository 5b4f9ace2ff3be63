"""The one door to skorch nets, Pipelines, FrozenEstimator and modAL learners."""

from skdal.adapters._accelerate import prepare_optimizers
from skdal.adapters._answers import correct_answers
from skdal.adapters._batches import NetBatches as NetBatches
from skdal.adapters._batches import (
    check_net_rows,
    default_batch_size,
    n_batches_of,
    paired,
)
from skdal.adapters._devices import device_of as device_of
from skdal.adapters._dropout import (
    dropout_mask,
    has_dropout,
    over_dropout_passes,
    rest_of,
)
from skdal.adapters._explained import explained_training
from skdal.adapters._first_step import chooses_by_name
from skdal.adapters._fitted_columns import as_fitted, to_predict_on
from skdal.adapters._foreign import refuse_stopped
from skdal.adapters._frames import aligned, check_inputs
from skdal.adapters._hidden import (
    LastLayer,
    NoLinearHeadError,
    as_rows,
    collect_heads,
    last_hidden,
    last_layer,
    module_output,
)
from skdal.adapters._kinds import (
    check_classifier,
    check_fitted,
    check_net,
    final_estimator,
    is_frozen,
    is_net,
    module_of,
    unfrozen,
    warn_of_held_out_labels,
)
from skdal.adapters._labels import check_labels, explaining_absent_labels, labels_of
from skdal.adapters._meta_estimators import (
    estimator_router,
    is_fitted,
    routed,
    routed_to_steps,
    routing_is_enabled,
    with_tags_of,
)
from skdal.adapters._net import NetView, first_output, open_net
from skdal.adapters._penalty import penalised
from skdal.adapters._pools import check_pool, warn_of_random_transforms
from skdal.adapters._probabilities import (
    answering,
    classes_of,
    iter_proba,
    predict_proba,
    proba_batch_size,
    warn_of_one_class,
)
from skdal.adapters._steps import check_transformable, transform_rows
from skdal.adapters._trained import Trained, resolve, wants_scores
from skdal.adapters._travel import (
    PackedEstimator,
    estimator_digest,
    packed,
    tensors_digest,
)
from skdal.adapters._trial import (
    Trial,
    labels_of_items,
    told_apart,
    try_training,
)

__all__ = [
    "LastLayer",
    "NetView",
    "NoLinearHeadError",
    "PackedEstimator",
    "Trained",
    "aligned",
    "answering",
    "Trial",
    "as_fitted",
    "as_rows",
    "check_classifier",
    "check_inputs",
    "check_fitted",
    "check_labels",
    "check_net",
    "check_net_rows",
    "check_pool",
    "check_transformable",
    "chooses_by_name",
    "classes_of",
    "collect_heads",
    "correct_answers",
    "default_batch_size",
    "dropout_mask",
    "estimator_digest",
    "explaining_absent_labels",
    "explained_training",
    "estimator_router",
    "final_estimator",
    "first_output",
    "has_dropout",
    "is_fitted",
    "is_frozen",
    "is_net",
    "labels_of",
    "labels_of_items",
    "last_hidden",
    "last_layer",
    "module_of",
    "module_output",
    "n_batches_of",
    "open_net",
    "over_dropout_passes",
    "packed",
    "paired",
    "penalised",
    "iter_proba",
    "predict_proba",
    "prepare_optimizers",
    "proba_batch_size",
    "refuse_stopped",
    "resolve",
    "rest_of",
    "routed",
    "routed_to_steps",
    "routing_is_enabled",
    "tensors_digest",
    "to_predict_on",
    "told_apart",
    "transform_rows",
    "try_training",
    "unfrozen",
    "wants_scores",
    "warn_of_held_out_labels",
    "warn_of_one_class",
    "warn_of_random_transforms",
    "with_tags_of",
]
