"""Class probabilities of a pool from any classifier, a shard at a time."""

import numpy as np

from skdal.adapters._accelerate import loaders_forgotten
from skdal.adapters._batches import paired
from skdal.adapters._kinds import final_estimator, is_net, transform_rows
from skdal.adapters._net import NetView, no_probabilities
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
    if not is_net(classifier):
        shards = iter_shards(X, _SHARD_ROWS)
        return _checked(_over_shards(classifier.predict_proba, shards, count_rows(X), verbose), final)
    size = proba_batch_size(final)
    shards = iter_shards(X, max(1, _SHARD_ROWS // size) * size)  # of whole mini-batches

    NetView(classifier).n_outputs(X)  # a net that cannot take X says so at the first sample, and why

    def net_proba(shard):
        with loaders_forgotten(final):
            return final.predict_proba(paired(transform_rows(classifier, shard), None, labeled=False))

    with preserved_rng(), untouched(final.module_):
        return _checked(_over_shards(net_proba, shards, count_rows(X), verbose), final)


def proba_batch_size(net):
    """Return the mini-batch length of a net's own `predict_proba`; 1 where it takes all that it gets at once."""
    return max(1, net.get_params_for("iterator_valid").get("batch_size", net.batch_size))


def _checked(proba, final):
    """Return `proba` if its rows are distributions; rows with NaN are left to the check of scores."""
    if proba.ndim != 2:
        raise UnsupportedEstimatorError(
            f"predict_proba of {type(final).__name__} gives shape {proba.shape}; skdal needs (n_samples, n_classes), "
            "one class a sample (no multilabel)."
        )
    wrong = (proba < -1e-6).any(axis=1) | (np.abs(proba.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        raise UnsupportedEstimatorError(no_probabilities(final, proba[np.flatnonzero(wrong)[0]].tolist()))
    return proba


def _over_shards(function, shards, n_rows, verbose):
    parts = []
    with progress_bar(n_rows, "probabilities", verbose) as bar:
        for shard in shards:
            parts.append(np.asarray(function(shard), dtype=np.float64))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)
