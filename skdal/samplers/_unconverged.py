"""A warning where a net has not converged, and what its training left over decides the query."""

import weakref

import numpy as np

from skdal.adapters import correct_answers, open_net, tensors_digest
from skdal.utils import count_rows, warn_caller

_LARGE = 9  # the inner product is nine tenths of a score
_KNOWN = 0.9  # of the labels, from which a net counts as converged

_looked_at: weakref.WeakKeyDictionary = (
    weakref.WeakKeyDictionary()
)  # what was seen by module, so that weights and labels are looked at once


def medians_of_terms(columns, gamma):
    """Return the medians of ||g||^2 and |gamma g . g_S| over the samples of a shard; None where a
    term is missing.
    """
    if gamma == 0 or not {"sq_norm", "dot"} <= set(columns):
        return None
    return float(np.median(columns["sq_norm"])), float(
        np.median(np.abs(gamma * columns["dot"]))
    )


def warn_if_unconverged(trained, medians, gamma):
    """Warn, once a set of weights, if the inner product decides and the net does not know its
    labeled set.

    Parameters
    ----------
    trained : Trained
    medians : list of tuple
        What `medians_of_terms` gives for the shards of the pool; their medians count, which for one
        shard are those of the pool.
    gamma : float
    """
    if not medians:
        return
    sq_norm, dot = np.median(medians, axis=0)
    if dot <= _LARGE * sq_norm:
        return
    module = open_net(trained.classifier).module
    X, y = trained.labeled_set("DynamicALSampler")
    labels = None if y is None else np.asarray(y).tobytes()
    weights = tensors_digest(dict(module.named_parameters())), count_rows(X)
    seen_weights, seen_labels = _looked_at.get(module, (None, None))
    is_known = (
        labels is None or seen_labels is None or labels == seen_labels
    )  # a Dataset keeps them to itself
    if seen_weights == weights and is_known:
        return
    _looked_at[module] = weights, labels
    labels, is_right = correct_answers(trained.classifier, X, y)
    if is_right.mean() >= _KNOWN:
        return
    times = f"{dot / sq_norm:.3g} times" if sq_norm > 0 else "against"
    warn_caller(
        "the net has not converged, and what its training has left over decides this query: "
        f"over the pool the median of |{gamma:g} g . g_S| is {dot:.3g}, {times} the "
        f"{sq_norm:.3g} of |g|^2, and the net predicts only {is_right.mean():.0%} of its "
        f"{len(labels)} labels right. Train on, with more epochs, until it knows its labels; "
        "or pass gamma=0, which asks by |g|^2 alone."
    )
