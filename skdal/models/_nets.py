"""From a module to a skorch net with the paper's training settings."""

from functools import partial

import torch
from skorch import NeuralNetClassifier


def net_factory(make_module):
    """Return a factory of skorch nets around the modules that `make_module(n_classes, in_channels)`
    gives.

    The factory's arguments are `n_classes`, `in_channels=3`, `seed=None` and any parameters of the
    net.
    """
    return partial(make_net, make_module)


def make_net(make_module, n_classes, *, in_channels=3, seed=None, **net_params):
    """Return an untrained skorch net: Adam, learning rate 0.001, cross entropy, every label trained
    on.

    Parameters
    ----------
    make_module : callable
        `make_module(n_classes, in_channels)` gives a module.
    n_classes : int
        K, the number of outputs.
    in_channels : int, default=3
        Of the images.
    seed : int, optional
        Of the initial weights, the same for every clone. None: torch's global generator.
    **net_params
        For `NeuralNetClassifier`; they take precedence.

    Returns
    -------
    NeuralNetClassifier
    """
    settings = {
        "criterion": torch.nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 0.001,
        "train_split": None,
        "verbose": 0,
        "iterator_train__shuffle": True,
    }
    module = {
        "module__make": make_module,
        "module__n_classes": n_classes,
        "module__in_channels": in_channels,
    }
    return NeuralNetClassifier(
        seeded, **module, module__seed=seed, **{**settings, **net_params}
    )


def seeded(make, n_classes, in_channels, seed):
    """Return `make(n_classes, in_channels)` with weights drawn by `seed`; torch's generator is as
    found.
    """
    if seed is None:
        return make(n_classes, in_channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(n_classes, in_channels)
