"""A net on the first samples of a labeled set before it is trained on them, and its errors while it
is.
"""

import copy
import os
from functools import cached_property

import torch
from sklearn.base import clone
from torch.nn.parameter import UninitializedParameter
from torch.utils import data

from skdal.adapters._batches import NetSamples, labels_in
from skdal.adapters._items import settled
from skdal.adapters._labels import check_labels
from skdal.adapters._net import LABELED, NetView
from skdal.exceptions import (
    InvalidLabelsError,
    InvalidParameterError,
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
            with self._view.reading():
                self._view.losses(outputs, labels)

    @cached_property
    def _passes(self):
        with self._view.reading(), torch.no_grad():
            batches = self._view.first_batches(
                self._X, self._labels, labeled=True, of=LABELED
            )
            return [(self._view.forward(inputs), labels) for inputs, labels in batches]


def try_training(net, X, labels):
    """Return the `Trial` of a net that is about to be trained, after its samples, outputs and
    labels were tried.

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
                f"the callback {type(callback).__name__} ({name}) watches {monitor!r}, which "
                "is never recorded: the net has train_split=None, so there is no validation "
                f"set. Pass monitor={instead!r}, or a validation set as "
                "train_split=skorch.helper.predefined_split(dataset)."
            )


def _is_of_a_user(callback):
    return not type(callback).__module__.startswith(("skorch.", "skdal."))


def told_apart(net, X, labels):
    """Return the samples of a Dataset whose labels are given beside it, told apart from labels in
    the items.

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
    """Return the labels of a mini-batch of training as integers in [0, K), with which the items of
    X were drawn.

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
