"""Passes of a training that end early: a StopIteration of an item looks as if the data were at
their end.
"""

from skorch import NeuralNet

from skdal.adapters import n_batches_of, refuse_stopped
from skdal.utils import is_torch_dataset


class Passes:
    """Counts the mini-batches of an epoch, and looks for the item that ended it early.

    Parameters
    ----------
    labeled : data
        The labeled set, in which the item is looked for where it is a Dataset.
    """

    def __init__(self, labeled):
        self.labeled = labeled
        self._n_found = {True: 0, False: 0}
        self._n_wanted = {}
        self._is_searched = False

    def begin(self, net, dataset_train=None, dataset_valid=None):
        """Begin an epoch."""
        self._n_found = {True: 0, False: 0}
        if self._n_wanted or not _is_loop_of_skorch(net):
            return
        for training, dataset in ((True, dataset_train), (False, dataset_valid)):
            n = None if dataset is None else n_batches_of(net, dataset, training)
            self._n_wanted[training] = 0 if n is None else n

    def count(self, training):
        """Count a mini-batch."""
        self._n_found[bool(training)] += 1

    def check(self, dataset_train=None, dataset_valid=None):
        """Raise an InvalidSampleError if an item has ended the epoch early; items are looked at
        once a training.
        """
        short = [
            training
            for training, n in self._n_wanted.items()
            if self._n_found[training] < n
        ]
        if not short or self._is_searched:
            return
        self._is_searched = True
        is_dataset = is_torch_dataset(self.labeled)
        labeled = self.labeled if is_dataset else dataset_train
        refuse_stopped(labeled, range(len(labeled)), "the labeled set")
        if dataset_valid is not None:
            rows = range(len(dataset_valid))
            refuse_stopped(dataset_valid, rows, "the validation set")


def _is_loop_of_skorch(net):
    own = type(net)
    return (
        own.run_single_epoch is NeuralNet.run_single_epoch
        and own.fit_loop is NeuralNet.fit_loop
    )
