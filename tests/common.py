"""What most tests start from: iris, small float64 nets on it, and snapshots of what must not change."""

import random
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skdal.samplers import SAMPLERS

_X, _y = load_iris(return_X_y=True)
_X = StandardScaler().fit_transform(_X)
_order = np.random.RandomState(0).permutation(len(_X))
X, y = _X[_order][:30], _y[_order][:30]  # the labeled set
POOL, POOL_y = _X[_order][30:71], _y[_order][30:71]  # in mini-batches of 8 the last one has length 1


class Mlp(nn.Module):
    """Smooth, in float64, with what training and scoring must treat differently: dropout and batch-norm."""

    forwards = 0  # over all instances

    def __init__(self, n_features=4, n_classes=3, dtype=torch.float64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3))
        self.head = nn.Linear(6, n_classes)
        self.to(dtype)

    def forward(self, x):
        Mlp.forwards += 1
        return self.head(self.body(x.to(self.head.weight.dtype)))


SETTINGS = {
    "criterion": nn.CrossEntropyLoss,
    "optimizer": torch.optim.Adam,
    "lr": 0.01,
    "max_epochs": 2,
    "batch_size": 8,
    "train_split": None,
    "iterator_train__shuffle": True,
    "verbose": 0,
}


def make_net(module=Mlp, cls=NeuralNetClassifier, **settings):
    """Return a net that is not trained."""
    return cls(module, **{**SETTINGS, **settings})


def trained_net(seed=0, **settings):
    """Return a net trained on the labeled set."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_net(**settings).fit(X, y)


def make_sampler(key, estimator=None, **params):
    """Return a sampler by its key in the registry, made for small batches."""
    if key == "dynamical":
        params = {"batch_size": 8, **params}
    return SAMPLERS[key](estimator, **{"random_state": 0, **params})


def plain(value):
    """Return nested state as lists and numbers, which can be compared with ==."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def simple(attributes):
    """Return the attributes that are numbers, strings, or None."""
    return {name: value for name, value in attributes.items() if isinstance(value, (int, float, str, type(None)))}


def snapshot(net):
    """Return everything about a net that a query, or a training that failed, has to leave alone."""
    modules, parameters = list(net.module_.modules()), list(net.module_.parameters())
    return plain(
        {
            "state": net.module_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "history": list(net.history),
            "callbacks": [simple(vars(callback)) for _, callback in net.callbacks_],
            "training": [m.training for m in modules],
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules],
            "requires_grad": [p.requires_grad for p in parameters],
            "grad": [p.grad for p in parameters],
            "identity": [id(item) for item in (net.module_, net.optimizer_, *modules, *parameters)],
            "attributes": sorted(vars(net)),
        }
    )


def global_rng():
    """Return the state of the global generators of torch, numpy and python."""
    return plain([torch.get_rng_state(), np.random.get_state(), random.getstate()])


def weights(estimator):
    """Return the weights of a net, nested lists."""
    return plain(estimator.module_.state_dict())


def assert_same(actual, expected, where=""):
    """Compare nested state and say where it differs, rather than all that it is."""
    if isinstance(expected, dict):
        assert sorted(actual) == sorted(expected), where
        for key, value in expected.items():
            assert_same(actual[key], value, f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), where
        for i, value in enumerate(expected):
            assert_same(actual[i], value, f"{where}[{i}]")
    else:
        assert actual == expected or actual != actual and expected != expected, where  # NaN is NaN


class Untrainable(NeuralNetClassifier):
    """What a trained net is turned into by `net.__class__ = Untrainable`."""

    def fit(self, *args, **kwargs):
        raise AssertionError("trained")

    partial_fit = fit_loop = train_step = initialize = initialize_optimizer = fit
