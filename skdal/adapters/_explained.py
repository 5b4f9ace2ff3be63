"""Errors of others while skorch goes through data: the steps of a pass are taken again, one by one,
to see which fails.

The steps are to fetch the samples and make a mini-batch of them, the module's forward, and the
loss.
"""

import copy
from contextlib import contextmanager

import torch

from skdal.adapters._batches import NetBatches, NetSamples, own_batch_size
from skdal.adapters._blame import refuse_samples
from skdal.adapters._devices import device_of, on_device
from skdal.adapters._foreign import is_foreign
from skdal.adapters._net import LABELED, NetView
from skdal.exceptions import FailingModuleError, InvalidDataError
from skdal.utils import count_rows, preserved_rng, tree_leaves


@contextmanager
def explained_prediction(net, X):
    """Run a block in which a net predicts on a pool; an error of others that comes of a sample
    tells of which.

    Parameters
    ----------
    net : NeuralNetClassifier
    X : data
        As `paired` returns it.
    """
    try:
        yield
    except Exception as error:
        if is_foreign(error):
            _predict_again(net, X)
        raise


def _predict_again(net, X):
    """Raise if samples cannot be fetched, or if the module does not take them."""
    size = own_batch_size(net)
    size = size if size > 0 else count_rows(X)
    view = NetView(net)
    with view.reading(), torch.no_grad():
        for inputs, _ in view.given(
            NetBatches(net, X, labeled=False, batch_size=size), 0
        ):
            view.forward(inputs)


@contextmanager
def explained_training(net, X, y, watch):
    """Run a block in which a net trains; an error of others that comes of samples, module or loss
    tells of which.

    Parameters
    ----------
    net : NeuralNetClassifier
    X : data
        As `paired` returns it.
    y : array (n,) or None
    watch : object
        `step` is what skorch is at: "fetch" between mini-batches, "run" while it works on one, None
        before and after. `batch` is the mini-batch that it was given last.
    """
    try:
        yield
    except Exception as error:
        if is_foreign(error) and watch.step is not None:
            _find_in_training(net, X, y, watch, error)
        raise


def _find_in_training(net, X, y, watch, error):
    """Raise if it is found what made a training fail; else it is something that happens in training
    alone.
    """
    view = NetView(net)
    with view.reading(), torch.no_grad():
        if watch.step == "fetch":
            samples = _samples_of_training(net, X, y)
            refuse_samples(samples, range(len(samples.dataset)), error, of=LABELED)
            return
        inputs, labels = (on_device(part, device_of(net)) for part in watch.batch)
        try:
            outputs = view.forward(inputs)
        except Exception as refused:
            if is_foreign(refused):
                _refuse_in_module(view, net, X, y, error)
            return
        view.try_training_loss(outputs, labels)
    _refuse_one_alone(inputs, error)
    _refuse_in_training_mode(view, inputs, error)


def _refuse_in_module(view, net, X, y, error):
    samples = _samples_of_training(net, X, y)
    rows = range(len(samples.dataset))
    refuse_samples(samples, rows, error, run=view.forward, of=LABELED)


def _samples_of_training(net, X, y):
    """Return the samples with what makes mini-batches of them in training."""
    samples = NetSamples(net, X, y)
    loader = net.get_iterator(samples.dataset, training=True)
    return NetSamples(net, X, y, getattr(loader, "collate_fn", None))


def _refuse_one_alone(inputs, error):
    if len(next(iter(tree_leaves(inputs)), ())) == 1:
        raise InvalidDataError(
            "the net's module takes a mini-batch of one sample, and does not train on it. If "
            "it normalizes by mini-batches, pass iterator_train__drop_last=True or a "
            f"batch_size that leaves no mini-batch of one. It raised {type(error).__name__}: "
            f"{error}"
        ) from error


def _refuse_in_training_mode(view, inputs, error):
    """Raise if a copy of the module fails in training mode; else the error came of something else
    that happens in training, such as a callback.
    """
    module = copy.deepcopy(view.module).train()
    with preserved_rng(), torch.no_grad():
        try:
            view.with_module(module).forward(inputs)
        except Exception as again:
            if not is_foreign(again) or type(again) is not type(error):
                return
            raise FailingModuleError(
                f"forward of {type(view.module).__name__} raises {type(error).__name__} in "
                f"training mode, and not in eval mode: {error}. Look at what it does where "
                "self.training is true."
            ) from error
