"""Class probabilities of a pool from any classifier, a shard at a time, and the classes that they
are of.
"""

import numpy as np
import torch

from skdal.adapters._accelerate import loaders_forgotten
from skdal.adapters._batches import own_batch_size, paired
from skdal.adapters._explained import explained_prediction
from skdal.adapters._foreign import refuse_stopped
from skdal.adapters._kinds import final_estimator, is_net
from skdal.adapters._net import NetView, no_probabilities, shallow_copy
from skdal.adapters._steps import transform_rows
from skdal.adapters._travel import with_final
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    UnsupportedEstimatorError,
)
from skdal.utils import (
    count_rows,
    is_torch_dataset,
    iter_shards,
    positions_from,
    preserved_rng,
    progress_bar,
    untouched,
    warn_caller,
)

_ROWS = 8192  # samples at once
_NUMBERS = 2**20  # probabilities at once


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
    return np.concatenate(list(iter_proba(classifier, X, verbose=verbose)))


def iter_proba(classifier, X, *, verbose=0):
    """Yield class probabilities (m, n_classes) in float64 of samples in order, never many at once.

    The pieces hold 2**20 numbers, or one mini-batch of a net's own `predict_proba` where that holds
    more.

    Parameters
    ----------
    classifier, X, verbose
        As in `predict_proba`.
    """
    final = final_estimator(classifier)
    if not hasattr(final, "predict_proba"):
        raise UnsupportedEstimatorError(
            f"{type(final).__name__} has no predict_proba, which this sampler needs. Use a "
            "classifier that has it, or wrap yours in "
            "sklearn.calibration.CalibratedClassifierCV."
        )
    if is_net(classifier):
        yield from _of_net(classifier, final, X, verbose)
        return
    n_rows = _rows_at_once(np.size(getattr(classifier, "classes_", ())))
    shards = iter_shards(X, n_rows)
    yield from _over_shards(
        classifier.predict_proba, shards, count_rows(X), verbose, final
    )


def _rows_at_once(n_classes):
    """Return a power of two, so that shards of more samples are cut at the same ones."""
    rows = max(1, _NUMBERS // max(1, n_classes))
    return min(_ROWS, 2 ** (rows.bit_length() - 1))


def _of_net(classifier, final, X, verbose):
    size = proba_batch_size(final)
    view = NetView(classifier)
    # A net that cannot take X says so at the first sample, and why.
    n_classes = view.n_outputs(X)
    of_net = NetView(final)
    net = answering(final)

    def net_proba(shard):
        shard = of_net.settled(transform_rows(classifier, shard))[0]
        rows = paired(shard, None, labeled=False)
        with (
            explained_prediction(final, rows),
            loaders_forgotten(final),
        ):
            proba = net.predict_proba(rows)
        return _whole(proba, rows)

    shards = iter_shards(X, max(1, _rows_at_once(n_classes) // size) * size)
    parts = _over_shards(net_proba, shards, count_rows(X), verbose, final)
    while True:
        with preserved_rng(), untouched(final.module_):
            proba = next(parts, None)
        if proba is None:
            return
        yield proba


def _whole(proba, rows):
    """Return probabilities (n, K) if they are of all samples; a pass ends early where one raises
    StopIteration.
    """
    n_rows = count_rows(rows)
    n_found = len(proba)
    if n_found < n_rows and is_torch_dataset(rows):
        refuse_stopped(rows, range(n_rows), "the pool")
    if n_found != n_rows:
        raise InvalidDataError(
            f"the net's predict_proba gives {n_found} rows for {n_rows} samples; use an "
            "iterator_valid that gives each sample once (no drop_last, no sampler)."
        )
    return proba


def answering(classifier):
    """Return a classifier whose net, if it has one, gives probabilities in float32 at least; others
    as they are.

    numpy has no bfloat16, and a softmax in 16 bits does not add up to one. The net is a copy that
    shares all parts, so a `predict_proba` of the caller's own is the one that is called.
    """
    return with_final(classifier, _widened) if is_net(classifier) else classifier


def _widened(net):
    nonlinearity = net._get_predict_nonlinearity()
    return shallow_copy(
        net, predict_nonlinearity=lambda outputs: nonlinearity(_wide(outputs))
    )


def _wide(outputs):
    is_narrow = (
        isinstance(outputs, torch.Tensor)
        and outputs.is_floating_point()
        and outputs.itemsize < 4
    )
    return outputs.float() if is_narrow else outputs


def classes_of(classifier, X):
    """Return the classes (K,) that the columns of a classifier's probabilities are of.

    Those of a net are told by its outputs, since skorch knows only the labels of the latest fit,
    unless its parameter `classes` names them.

    Parameters
    ----------
    classifier : estimator
        Trained.
    X : data
        Samples, of which a net is given the first.

    Raises
    ------
    InvalidParameterError
        A net's `classes` are not as many as its outputs.
    """
    if not is_net(classifier):
        return classifier.classes_
    named = final_estimator(classifier).classes
    n_outputs = NetView(classifier).n_outputs(X)
    if named is None:
        return np.arange(n_outputs)
    if len(named) not in (0, n_outputs):
        raise InvalidParameterError(
            f"the net has classes={named!r:.80}, which are {len(named)}, and its module has "
            f"{n_outputs} outputs; name one class for each output, or pass classes=None."
        )
    return final_estimator(classifier).classes_


def warn_of_one_class(classifier):
    """Warn if a classifier that is not a net knows one class, of which it is equally sure
    everywhere.
    """
    if is_net(classifier):
        return
    classes = getattr(classifier, "classes_", ())
    if np.ndim(classes) == 1 and len(classes) == 1:
        warn_caller(
            f"the labeled set has only the class {classes[0]}, so all scores of the pool tie, "
            "and a query asks for its first rows. Ask for the first labels with "
            "RandomSampler, or label samples of another class, too."
        )


def proba_batch_size(net):
    """Return the mini-batch length of a net's own `predict_proba`; 1 where it takes all that it
    gets at once.
    """
    return max(1, own_batch_size(net))


def _checked(proba, final):
    """Return `proba` if its rows are distributions; rows with NaN are left to the check of
    scores.
    """
    if proba.ndim != 2:
        raise UnsupportedEstimatorError(
            f"predict_proba of {type(final).__name__} gives shape {proba.shape}; skdal needs "
            "(n_samples, n_classes), one class a sample (no multilabel)."
        )
    wrong = (proba < -1e-6).any(axis=1) | (np.abs(proba.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        raise UnsupportedEstimatorError(
            no_probabilities(final, proba[np.flatnonzero(wrong)[0]].tolist())
        )
    return proba


def _over_shards(function, shards, n_rows, verbose, final):
    start = 0
    with progress_bar(n_rows, "probabilities", verbose) as bar:
        for shard in shards:
            with positions_from(start):
                proba = np.asarray(function(shard), dtype=np.float64)
            start += len(proba)
            bar.update(len(proba))
            yield _checked(proba, final)
