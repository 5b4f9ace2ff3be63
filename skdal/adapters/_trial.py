"""A net on the first samples of a labeled set before it is trained on them, and its errors while it is."""

import copy
import os
import traceback
from contextlib import contextmanager
from functools import cached_property

import torch
from sklearn.base import clone
from torch.nn.parameter import UninitializedParameter
from torch.utils import data

from skdal.adapters._batches import NetSamples, labels_in
from skdal.adapters._blame import refuse_samples
from skdal.adapters._devices import device_of, on_device
from skdal.adapters._foreign import is_foreign
from skdal.adapters._items import settled
from skdal.adapters._labels import check_labels
from skdal.adapters._net import LABELED, NetView, tensors_of
from skdal.exceptions import (
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
    UnsupportedEstimatorError,
)
from skdal.utils import is_torch_dataset, preserved_rng

_LOADER = os.path.dirname(data.__file__)
_OWN_MONITORS = (
    "valid_loss",
    "valid_acc",
)  # that skorch itself records, of a validation set


class Trial:
    """A net that is about to be trained, and the first two samples of its labeled set.

    Parameters
    ----------
    net : NeuralNetClassifier
        Initialized.
    X : data
        The labeled set.
    labels : array (n,) or None
        None where the items of the Dataset X hold them.

    Attributes
    ----------
    module : torch.nn.Module
        Of the net.
    """

    def __init__(self, net, X, labels):
        self.module = net.module_
        self._net = net
        self._view = NetView(net)
        self._X = X
        self._labels = labels
        if any(
            isinstance(parameter, UninitializedParameter)
            for parameter in self.module.parameters()
        ):
            self._view = self._view.with_module(
                copy.deepcopy(self._view.module)
            )  # a pass would initialize them

    def run(self):
        """Run the module on the samples, in eval mode and one by one where they do not stack.

        Raises
        ------
        InvalidSampleError
            A sample cannot be fetched, or the module does not take it.
        UnsupportedEstimatorError
            The outputs are none of a classifier.
        InvalidLabelsError
            The labels do not fit them.
        """
        if self._labels is not None:
            check_labels(self._labels, n_outputs=self.n_outputs)
            return
        samples = NetSamples(self._net, self._X)
        for _, labels in self._passes:
            rows = range(min(2, len(samples.dataset)))
            labels_in(samples, rows, labels, self.n_outputs, of=LABELED)

    @property
    def n_outputs(self):
        """K, the number of the net's outputs."""
        return self._passes[0][0].shape[1]

    def check_losses(self):
        """Raise unless the criterion gives each sample a loss of its own.

        Raises
        ------
        UnsupportedEstimatorError
            The criterion, or the net's get_loss, does not.
        """
        for outputs, labels in self._passes:
            try:
                with self._view.reading():
                    self._view.losses(outputs, labels)
            except Exception as error:
                if not is_foreign(error):
                    raise
                raise UnsupportedEstimatorError(
                    _of_loss(self._view, outputs, labels, error)
                ) from error

    @cached_property
    def _passes(self):
        with self._view.reading(), torch.no_grad():
            batches = self._view.first_batches(
                self._X, self._labels, labeled=True, of=LABELED
            )
            return [(self._view.forward(inputs), labels) for inputs, labels in batches]


def try_training(net, X, labels):
    """Return the `Trial` of a net that is about to be trained, after its samples, outputs and labels were tried.

    Nothing of the net changes: mode, weights, buffers, generators.

    Raises
    ------
    InvalidParameterError
        A callback watches what is never recorded.
    InvalidDataError, InvalidLabelsError, UnsupportedEstimatorError
        As of `Trial.run`.
    """
    _check_monitors(net)
    trial = Trial(net, X, labels)
    trial.run()
    return trial


def _check_monitors(net):
    """Raise if a callback watches scores of a validation set, and there is none."""
    if net.train_split is not None or any(
        _is_of_a_user(callback) for _, callback in net.callbacks_
    ):
        return  # a callback of the user's may record such scores
    for name, callback in net.callbacks_:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor.removesuffix("_best") in _OWN_MONITORS:
            instead = monitor.replace(monitor.removesuffix("_best"), "train_loss")
            raise InvalidParameterError(
                f"the callback {type(callback).__name__} ({name}) watches {monitor!r}, which is never recorded: the "
                f"net has train_split=None, so there is no validation set. Pass monitor={instead!r}, or a validation "
                "set as train_split=skorch.helper.predefined_split(dataset)."
            )


def _is_of_a_user(callback):
    return not type(callback).__module__.startswith(("skorch.", "skdal."))


def told_apart(net, X, labels):
    """Return the samples of a Dataset whose labels are given beside it, told apart from labels in the items.

    Raises
    ------
    InvalidDataError
        It cannot be told whether an item is an input of two parts.
    """
    if labels is None or not is_torch_dataset(X):
        return X

    def refusal(x):
        with preserved_rng():
            ready = net if net.initialized_ else clone(net).initialize()
        return NetView(ready).refusal(x)

    return settled(X, refusal=refusal, names=(LABELED, LABELED))[0]


def labels_of_items(net, X, labels, n_outputs):
    """Return the labels of a mini-batch of training as integers in [0, K), with which the items of X were drawn.

    Raises
    ------
    InvalidLabelsError
        Names the first sample of X with such a label; X is looked through for it.
    """
    try:
        return check_labels(labels, n_outputs=n_outputs)
    except InvalidLabelsError:
        samples = NetSamples(net, X)
        rows = range(len(samples.dataset))
        return labels_in(samples, rows, labels, n_outputs, of=LABELED)


@contextmanager
def explained(net, X, y=None, *, training, of, latest=None):
    """Run a block in which skorch goes through X; an error of others that comes of a sample tells of which.

    Parameters
    ----------
    net : NeuralNetClassifier
    X : data
        As `paired` returns it.
    y : array (n,), optional
    training : bool
        Whether its mini-batches are those of training.
    of : str
        What X is, for the error.
    latest : callable, optional
        Gives the inputs of the mini-batch that skorch went through last, or None.
    """
    try:
        yield
    except Exception as error:
        if is_foreign(error) and getattr(net, "initialized_", False):
            inputs = None if latest is None else latest()
            inputs = (
                None
                if inputs is None or _stage(error) != "infer"
                else on_device(inputs, device_of(net))
            )
            if inputs is None or not _is_taken(NetView(net), inputs):
                _refuse(net, X, y, training, of, error)
            elif len(next(iter(tensors_of(inputs)), ())) == 1:
                raise InvalidDataError(
                    "the net's module takes a mini-batch of one sample, and does not train on it. If it normalizes by "
                    "mini-batches, pass iterator_train__drop_last=True or a batch_size that leaves no mini-batch of "
                    f"one. It raised {type(error).__name__}: {error}"
                ) from error
        raise


def _is_taken(view, inputs):
    """Tell whether the module takes a mini-batch in eval mode; then no sample is to blame for an error in training."""
    with view.reading(), torch.no_grad():
        try:
            view.forward(inputs)
        except Exception:
            return False  # which sample it is will be told
    return True


def _refuse(net, X, y, training, of, error):
    stage, view = _stage(error), NetView(net)
    if stage is None:
        return
    samples = NetSamples(net, X, y)
    with view.reading(), torch.no_grad():
        if stage == "get_loss":
            inputs = samples.collated([samples.fetch(0)])
            raise UnsupportedEstimatorError(
                _of_loss(view, view.forward(inputs), None, error)
            ) from error
        loader = net.get_iterator(samples.dataset, training=training)
        samples = NetSamples(net, X, y, getattr(loader, "collate_fn", None))
        run = view.forward if stage == "infer" else None
        refuse_samples(samples, range(len(samples.dataset)), error, run=run, of=of)


def _stage(error):
    """Return where skorch was when an error came up: "infer", "get_loss", "load", or None for elsewhere."""
    frames = [
        (frame.f_code.co_name, frame.f_code.co_filename)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    names = {name for name, _ in frames}
    for stage in ("get_loss", "infer"):
        if stage in names:
            return stage
    is_loading = "unpack_data" in names or any(
        file.startswith(_LOADER) for _, file in frames
    )
    return "load" if is_loading else None


def _of_loss(view, outputs, labels, error):
    asked = (
        "its get_loss"
        if view.overrides_loss
        else f"the criterion {view.criterion_name}"
    )
    of_labels = "" if labels is None else f" and labels {tuple(labels.shape)} of int64"
    return (
        f"{asked} fails on outputs {tuple(outputs.shape)}{of_labels}, {type(error).__name__}: {error}. Use a criterion "
        "of class labels, such as CrossEntropyLoss for outputs that are logits, or NLLLoss for probabilities."
    )
