"""The training of an estimator, from scratch or on from the current weights."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skdal.adapters import (
    as_fitted,
    check_fitted,
    check_labels,
    check_transformable,
    explained_training,
    explaining_absent_labels,
    final_estimator,
    is_fitted,
    is_net,
    labels_of,
    module_of,
    paired,
    prepare_optimizers,
    routed_to_steps,
    routing_is_enabled,
    told_apart,
    try_training,
    warn_of_held_out_labels,
)
from skdal.exceptions import (
    DivergedTrainingError,
    InvalidDataError,
    InvalidParameterError,
)
from skdal.training._callbacks import Keepers, begin_again, with_callbacks
from skdal.training._own_fit import Kept, continue_by_own_fit, has_own_fit
from skdal.training._undo import undone_on_error
from skdal.training._watch import RoundGuard, Watch, n_epochs_of
from skdal.utils import count_rows, exclusive, turns


def train(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    go_on: bool,
    reset_optimizer: bool,
    start: Any = None,
    check_trial: Any = None,
    **fit_params: Any,
) -> Any:
    """Train `estimator` in place on a labeled set.

    Parameters
    ----------
    estimator : classifier
        A net, a scikit-learn classifier, a Pipeline, or frozen (then it is only checked).
    X, y : data
        The labeled set; y None for a Dataset that holds the labels.
    go_on : bool
        Continue an initialized net from its current weights, with the steps before it in a Pipeline
        as they are. Otherwise, and for classifiers that are not nets, train from scratch.
    reset_optimizer : bool
        When a net continues, rebuild its optimizer first: weights stay, moments go.
    start : StartingWeights, optional
        Those of a module instance, from which a training from scratch starts. None: its current
        ones.
    check_trial : callable, optional
        Called with the `Trial` of a net before its first step; what it raises ends the training.
    **fit_params
        For the estimator's `fit`.

    Returns
    -------
    estimator

    Raises
    ------
    KeyboardInterrupt
        Also where skorch would swallow it. After this or any other error the estimator is as it
        was.
    DivergedTrainingError
        A net's weights are NaN or infinite at the end.
    """
    if isinstance(estimator, FrozenEstimator):
        check_fitted(estimator)
        _check_labels_of_frozen(estimator, X, y)
        return estimator
    if not is_net(estimator):
        with exclusive(), undone_on_error(estimator), explaining_absent_labels(y):
            return estimator.fit(X, y, **fit_params)
    if not count_rows(X):
        raise InvalidDataError(
            "the labeled set is empty; pass at least one labeled sample."
        )
    warn_of_held_out_labels(estimator)
    labels = labels_of(X, y)
    net = final_estimator(estimator)
    with exclusive(), turns(module_of(net)), undone_on_error(estimator):
        go_on = go_on and getattr(net, "initialized_", False)
        if not go_on and start is not None:
            start.restore(estimator)
        return _train_net(
            estimator, X, labels, go_on, reset_optimizer, check_trial, fit_params
        )


def _check_labels_of_frozen(estimator, X, y):
    """Raise if the labels that a frozen net is given are none of a net; some samplers need none.

    Whether they fit its outputs is checked where they are used, since a frozen net may have no use
    for them.
    """
    if y is not None and is_net(estimator):
        check_labels(y, count_rows(X))


def _train_net(estimator, X, labels, go_on, reset_optimizer, check_trial, fit_params):
    if isinstance(estimator, Pipeline):
        X, fit_params = _through_steps(estimator, X, labels, go_on, fit_params)
        _train_net(
            estimator.steps[-1][1],
            X,
            labels,
            go_on,
            reset_optimizer,
            check_trial,
            fit_params,
        )
        return estimator
    if isinstance(estimator, FrozenEstimator):
        return estimator
    estimator.check_training_readiness()
    X = told_apart(estimator, X, labels)
    rows = paired(X, labels, labeled=True)
    kept = Kept(estimator) if go_on else None

    def check():
        if go_on:
            kept.put_back(estimator, reset_optimizer)
        trial = try_training(estimator, X, labels)
        if check_trial is not None:
            check_trial(trial)
        return trial.n_outputs

    watch = Watch(
        check,
        n_epochs_of(estimator, fit_params),
        labeled=rows,
        has_labels=labels is None,
    )
    guard = RoundGuard(Keepers(estimator))
    try:
        in_words = explained_training(estimator, rows, labels, watch)
        with with_callbacks(estimator, guard, watch), in_words:
            if not go_on:
                _train_from_scratch(estimator, rows, labels, fit_params)
            else:
                _train_on(estimator, rows, labels, reset_optimizer, fit_params, kept)
    finally:
        guard.put_back(estimator)
    if watch.was_interrupted(estimator):
        raise KeyboardInterrupt
    guard.warn()
    _refuse_divergence(estimator)
    return estimator


def _refuse_divergence(net):
    trainable = {
        name: p for name, p in net.module_.named_parameters() if p.requires_grad
    }
    damaged = [
        name
        for name, parameter in trainable.items()
        if not torch.isfinite(parameter).all()
    ]
    if damaged:
        raise DivergedTrainingError(
            "the training diverged: it ended in NaN or infinite values in "
            f"{', '.join(damaged[:5])}. The net is as it was before. Lower the learning rate, "
            "or look for NaN or infinite values in the labeled samples."
        )


def _train_from_scratch(net, X, y, fit_params):
    if net.warm_start and net.initialized_:
        net.initialize()  # its own `fit` would continue
    net.fit(X, y, **fit_params)


def _train_on(net, X, y, reset_optimizer, fit_params, kept):
    """Train on from the current weights; the new epochs are appended to the history.

    The history that the callbacks see tells a learning-rate scheduler how many epochs its optimizer
    has had, so it is empty with a new optimizer. It tells the other callbacks what was best so far,
    and nothing was in this round.
    """
    past = net.history_
    n_past = 0 if reset_optimizer else len(past)
    if reset_optimizer:
        net.initialize_optimizer()
        prepare_optimizers(net)
    net.history_ = type(past)([_without_marks(row) for row in past[:n_past]])
    kept.rows = list(net.history_)
    with begin_again(net, is_trained=bool(len(past))):
        if has_own_fit(net):
            continue_by_own_fit(net, X, y, fit_params)
        else:
            _continue_by_skorch(net, X, y, fit_params)
    new = list(net.history_)[n_past:]
    for number, row in enumerate(new, start=len(past) + 1):
        row["epoch"] = number
    net.history_ = type(past)([*past, *new])


def _continue_by_skorch(net, X, y, fit_params):
    # skorch takes a partial_fit that its fit calls for a fit, in metadata routing too
    if fit_params:
        fit_params = {**fit_params, "_routing_method": "fit"}
    net.partial_fit(X, y, **fit_params)


def _without_marks(row):
    """Return an epoch's row of the history in which nothing was best and no event happened."""
    return {name: False if value is True else value for name, value in row.items()}


def _through_steps(pipeline, X, labels, go_on, fit_params):
    """Return X behind the steps before the last, fitted unless `go_on`, and the last step's
    parameters.
    """
    fit_params, earlier_params = _step_params(pipeline, fit_params)
    if len(pipeline.steps) == 1:
        return X, fit_params
    check_transformable(X)
    earlier = pipeline[:-1]
    if go_on and is_fitted(earlier):
        return earlier.transform(as_fitted(X, earlier)), fit_params
    X = earlier.fit_transform(X, labels, **earlier_params)
    pipeline.steps[:-1] = earlier.steps  # with `memory` a Pipeline fits clones
    return X, fit_params


def _step_params(pipeline, fit_params):
    """Return the fit parameters of the last step of a Pipeline, and those of the steps before
    it.
    """
    if fit_params and routing_is_enabled():
        return routed_to_steps(pipeline, fit_params)
    prefix = f"{pipeline.steps[-1][0]}__"
    wrong = [name for name in fit_params if not name.startswith(prefix)]
    if wrong:
        raise InvalidParameterError(
            f"fit parameters of the net in a Pipeline start with {prefix!r}; got {wrong}."
        )
    return {name.removeprefix(prefix): value for name, value in fit_params.items()}, {}
