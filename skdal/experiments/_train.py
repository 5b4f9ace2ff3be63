"""Training until the net knows its labeled set, with looks at the test set that steer nothing."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from skorch.callbacks import Callback

from skdal.datasets import Batches
from skdal.exceptions import NonFiniteScoreError

_TEST_BATCH = 128


class Look(NamedTuple):
    """One look at the test set, after so many epochs of the round; both numbers are fractions."""

    epoch: int
    accuracy: float
    macro_f1: float


class Trained(NamedTuple):
    """How a training went: its epochs, the accuracy on the labeled set in the last, whether that
    was enough.
    """

    n_epochs: int
    accuracy: float
    converged: bool


class RunningAccuracy(Callback):
    """The accuracy of an epoch on what is trained on, from the outputs before each step.

    Attributes
    ----------
    value_ : float
        Of the last epoch.
    """

    def on_epoch_begin(self, net, **kwargs):
        """Forget the epoch before."""
        self._n_right = 0
        self._n_seen = 0

    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Count, on the net's device: a transfer a step would make a GPU wait."""
        if training:
            labels = batch[1].to(y_pred.device)
            self._n_right = self._n_right + (y_pred.argmax(1) == labels).sum()
            self._n_seen += len(labels)

    @property
    def value_(self):
        """The accuracy, a fraction."""
        return float(self._n_right) / self._n_seen


def train_until_learned(net, labeled, training, look):
    """Train an initialized net, epoch by epoch, by the stop rule of a `Training`.

    Parameters
    ----------
    net : NeuralNetClassifier
        With a `RunningAccuracy` among its callbacks, named "running_accuracy".
    labeled : Dataset
    training : Training
    look : callable
        Called with the number of each epoch and whether it is the last.

    Returns
    -------
    Trained
    """
    running = dict(net.callbacks_)["running_accuracy"]
    n_above = 0
    for epoch in range(1, training.max_epochs + 1):
        net.fit_loop(labeled, epochs=1)  # fit and partial_fit would swallow a Ctrl-C
        n_above += running.value_ > training.accuracy
        converged = n_above >= training.n_epochs_above
        is_last = converged or epoch == training.max_epochs
        look(epoch, is_last)
        if is_last:
            return Trained(epoch, running.value_, bool(converged))


def outputs_of(net, images):
    """Return a net's outputs (n, K) in eval mode."""
    return torch.cat(
        [
            net.evaluation_step(batch, training=False)
            for batch in Batches(images, _TEST_BATCH)
        ]
    )


def measure(net, test, epoch):
    """Return a `Look` at the test set; macro-F1 is the mean over the classes that are in it.

    Raises
    ------
    NonFiniteScoreError
        The net gives NaN or infinity: its training has diverged.
    """
    outputs = outputs_of(net, test)
    if not bool(outputs.isfinite().all()):
        raise NonFiniteScoreError(
            f"the net gives NaN or infinity after epoch {epoch}: its training has diverged. Lower "
            "the learning rate, or look for unusual values in the images."
        )
    predicted = outputs.argmax(1).cpu().numpy()
    labels = test.targets
    macro_f1 = f1_score(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    return Look(epoch, float(accuracy_score(labels, predicted)), float(macro_f1))
