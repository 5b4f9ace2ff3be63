"""Training of estimators: from scratch or on from the current weights; undone where it fails."""

import copy
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EarlyStopping

from skdal.adapters import (
    NetView,
    check_fitted,
    check_labels,
    check_transformable,
    final_estimator,
    first_output,
    is_net,
    labels_of,
    paired,
    warn_of_held_out_labels,
)
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.utils import count_rows


def train(estimator, X, y=None, *, go_on, reset_optimizer, check_module=None, **fit_params):
    """Train `estimator` in place on a labeled set.

    Parameters
    ----------
    estimator : classifier
        A net, a scikit-learn classifier, a Pipeline, or frozen (then it is only checked).
    X, y : data
        The labeled set; y None for a Dataset that holds the labels.
    go_on : bool
        Continue an initialized net from its current weights, with the steps before it in a Pipeline
        as they are. Otherwise, and for classifiers that are no nets, train from scratch.
    reset_optimizer : bool
        When a net continues, rebuild its optimizer first: weights stay, moments go.
    check_module : callable, optional
        Called with a net's module before its first step; what it raises ends the training.
    **fit_params
        For the estimator's `fit`.

    Returns
    -------
    estimator

    Raises
    ------
    KeyboardInterrupt
        Also where skorch would swallow it. After this or any other error the estimator is as it was.
    """
    if isinstance(estimator, FrozenEstimator):
        check_fitted(estimator)
        return estimator
    with ExitStack() as stack:
        for part in _parts(estimator):
            stack.enter_context(_undone_on_error(part))
        if not is_net(estimator):
            return estimator.fit(X, y, **fit_params)
        if not count_rows(X):
            raise InvalidDataError("the labeled set is empty; pass at least one labeled sample.")
        warn_of_held_out_labels(estimator)
        labels = labels_of(X, y)
        go_on = go_on and getattr(final_estimator(estimator), "initialized_", False)
        return _train_net(estimator, X, labels, go_on, reset_optimizer, check_module, fit_params)


def _train_net(estimator, X, labels, go_on, reset_optimizer, check_module, fit_params):
    if isinstance(estimator, Pipeline):
        X, fit_params = _through_steps(estimator, X, labels, go_on, fit_params)
        _train_net(estimator.steps[-1][1], X, labels, go_on, reset_optimizer, check_module, fit_params)
        return estimator
    if isinstance(estimator, FrozenEstimator):
        return estimator
    rows = paired(X, labels, labeled=True)
    before = estimator.module_ if go_on else None

    def check():
        _check_ready(estimator, before, X, labels)
        if check_module is not None:
            check_module(estimator.module_)

    with _watched(estimator, check), _checked_losses(estimator, labels):
        if go_on and reset_optimizer:
            _start_anew(estimator, rows, labels, fit_params)
        elif go_on:
            estimator.partial_fit(rows, labels, **fit_params)
        else:
            if estimator.warm_start and estimator.initialized_:
                estimator.initialize()  # its own `fit` would continue
            estimator.fit(rows, labels, **fit_params)
    return estimator


def _start_anew(net, X, y, fit_params):
    """Train on from the current weights with a new optimizer; the new epochs are appended to the history.

    A learning-rate scheduler counts the epochs of the history, so it has to see an empty one to
    start with its optimizer.
    """
    past = net.history_
    net.initialize_optimizer()
    net.history_ = type(past)()
    net.partial_fit(X, y, **fit_params)
    for row in net.history_:
        row["epoch"] += len(past)
    net.history_ = type(past)([*past, *net.history_])


def _check_ready(net, before, X, labels):
    """Raise if the labels do not fit the net's outputs, or if its module is not the one to continue."""
    if before is not None and net.module_ is not before:
        raise InvalidParameterError(
            "a callback of the net re-initialized its module at the start of a training that was to continue from the "
            "current weights. Let it set parameters only where they change, or pass warm_start=False."
        )
    if labels is not None:
        check_labels(labels, n_outputs=NetView(net).n_outputs(X))


def _through_steps(pipeline, X, labels, go_on, fit_params):
    """Return X behind the steps before the last, fitted unless `go_on`, and the last step's parameters."""
    prefix = f"{pipeline.steps[-1][0]}__"
    wrong = [name for name in fit_params if not name.startswith(prefix)]
    if wrong:
        raise InvalidParameterError(f"fit parameters of the net in a Pipeline start with {prefix!r}; got {wrong}.")
    fit_params = {name.removeprefix(prefix): value for name, value in fit_params.items()}
    if len(pipeline.steps) == 1:
        return X, fit_params
    check_transformable(X)
    earlier = pipeline[:-1]
    if go_on and _is_fitted(earlier):
        return earlier.transform(X), fit_params
    X = earlier.fit_transform(X, labels)
    pipeline.steps[:-1] = earlier.steps  # with `memory` a Pipeline fits clones
    return X, fit_params


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


class _Replacement:
    """Stands in for a method of one net during a training; what is pickled or copied has the method itself."""

    def __init__(self, net, name, function):
        self.net, self.name, self.function = net, name, function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def __reduce__(self):
        return getattr, (self.net, self.name)


@contextmanager
def _replaced(net, name, function):
    own = {key: value for key, value in vars(net).items() if key == name}
    vars(net)[name] = _Replacement(net, name, function)
    try:
        yield
    finally:
        vars(net).pop(name, None)
        vars(net).update(own)


@contextmanager
def _checked_losses(net, labels):
    """Check the labels that come out of a Dataset, a mini-batch at a time; `labels` are known otherwise."""
    get_loss = net.get_loss

    def checked(y_pred, y_true, *args, **kwargs):
        y_true = torch.from_numpy(check_labels(y_true, n_outputs=first_output(y_pred).shape[1]))
        return get_loss(y_pred, y_true, *args, **kwargs)

    with _replaced(net, "get_loss", checked) if labels is None else nullcontext():
        yield


@contextmanager
def _watched(net, check):
    """Call `check` when the net is about to train; re-raise a Ctrl-C, which its partial_fit swallows."""
    interrupts = []
    fit_loop = net.fit_loop

    def watched(*args, **kwargs):
        try:
            check()
            return fit_loop(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            if not _stops_early(interrupt):
                interrupts.append(interrupt)
            raise

    with _replaced(net, "fit_loop", watched):
        yield
    if interrupts:
        raise interrupts[0]


def _stops_early(interrupt):
    """Tell whether a KeyboardInterrupt is skorch's EarlyStopping, which ends a training by raising one."""
    trace = interrupt.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return isinstance(trace.tb_frame.f_locals.get("self"), EarlyStopping)


def _parts(estimator):
    """Yield the objects that training changes."""
    yield estimator
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            if hasattr(step, "fit"):
                yield from _parts(step)


@contextmanager
def _undone_on_error(estimator):
    """Put `estimator` back to what it was where the block fails.

    Torch components and callbacks keep their identity and get their state back; what else training
    sets (names that end in "_") comes back as a copy taken before.
    """
    attributes = dict(vars(estimator))
    undo = []
    for name, value in attributes.items():
        if hasattr(value, "load_state_dict") and not isinstance(value, type):
            undo.append(partial(value.load_state_dict, copy.deepcopy(value.state_dict())))
            undo += [partial(setattr, part, "training", part.training) for part in getattr(value, "modules", list)()]
        elif name == "callbacks_":
            undo += [partial(_set_vars, callback, dict(vars(callback))) for _, callback in value]
        elif name == "steps":
            attributes[name] = list(value)
        elif name.endswith("_"):
            attributes[name] = copy.deepcopy(value)
    try:
        yield
    except BaseException:
        _set_vars(estimator, attributes)
        for put_back in undo:
            put_back()
        raise


def _set_vars(instance, attributes):
    vars(instance).clear()
    vars(instance).update(attributes)
