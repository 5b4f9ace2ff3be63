"""Bad input: every row names what came, what is allowed and the remedy, before anything
expensive."""

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.exceptions
import torch
from common import (
    FOR_CLASSIFIERS,
    POOL,
    PROMISES,
    Mlp,
    X,
    assert_same,
    keys,
    make_net,
    make_sampler,
    plain,
    snapshot,
    trained_net,
    y,
)
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

import skdal.exceptions as errors
from skdal import ActiveLearner, DynamicALSampler, dynamical_sampling
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.samplers import SAMPLERS, GradientSampler, MarginSampler, RandomSampler

NET = trained_net()
LABELED = {"X_labeled": X, "y_labeled": y}


@dataclass(frozen=True)
class Row:
    """One kind of bad input.

    Attributes
    ----------
    call : callable
        Given a trained net, what goes wrong.
    error : type
        The error.
    words : tuple of str
        Patterns of what came, what is allowed, the remedy.
    forwards : int
        Forward passes that may have run: of a few samples, to see the number of outputs or the
        mini-batch itself.
    """

    id: str
    call: Any
    error: type
    words: tuple = field(default_factory=tuple)
    forwards: int = 0


PAIRS = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))


def sampler(key="dynamical", net=NET, rows=X, **params):
    return make_sampler(key, FrozenEstimator(net), **params).fit(rows, y)


def float32_net():
    return make_net(
        lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 3))
    ).initialize()


def asked(**params):
    return lambda net: dynamical_sampling(net, POOL, 2, **{**LABELED, **params})


def fitted(make, rows=X, labels=y, key="random", **fit_params):
    """Return what fits an estimator that is not trained."""
    return lambda net: make_sampler(key, make()).fit(rows, labels, **fit_params)


def both(id, parameters, error, *words):
    """Return rows for wrong parameters of the sampler, in a fit, a query and a call."""
    return [
        Row(
            f"{id}, fit",
            lambda net: DynamicALSampler(make_net(), **parameters).fit(X, y),
            error,
            words,
        ),
        Row(
            f"{id}, query",
            lambda net: sampler(net=net).set_params(**parameters).query(POOL, 2),
            error,
            words,
        ),
        Row(
            f"{id}, call",
            lambda net: DynamicALSampler(**parameters)(net, POOL, 2, **LABELED),
            error,
            words,
        ),
    ]


def refused(id, make, *words):
    """Return rows for an estimator that cannot be used, in a fit and a call."""
    error = errors.UnsupportedEstimatorError
    return [
        Row(f"{id}, fit", lambda net: RandomSampler(make()).fit(X, y), error, words),
        Row(
            f"{id}, fit dynamical",
            lambda net: DynamicALSampler(make()).fit(X, y),
            error,
            words,
        ),
        Row(
            f"{id}, call",
            lambda net: dynamical_sampling(make(), POOL, 2, **LABELED),
            error,
            words,
        ),
    ]


def nets(id, make, *words):
    """Return those and that of a learner, which leaves other estimators to their strategy."""

    def learner(net):
        return ActiveLearner(make(), X_training=X, y_training=y)

    return [
        *refused(id, make, *words),
        Row(f"{id}, learner", learner, errors.UnsupportedEstimatorError, words),
    ]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(POOL)


# --- pools and n_instances ------------------------------------------------------------------------

N_INSTANCES = [
    Row(
        f"{n!r} of {key}",
        lambda net, n=n, key=key: sampler(key, net).query(POOL, n),
        errors.InvalidParameterError,
        (r"n_instances must be .*from 1 to 41", rf"got {n!r}"),
    )
    for n in (0, -3, 42, 2.0, True, "3", None)
    for key in SAMPLERS
]
POOLS = [
    Row(
        "empty",
        lambda net: sampler(net=net).query(POOL[:0]),
        errors.EmptyPoolError,
        ("empty", "at least one"),
    ),
    Row(
        "empty dict",
        lambda net: sampler(net=net).query({"x": POOL[:0]}),
        errors.EmptyPoolError,
        ("empty",),
    ),
    Row(
        "empty Dataset",
        lambda net: sampler(net=net).query(TensorDataset(torch.empty(0, 4))),
        errors.EmptyPoolError,
    ),
    Row(
        "empty, scored",
        lambda net: sampler(net=net).score_samples(POOL[:0]),
        errors.EmptyPoolError,
        ("empty",),
    ),
    Row(
        "empty, statistics",
        lambda net: gradient_statistics(net, POOL[:0]),
        errors.EmptyPoolError,
        ("empty",),
    ),
    Row(
        "empty, call",
        lambda net: dynamical_sampling(net, POOL[:0], **LABELED),
        errors.EmptyPoolError,
        ("empty",),
    ),
    Row(
        "narrower",
        lambda net: sampler(net=net).query(POOL[:, :3]),
        errors.InvalidDataError,
        (r"pool have shape \(3,\)", r"labeled set \(4,\)", "same form"),
    ),
    Row(
        "narrower, scored",
        lambda net: sampler(net=net).score_samples(POOL[:, :3]),
        errors.InvalidDataError,
        (r"\(3,\)", r"\(4,\)"),
    ),
    Row(
        "narrower Dataset",
        lambda net: sampler("margin", net).query(
            TensorDataset(torch.as_tensor(POOL[:, :3]))
        ),
        errors.InvalidDataError,
        (r"\(3,\)", r"\(4,\)"),
        forwards=4,  # the net is asked whether it takes samples of that length
    ),
    Row(
        "other axes",
        lambda net: sampler(net=net).query(POOL.reshape(-1, 2, 2)),
        errors.InvalidDataError,
        (r"\(2, 2\)", r"\(4,\)"),
    ),
    Row(
        "other form",
        lambda net: sampler(net=net).query({"x": POOL}),
        errors.InvalidDataError,
        ("x.*same form",),
    ),
    Row(
        "of a call",
        lambda net: dynamical_sampling(net, POOL[:, :3], **LABELED),
        errors.InvalidDataError,
        ("shape",),
    ),
    Row(
        "stream",
        lambda net: sampler(net=net).query(Stream()),
        errors.InvalidDataError,
        ("map.style",),
    ),
    Row(
        "list of rows",
        lambda net: sampler(net=net).query(POOL.tolist()),
        errors.InvalidDataError,
        ("numpy.asarray",),
    ),
    Row(
        "frame of numbered columns",
        lambda net: sampler(net=net).query(pd.DataFrame(POOL)),
        errors.InvalidDataError,
        ("DataFrame.*columns such as 0", "must be strings", "to_numpy"),
    ),
    Row(
        "number",
        lambda net: sampler(net=net).query(3.0),
        errors.InvalidDataError,
        ("float", "array", "Dataset"),
    ),
    Row(
        "dict of two lengths",
        lambda net: sampler(net=net).query({"a": POOL, "b": POOL[:7]}),
        errors.InvalidDataError,
        ("'a': 41", "'b': 7"),
    ),
]

POOLS += [
    Row(
        f"float64 for float32, {key}",
        lambda net, key=key: sampler(key, float32_net(), X.astype("float32")).query(
            POOL
        ),
        errors.InvalidDataError,
        ("float64", "float32", "astype"),
    )
    for key in keys(looks=True)
] + [
    Row(
        f"Dataset for a pipeline, {key}",
        lambda net, key=key: (
            make_sampler(key, make_pipeline(StandardScaler(), make_net()))
            .fit(X, y)
            .query(PAIRS)
        ),
        errors.InvalidDataError,
        ("TensorDataset|Subset", "transform", "without Pipeline"),
        forwards=10**6,
    )
    for key in keys(looks=True)
]

# --- labels ---------------------------------------------------------------------------------------

WRONG_LABELS = {
    "strings": (np.array(["cat", "dog", "cow"])[y], ("cat|dog|cow", "LabelEncoder")),
    "one-hot": (np.eye(3, dtype=int)[y], (r"\(30, 3\)", "argmax")),
    "multilabel": (np.stack([y, y], 1), (r"\(30, 2\)", "multilabel")),
    "negative": (y - 2, ("from -2 to 0", "from 0 to", "LabelEncoder")),
    "-1": (
        y - 1,
        ("11 of 30 labels came as -1", "no label", r"numpy.ravel\(y\) != -1"),
    ),
    "continuous": (y + 0.5, ("continuous", "integers")),
    "NaN": (
        np.where(y == 0, np.nan, y),
        ("11 of 30 labels came as nan", "no label", r"~numpy.isnan\(numpy.ravel"),
    ),
    "too few": (y[:29], ("30 samples", "29 labels")),
}
TOO_LARGE = (y + 1, ("from 0 to 2", "from 1 to 3", "outputs"))
LABELS = [
    row
    for id, (labels, words) in (WRONG_LABELS | {"too large": TOO_LARGE}).items()
    for row in [
        Row(
            f"{id}, fit",
            fitted(make_net, labels=labels),
            errors.InvalidLabelsError,
            words,
            1,
        ),
        Row(
            f"{id}, fit a pipeline",
            fitted(lambda: make_pipeline(StandardScaler(), make_net()), labels=labels),
            errors.InvalidLabelsError,
            words,
            1,
        ),
        Row(
            f"{id}, call", asked(y_labeled=labels), errors.InvalidLabelsError, words, 1
        ),
        Row(
            f"{id}, call albl",
            lambda net, labels=labels: make_sampler("albl")(
                net, POOL, 2, X_labeled=X, y_labeled=labels
            ),
            errors.InvalidLabelsError,
            words,
            1,
        ),
        Row(
            f"{id}, learner",
            lambda net, labels=labels: ActiveLearner(
                make_net(), X_training=X, y_training=labels
            ),
            errors.InvalidLabelsError,
            words,
            1,
        ),
        Row(
            f"{id}, teach",
            lambda net, labels=labels: ActiveLearner(net, X_training=None).teach(
                X, labels
            ),
            errors.InvalidLabelsError,
            words,
            1,
        ),
        Row(
            f"{id}, statistics",
            lambda net, labels=labels: gradient_statistics(net, X, labels),
            errors.InvalidLabelsError,
            words,
            1,
        ),
        Row(
            f"{id}, labeled gradient",
            lambda net, labels=labels: labeled_gradient(net, X, labels),
            errors.InvalidLabelsError,
            words,
            1,
        ),
    ]
]
LABELS += [
    Row(
        f"{id}, albl of a classifier",
        lambda net, labels=labels: make_sampler("albl", **FOR_CLASSIFIERS["albl"])(
            LogisticRegression().fit(X, y), POOL, 2, X_labeled=X, y_labeled=labels
        ),
        errors.SkdalError,
    )
    for id, labels in {
        "too few": y[:29],
        "one-hot": np.eye(3, dtype=int)[y],
        "none": None,
    }.items()
]
IN_DATASETS = [
    Row(
        f"{id}, in a Dataset, {where}",
        lambda net, call=call, labels=labels: call(
            net, TensorDataset(torch.as_tensor(X), torch.as_tensor(labels))
        ),
        errors.InvalidLabelsError,
        words,
        2,
    )
    for id, (labels, words) in {
        "too large": (np.full(30, 3), ("from 0 to 2", "3", "outputs")),
        "negative": (np.full(30, -1), ("-1", "from 0 to")),
        "one-hot": (np.eye(3, dtype=int)[y], (r"3\)", "argmax")),
    }.items()
    for where, call in {
        "fit": lambda net, rows: make_sampler("random", make_net()).fit(rows),
        "call": lambda net, rows: dynamical_sampling(net, POOL, 2, X_labeled=rows),
        "learner": lambda net, rows: ActiveLearner(make_net(), X_training=rows),
    }.items()
]
MISSING = errors.MissingLabeledDataError
LABELED_SETS = [
    Row(
        "none, call",
        lambda net: dynamical_sampling(net, POOL),
        MISSING,
        ("DynamicALSampler", "X_labeled=", r"fit\("),
    ),
    Row(
        "none, learner",
        lambda net: ActiveLearner(net).query(POOL),
        MISSING,
        ("X_labeled=",),
    ),
    Row(
        "empty, call",
        asked(X_labeled=X[:0], y_labeled=y[:0]),
        errors.InvalidDataError,
        ("empty", "at least one"),
    ),
    Row("empty, fit", fitted(make_net, X[:0], y[:0]), ValueError, ("at least one",)),
    Row(
        "Dataset for a pipeline, fit",
        lambda net: RandomSampler(make_pipeline(StandardScaler(), make_net())).fit(
            PAIRS
        ),
        errors.InvalidDataError,
        ("TensorDataset", "transform", "without Pipeline"),
    ),
    Row(
        "empty, learner",
        lambda net: ActiveLearner(net).fit(X[:0], y[:0]),
        errors.InvalidDataError,
        ("at least one",),
    ),
    Row(
        "without labels, fit",
        fitted(make_net, labels=None),
        errors.SkdalError,
        ("requires y|y is None", "pass|Pass"),
    ),
    Row(
        "without labels, call",
        asked(y_labeled=None),
        errors.SkdalError,
        ("y is None", "pass|Pass"),
        1,
    ),
    Row(
        "without labels, learner",
        lambda net: ActiveLearner(net).fit(X),
        MISSING,
        ("y is None",),
    ),
    Row(
        "unlabeled Dataset, fit",
        fitted(make_net, TensorDataset(torch.as_tensor(X)), None),
        errors.InvalidDataError,
        ("pairs", "y"),
    ),
    Row(
        "unlabeled Dataset, call",
        asked(X_labeled=TensorDataset(torch.as_tensor(X)), y_labeled=None),
        errors.InvalidDataError,
        ("pairs", "y"),
        1,
    ),
    Row(
        "NaN in it",
        asked(X_labeled=np.where(X == X[3, 1], np.nan, X)),
        errors.InvalidDataError,
        ("labeled", "NaN"),
        forwards=20,
    ),
]

# --- estimators -----------------------------------------------------------------------------------


class Untrained(BaseEstimator):
    pass


class OneColumn(Mlp):
    def forward(self, x):
        return super().forward(x)[:, :1]


class Sequence(Mlp):
    def forward(self, x):
        return super().forward(x)[:, None]


class Bare(nn.CrossEntropyLoss):
    """A criterion without `reduction`."""

    def __init__(self):
        super().__init__()
        del self.reduction

    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels)


class Trainable(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Mean(nn.CrossEntropyLoss):
    """A criterion that does not obey its `reduction`."""

    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels)


class TwoModules(NeuralNetClassifier):
    def initialize_module(self):
        super().initialize_module()
        self.extra_ = nn.Linear(2, 2)
        return self


ESTIMATORS = [
    *nets(
        "binary net",
        lambda: make_net(cls=NeuralNetBinaryClassifier),
        "Binary",
        "two outputs",
        "CrossEntropyLoss",
    ),
    *nets(
        "regression net",
        lambda: make_net(cls=NeuralNetRegressor),
        "NeuralNetRegressor",
        "NeuralNetClassifier",
    ),
    *nets(
        "plain net", lambda: make_net(cls=NeuralNet), "NeuralNet", "NeuralNetClassifier"
    ),
    *nets(
        "regression net in a pipeline",
        lambda: make_pipeline(StandardScaler(), make_net(cls=NeuralNetRegressor)),
        "NeuralNetRegressor",
    ),
    *refused("no classifier", Untrained, "Untrained", "NeuralNetClassifier"),
    *refused("regressor", LinearRegression, "LinearRegression", "classifier"),
    Row(
        "gradients of a classifier, fit",
        fitted(LogisticRegression, key="dynamical"),
        errors.UnsupportedEstimatorError,
        ("LogisticRegression", "NeuralNetClassifier", "MarginSampler"),
    ),
    Row(
        "gradients of a classifier, call",
        lambda net: dynamical_sampling(
            LogisticRegression().fit(X, y), POOL, 2, **LABELED
        ),
        errors.UnsupportedEstimatorError,
        ("LogisticRegression", "MarginSampler"),
    ),
    Row(
        "no probabilities",
        lambda net: MarginSampler(SVC()).fit(X, y).query(POOL),
        errors.UnsupportedEstimatorError,
        ("SVC", "predict_proba", "CalibratedClassifierCV"),
    ),
    Row(
        "logits for probabilities",
        lambda net: MarginSampler()(trained_net(predict_nonlinearity=None), POOL),
        errors.UnsupportedEstimatorError,
        ("not probabilities", "predict_nonlinearity"),
        forwards=10**6,
    ),
    Row(
        "no estimator",
        lambda net: RandomSampler().fit(X, y),
        errors.InvalidParameterError,
        (r"RandomSampler\(net\)",),
    ),
    Row(
        "not fitted",
        lambda net: MarginSampler(net).query(POOL),
        errors.NotFittedError,
        (r"call fit\(X, y\)",),
    ),
    Row(
        "not fitted, scored",
        lambda net: MarginSampler(net).score_samples(POOL),
        errors.NotFittedError,
        ("fit",),
    ),
    Row(
        "not fitted, predict",
        lambda net: MarginSampler(net).predict(POOL),
        errors.NotFittedError,
        ("fit",),
    ),
    Row(
        "net not fitted",
        lambda net: dynamical_sampling(make_net(), POOL, **LABELED),
        errors.NotFittedError,
        ("fit",),
    ),
    Row(
        "frozen net not fitted",
        lambda net: RandomSampler(FrozenEstimator(make_net())).fit(X, y),
        errors.NotFittedError,
        ("NeuralNetClassifier is not fitted",),
    ),
    Row(
        "learner not fitted",
        lambda net: ActiveLearner(make_net()).query(POOL),
        errors.NotFittedError,
        ("teach",),
    ),
    Row(
        "lazy module",
        lambda net: gradient_statistics(
            make_net(nn.LazyLinear, module__out_features=3).initialize(), POOL
        ),
        errors.NotFittedError,
        ("lazy",),
    ),
    Row(
        "one output",
        lambda net: gradient_statistics(trained_net_of(OneColumn), POOL),
        errors.UnsupportedEstimatorError,
        (r"\(\d+, 1\)", "two outputs"),
        forwards=10**6,
    ),
    Row(
        "sequence of outputs",
        lambda net: gradient_statistics(trained_net_of(Sequence), POOL),
        errors.UnsupportedEstimatorError,
        (r"\(\d+, 1, 3\)", "n_classes"),
        forwards=10**6,
    ),
    Row(
        "two modules",
        lambda net: gradient_statistics(make_net(cls=TwoModules).initialize(), POOL),
        errors.UnsupportedEstimatorError,
        ("extra", "one"),
    ),
    *[
        Row(
            f"criterion {criterion.__name__}",
            lambda net, criterion=criterion: gradient_statistics(
                make_net(criterion=criterion).initialize(), POOL
            ),
            errors.UnsupportedEstimatorError,
            words,
            forwards=2,
        )
        for criterion, words in {
            Bare: ("Bare", "reduction"),
            Trainable: ("Trainable", "parameters", "module"),
            Mean: ("reduction='none'", "one loss a sample"),
        }.items()
    ],
    *[
        Row(
            f"iterator_valid {name}",
            lambda net, name=name: gradient_statistics(
                make_net(**{f"iterator_valid__{name}": True}).initialize(), POOL
            ),
            errors.InvalidParameterError,
            (f"iterator_valid__{name}=True", "in order", "Remove"),
        )
        for name in ("shuffle", "drop_last")
    ],
]

# --- layers and parameters ------------------------------------------------------------------------


class CrossSample(Mlp):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)
        self.words = nn.Embedding(3, 2, scale_grad_by_freq=True)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.GRU(4, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.double()

    def forward(self, x):
        return self.first(x[None])[0][0] @ torch.diag(self.scale)


def trained_net_of(module, **settings):
    return make_net(module, **settings).initialize()


PARAMETERS = {
    "gamma": [np.nan, "2", None, -np.inf, True, [2.0]],
    "interaction": [np.inf, np.nan, "1", None],
    "update_size": [0, -1, 1.5, None, True],
    "penalty": [True, -1e-3, np.nan, np.inf, "l2", "1e-3", [0.1]],
    "layers": [[], 3, None, [1]],
    "backend": ["fast", None, 3],
    "batch_size": [0, -8, 2.5, "8", True],
    "warm_start": [None, "yes", 2],
    "reset_optimizer": [None, "yes"],
    "verbose": [-1, None, "1"],
    "random_state": [-1, "seed", 1.5, np.random.default_rng(0), 2**32],
}
ALLOWED = {
    "gamma": "number",
    "interaction": "finite number",
    "update_size": "at least 1",
    "penalty": '"auto", None or a finite number of at least 0',
    "layers": '"all", "last"',
    "backend": "ghost.*functorch.*backpack.*loop",
    "batch_size": "at least 1",
    "warm_start": "True or False",
    "reset_optimizer": "True or False",
    "verbose": "0",
    "random_state": "None.*RandomState",
}
SETTINGS = [
    row
    for name, values in PARAMETERS.items()
    for value in values
    for row in both(
        f"{name}={repr(value).partition(' at 0x')[0]}",
        {name: value},
        errors.InvalidParameterError,
        f"{name} must be",
        ALLOWED[name],
    )
]
LAYERS = [
    *both(
        "several",
        {"gamma": None, "verbose": -1},
        errors.InvalidParameterError,
        "gamma must be",
        "verbose must be",
    ),
    Row(
        "prefix",
        asked(layers="nope"),
        errors.InvalidParameterError,
        ("'nope'", "head.weight"),
        forwards=2,
    ),
    Row(
        "one of the prefixes",
        asked(layers=["head", "tail"]),
        errors.InvalidParameterError,
        ("'tail'", "head.weight"),
        forwards=2,
    ),
    Row(
        "cross-sample",
        lambda net: dynamical_sampling(trained_net_of(CrossSample), POOL, **LABELED),
        errors.CrossSampleLayerError,
        (
            r"norm \(BatchNorm1d\).*track_running_stats=True",
            r"words \(Embedding\).*scale_grad_by_freq=False",
        ),
    ),
    *[
        Row(
            f"unsupported by {backend}",
            lambda net, backend=backend: gradient_statistics(
                trained_net_of(Recurrent), POOL, backend=backend
            ),
            errors.UnsupportedLayerError,
            words,
            forwards=2,
        )
        for backend, words in {
            "ghost": ("ghost", "scale", 'backend="auto"'),
            "functorch": ("functorch", 'backend="auto"'),
            "backpack": ("backpack", "first.weight_ih_l0", "scale", 'backend="auto"'),
        }.items()
    ],
    Row(
        "nothing trainable",
        lambda net: gradient_statistics(all_frozen(net), POOL),
        errors.InvalidParameterError,
        ("no trainable parameter", "requires_grad_"),
        forwards=2,
    ),
    Row(
        "direction",
        lambda net: gradient_statistics(
            net, POOL, direction={"head.bias": torch.ones(2)}, layers="head"
        ),
        errors.InvalidParameterError,
        ("head.weight is missing", r"head.bias has shape \(2,\)", "labeled_gradient"),
        forwards=2,
    ),
]


def all_frozen(net):
    net = copy.deepcopy(net)
    net.module_.requires_grad_(False)
    return net


# --- learners -------------------------------------------------------------------------------------


def teach(*args, rows=X, labels=y):
    return lambda net: ActiveLearner(
        FrozenEstimator(net), RandomSampler(), rows, labels
    ).teach(*args)


LEARNERS = [
    Row(
        "strategy",
        lambda net: ActiveLearner(net, "margin"),
        errors.InvalidParameterError,
        ("callable", "'margin'"),
    ),
    Row(
        "teach narrower",
        teach(X[:, :3], y),
        errors.InvalidDataError,
        (r"\(3,\)", r"\(4,\)"),
    ),
    Row(
        "teach too few labels", teach(X, y[:3]), ValueError, ("30 samples", "3 labels")
    ),
    Row(
        "teach nothing", teach(X[:0], y[:0]), errors.InvalidDataError, ("at least one",)
    ),
    Row(
        "teach an array to a Dataset",
        teach(X, y, rows=PAIRS, labels=None),
        errors.SkdalError,
        ("Dataset",),
    ),
    Row("teach a Dataset to an array", teach(PAIRS), errors.SkdalError, ("Dataset",)),
    Row(
        "teach a Dataset without y", teach(PAIRS, rows=PAIRS, labels=y), MISSING, ("y",)
    ),
    Row(
        "teach other keys",
        teach({"z": X}, y, rows={"x": X}),
        errors.InvalidDataError,
        ("x",),
    ),
    Row(
        "too few labels of a classifier",
        lambda net: ActiveLearner(LogisticRegression(), RandomSampler(), X, y[:3]),
        errors.InvalidDataError,
        ("30 samples", "3 labels"),
    ),
    Row(
        "fit parameter in a pipeline",
        fitted(lambda: make_pipeline(StandardScaler(), make_net()), epochs=3),
        errors.InvalidParameterError,
        ("neuralnetclassifier__", "epochs"),
    ),
]

ROWS = (
    N_INSTANCES
    + POOLS
    + LABELS
    + IN_DATASETS
    + LABELED_SETS
    + ESTIMATORS
    + SETTINGS
    + LAYERS
    + LEARNERS
)


@pytest.mark.filterwarnings("ignore:.*trained already", "ignore:You set iterator_valid")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_refused(row, monkeypatch):
    net = copy.deepcopy(NET)
    before, start = snapshot(net), Mlp.forwards
    with pytest.raises(row.error) as caught:
        row.call(net)
    assert isinstance(caught.value, errors.SkdalError)
    assert Mlp.forwards - start <= row.forwards
    assert_same(plain(snapshot(net)), before)
    for words in row.words:
        caught.match(f"(?s){words}")


# --- scores ---------------------------------------------------------------------------------------

GRADIENTS = [
    key for key, promise in PROMISES.items() if issubclass(promise.cls, GradientSampler)
]
DAMAGES = [
    *((key, np.inf) for key in GRADIENTS),
    *((key, np.nan) for key in keys(looks=True)),
]


@pytest.mark.parametrize("key, value", DAMAGES)
@pytest.mark.parametrize("positions", [[3], [0, 8, 40], list(range(2, 40, 2))])
def test_damaged_samples_are_counted_and_named(key, value, positions):
    pool = POOL.copy()
    pool[positions, 2] = value
    shown = ", ".join(map(str, positions[:10]))
    for call in calls_of(sampler(key)):
        with pytest.raises(
            errors.NonFiniteScoreError,
            match=f"{len(positions)} of 41 .* {shown}(, ...)?[.] .*remove",
        ):
            call(pool)


def calls_of(sampler):
    return [
        getattr(sampler, name)
        for name in ("query", "score_samples")
        if hasattr(sampler, name)
    ]


def test_damaged_samples_of_public_functions():
    pool, labeled = POOL.copy(), X.copy()
    pool[[5, 7]] = labeled[3] = np.nan
    with pytest.raises(errors.NonFiniteScoreError, match="2 of 41 .* 5, 7"):
        gradient_statistics(NET, pool)
    with pytest.raises(
        errors.InvalidDataError, match="summed gradient of the labeled set is NaN"
    ):
        labeled_gradient(NET, labeled, y)


def test_damaged_samples_with_interaction():
    pool = POOL.copy()
    pool[[5, 7]] = np.nan
    with pytest.raises(errors.NonFiniteScoreError, match="2 of 41 .* 5, 7"):
        sampler(interaction=2.0, update_size=1).query(pool, 3)


@pytest.mark.parametrize("key", keys(looks=True))
def test_a_diverged_net(key):
    net = copy.deepcopy(NET)
    for parameter in net.module_.parameters():
        parameter.data.fill_(np.nan)
    with pytest.raises(errors.SkdalError, match="diverged"):
        make_sampler(key)(net, POOL, 2, **LABELED)


# --- the errors themselves ------------------------------------------------------------------------

KINDS = {
    "CrossSampleLayerError": ValueError,
    "DivergedTrainingError": ArithmeticError,
    "EmptyPoolError": ValueError,
    "FailingModuleError": (ValueError, TypeError),
    "GatherTooLargeError": MemoryError,
    "GradientMismatchError": ArithmeticError,
    "InvalidKernelError": ValueError,
    "InvalidDataError": ValueError,
    "InvalidLabelsError": ValueError,
    "InvalidParameterError": (ValueError, TypeError),
    "InvalidSampleError": ValueError,
    "MissingExtraError": ImportError,
    "MissingLabeledDataError": ValueError,
    "NonFiniteScoreError": ValueError,
    "NotFittedError": sklearn.exceptions.NotFittedError,
    "SampleTooLargeError": MemoryError,
    "SkdalError": Exception,
    "TooManyUnreadableError": ValueError,
    "UnreadableSampleError": OSError,
    "UnsupportedEstimatorError": (TypeError, ValueError),
    "UnsupportedLayerError": (NotImplementedError, ValueError),
    "RunInUseError": (RuntimeError,),
    "WorkerLostError": RuntimeError,
}

WARNINGS = ["IllConditionedWarning"]


def test_all_errors_are_listed():
    assert sorted(errors.__all__) == sorted([*KINDS, *WARNINGS])
    defined = [
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    ]
    assert defined == sorted([*KINDS, *WARNINGS])
    assert all(issubclass(getattr(errors, name), UserWarning) for name in WARNINGS)


@pytest.mark.parametrize("name", KINDS)
def test_each_is_a_builtin_too(name):
    kinds = KINDS[name] if isinstance(KINDS[name], tuple) else (KINDS[name],)
    assert issubclass(getattr(errors, name), errors.SkdalError)
    assert all(issubclass(getattr(errors, name), kind) for kind in kinds)
