"""Class probabilities of a pool from any classifier, a shard at a time."""

import numpy as np

from skdal.adapters._batches import paired
from skdal.adapters._kinds import final_estimator, is_net, transform_rows
from skdal.exceptions import UnsupportedEstimatorError
from skdal.utils import count_rows, iter_shards, preserved_rng, progress_bar, untouched

_SHARD_ROWS = 8192


def predict_proba(classifier, X, *, verbose=0):
    """Return class probabilities (n_samples, n_classes) in float64.

    Parameters
    ----------
    classifier : estimator
        Trained, with `predict_proba`.
    X : data
        The pool.
    verbose : int
        1 shows a progress bar.
    """
    final = final_estimator(classifier)
    if not hasattr(final, "predict_proba"):
        raise UnsupportedEstimatorError(
            f"{type(final).__name__} has no predict_proba, which this sampler needs. Use a classifier that has it, or "
            "wrap yours in sklearn.calibration.CalibratedClassifierCV."
        )
    shards = iter_shards(X, _SHARD_ROWS)
    if not is_net(classifier):
        return _over_shards(classifier.predict_proba, shards, count_rows(X), verbose)

    def net_proba(shard):
        return final.predict_proba(paired(transform_rows(classifier, shard), None, labeled=False))

    with preserved_rng(), untouched(final.module_):
        return _over_shards(net_proba, shards, count_rows(X), verbose)


def _over_shards(function, shards, n_rows, verbose):
    parts = []
    with progress_bar(n_rows, "probabilities", verbose) as bar:
        for shard in shards:
            parts.append(np.asarray(function(shard), dtype=np.float64))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)
