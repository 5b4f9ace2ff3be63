"""What most tests start from: iris, small float64 nets on it, and snapshots of what must not
change."""

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

import skdal.samplers
from skdal.samplers import (
    SAMPLERS,
    ALBLSampler,
    ConfidenceSampler,
    CoresetSampler,
    DynamicALSampler,
    MarginSampler,
    PoolSubset,
)

_X, _y = load_iris(return_X_y=True)
_X = StandardScaler().fit_transform(_X)
_order = np.random.RandomState(0).permutation(len(_X))
X, y = _X[_order][:30], _y[_order][:30]  # the labeled set
POOL, POOL_y = (
    _X[_order][30:71],
    _y[_order][30:71],
)  # in mini-batches of 8 the last one has length 1


class Mlp(nn.Module):
    """Smooth, in float64, with what training and scoring must treat differently: dropout and
    batch-norm."""

    forwards = 0  # over all instances

    def __init__(self, n_features=4, n_classes=3, dtype=torch.float64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3)
        )
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


# --- samplers -------------------------------------------------------------------------------------


def features(classifier, X):
    """The samples themselves as representations, for classifiers that have no others."""
    return X


@dataclass(frozen=True)
class Promise:
    """What the design promises of a sampler, and how one is made for the nets here;
    `test_contract.py` holds it to it.

    Attributes
    ----------
    params : dict
        For mini-batches of 8, and small numbers.
    cls : type or None
        Its class; None: that of its key in the registry.
    for_classifiers : dict or None
        Parameters with which it takes any classifier; None: it needs a net.
    scores : {"samples", "picks", "none"}
        Of each sample by itself, of picks at the moment of picking, or NaN.
    draws : bool
        The picks depend on the seed.
    draws_on_device : bool
        What it draws is not the same on another device.
    labeled : bool
        It needs the labeled set.
    looks : bool
        It looks at the samples.
    keeps : bool
        A query leaves something in the instance, so there is no function form.
    sees : int
        How many samples of POOL it sees, and so the most that it can be asked for.
    batch_size : int
        Samples a mini-batch: 8 where the parameter or the net says so, else what is documented for
        four features.
    """

    params: dict = field(default_factory=dict)
    cls: type | None = None
    for_classifiers: dict | None = None
    scores: str = "samples"
    draws: bool = False
    draws_on_device: bool = False
    labeled: bool = False
    looks: bool = True
    keeps: bool = False
    sees: int = len(POOL)
    batch_size: int = 8


SMALL = {"batch_size": 8}
ARMS = {"samplers": [CoresetSampler(embedding=features), ConfidenceSampler()]}
PROMISES = {
    "dynamical": Promise(SMALL, labeled=True),
    "gradient_length": Promise(SMALL),
    "influence": Promise(SMALL, labeled=True),
    "egl": Promise(SMALL),
    "entropy_gradient": Promise(SMALL),
    "random": Promise(for_classifiers={}, scores="none", draws=True, looks=False),
    "confidence": Promise(for_classifiers={}),
    "margin": Promise(for_classifiers={}),
    "entropy": Promise(for_classifiers={}),
    "coreset": Promise(
        for_classifiers={"embedding": features},
        scores="picks",
        labeled=True,
        batch_size=256,
    ),
    "badge": Promise(scores="picks", draws=True, batch_size=256),
    "albl": Promise(
        for_classifiers=ARMS,
        scores="picks",
        draws=True,
        labeled=True,
        keeps=True,
    ),
    "mc_dropout": Promise(
        {"n_passes": 5},
        draws=True,
        draws_on_device=True,
        batch_size=256,
    ),
    # not in the registry
    "albl_per_sample": Promise(
        {"per": "sample"},
        ALBLSampler,
        for_classifiers=ARMS,
        scores="none",
        draws=True,
        labeled=True,
        keeps=True,
    ),
    "pool_subset": Promise(
        {"sampler": DynamicALSampler(batch_size=8), "subset_size": 30},
        PoolSubset,
        for_classifiers={"sampler": MarginSampler()},
        scores="picks",
        draws=True,
        labeled=True,
        keeps=True,
        sees=30,
    ),
}
PROMISES = {
    key: replace(promise, cls=promise.cls or type(SAMPLERS[key]()))
    for key, promise in PROMISES.items()
}
FOR_CLASSIFIERS = {
    key: p.for_classifiers
    for key, p in PROMISES.items()
    if p.for_classifiers is not None
}


def keys(among=SAMPLERS, **facts):
    """Return the keys, of the registry if not said otherwise, of samplers with these facts in their
    `Promise`."""
    return [
        key
        for key in among
        if all(getattr(PROMISES[key], name) == value for name, value in facts.items())
    ]


FUNCTIONS = {
    f"{key}_sampling": getattr(skdal.samplers, f"{key}_sampling")
    for key in keys(keeps=False)
}


def make_sampler(key, estimator=None, **params):
    """Return a sampler by its key in PROMISES, made for small batches."""
    make = SAMPLERS.get(key, PROMISES[key].cls)
    return make(
        estimator,
        **{"random_state": 0, **copy.deepcopy(PROMISES[key].params), **params},
    )


# --- states ---------------------------------------------------------------------------------------


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
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, (int, float, str, type(None)))
    }


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
            "hooks": [
                len(m._forward_hooks)
                + len(m._forward_pre_hooks)
                + len(m._backward_hooks)
                for m in modules
            ],
            "requires_grad": [p.requires_grad for p in parameters],
            "grad": [p.grad for p in parameters],
            "identity": [
                id(item)
                for item in (net.module_, net.optimizer_, *modules, *parameters)
            ],
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
        assert actual == expected or actual != actual and expected != expected, (
            where
        )  # NaN is NaN


def moved_to_cuda(net):
    """Move a net to the CUDA device, and return it."""
    net.device = "cuda"
    for part in (net.module_, net.criterion_):
        part.cuda()
    return net


class Untrainable(NeuralNetClassifier):
    """What a trained net is turned into by `net.__class__ = Untrainable`."""

    def fit(self, *args, **kwargs):
        raise AssertionError("trained")

    partial_fit = fit_loop = train_step = initialize = initialize_optimizer = fit
