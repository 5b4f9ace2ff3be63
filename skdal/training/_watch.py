"""Callbacks that look on while skorch trains: they check the net, see interrupts, and guard what is
loaded.
"""

import warnings

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, Checkpoint, EarlyStopping

from skdal.adapters import labels_of_items
from skdal.exceptions import InvalidLabelsError
from skdal.training._passes import Passes


class _Watcher(Callback):
    """A callback of one training. What is pickled or cloned in the meantime has one without effect
    in its place.
    """

    def __reduce__(self):
        return Callback, ()

    def __sklearn_clone__(self):
        return Callback()


class Watch(_Watcher):
    """Checks a net when it is ready to train and its labels as they come, and tells whether a
    Ctrl-C ended it.

    It also lets the net have a class for each output. skorch notes the labels of this training
    alone, and whoever reads `classes_` beside `predict_proba`, such as scikit-learn's scorers,
    CalibratedClassifierCV and modAL's Committee, would take the columns to be theirs.

    It is the last of the callbacks, so that it sees what the others make of the net.

    Parameters
    ----------
    check : callable
        Called without arguments before the first step; what it raises ends the training.
    n_epochs : int or None
        How many epochs there will be; None: only the net knows.
    labeled : data
        The labeled set, as skorch gets it.
    has_labels : bool
        Whether labels come out of it, so that they are not known before.

    Attributes
    ----------
    step : {"fetch", "run", None}
        What skorch is at: "fetch" between mini-batches, "run" while it works on one, None before
        and after.
    batch : pair
        The mini-batch that it works on, or has worked on last.
    """

    def __init__(self, check, n_epochs, labeled, has_labels):
        self.check = check
        self.n_epochs = n_epochs
        self.labeled = labeled
        self.has_labels = has_labels
        self.passes = Passes(labeled)
        self.n_outputs = None
        self.n_begun = 0
        self.n_ended = 0
        self.step = None
        self.batch = None

    def on_train_begin(self, net, **kwargs):
        """Check the net, which is whole now."""
        self.n_outputs = self.check()

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Count; skorch has noted its classes by now."""
        self.n_begun += 1
        self.step = "fetch"
        self.passes.begin(net, dataset_train, dataset_valid)
        net.classes_inferred_ = np.arange(self.n_outputs)

    def on_train_end(self, net, **kwargs):
        """Let the net have its classes after no epoch, too."""
        net.classes_inferred_ = np.arange(self.n_outputs)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Count, and see that no item ended the epoch early."""
        self.n_ended += 1
        self.step = None
        self.passes.check(dataset_train, dataset_valid)

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Check the labels of a mini-batch and give them the type that losses take; take note of
        it.
        """
        self.passes.count(training)
        self.step = "run"
        self.batch = batch
        if not training or not self.has_labels:
            return
        labels = labels_of_items(net, self.labeled, batch[1], self.n_outputs)
        labels = torch.from_numpy(labels)
        if isinstance(batch, list):
            batch[1] = labels
        elif batch[1].dtype != torch.int64:
            raise InvalidLabelsError(
                f"the net's collate_fn gives labels of {batch[1].dtype} in a "
                f"{type(batch).__name__}; losses need int64. Convert them there: "
                "torch.as_tensor(labels, dtype=torch.int64)."
            )

    def on_batch_end(self, net, **kwargs):
        """Take note that the next mini-batch is fetched now."""
        self.step = "fetch"

    def was_interrupted(self, net):
        """Tell whether a training that is over was ended by Ctrl-C, which skorch swallows.

        EarlyStopping ends a training in the same way, once its patience is at an end.
        """
        stoppers = [
            callback
            for _, callback in net.callbacks_
            if isinstance(callback, EarlyStopping)
        ]
        if any(stopper.misses_ == stopper.patience for stopper in stoppers):
            return False
        is_short = self.n_epochs is not None and self.n_ended < self.n_epochs
        return self.n_begun > self.n_ended or is_short


class RoundGuard(_Watcher):
    """Keeps rounds apart, and together what belongs to all of them; the first of the callbacks of a
    user.

    A Checkpoint loads at the end of a training only what it stored in this one. Callbacks that keep
    their state have it when the training begins.

    Parameters
    ----------
    keepers : Keepers
    """

    def __init__(self, keepers):
        self.keepers = keepers
        self.changed = []
        self.idle = []
        self.n_past = None

    def on_train_begin(self, net, **kwargs):
        """Put the keepers back, and let every Checkpoint leave marks in the history, which tell
        when it stored.
        """
        self.keepers.put_back(net)
        for checkpoint in _loading(net):
            if checkpoint.event_name is None:
                self._set(checkpoint, "event_name", _own_event(checkpoint))

    def on_epoch_begin(self, net, **kwargs):
        """Take note of how many epochs were there before, which a LoadInitState may have loaded."""
        if self.n_past is None:
            self.n_past = len(net.history) - 1

    def on_train_end(self, net, **kwargs):
        """Switch off the loading of those that stored nothing."""
        rows = [] if self.n_past is None else list(net.history)[self.n_past :]
        for checkpoint in _loading(net):
            if not any(row.get(checkpoint.event_name) for row in rows):
                self._set(checkpoint, "load_best", False)
                self.idle.append(checkpoint)

    def warn(self):
        """Warn of what could not be loaded."""
        for checkpoint in self.idle:
            warnings.warn(
                f"the Checkpoint with monitor={checkpoint.monitor!r:.60} stored nothing in "
                "this training, so its load_best=True had nothing to load, and the weights "
                "are those of the last epoch. Look for a loss that is NaN.",
                UserWarning,
                stacklevel=2,
            )

    def _set(self, checkpoint, name, value):
        self.changed.append((checkpoint, name, getattr(checkpoint, name)))
        setattr(checkpoint, name, value)

    def put_back(self, net):
        """Give every Checkpoint its own parameters again, and take the marks out of the history."""
        for checkpoint, name, value in reversed(self.changed):
            if name == "event_name":
                for row in net.history:
                    row.pop(_own_event(checkpoint), None)
            setattr(checkpoint, name, value)
        self.changed = []


def _loading(net):
    """Return the callbacks that load weights at the end of a training."""
    checkpoints = [
        callback for _, callback in net.callbacks_ if isinstance(callback, Checkpoint)
    ]
    return [
        checkpoint
        for checkpoint in checkpoints
        if checkpoint.load_best and checkpoint.monitor is not None
    ]


def _own_event(checkpoint):
    return f"skdal_stored_{id(checkpoint)}"


def n_epochs_of(net, fit_params):
    """Return how many epochs a training will have, None where the net has a training loop of its
    own.
    """
    if type(net).fit_loop is not NeuralNet.fit_loop:
        return None
    epochs = fit_params.get("epochs")
    return net.max_epochs if epochs is None else epochs
