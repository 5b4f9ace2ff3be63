"""skorch's contract: every documented parameter and method of a net, against what skorch alone
makes of it.

A net is trained by skorch alone, by a sampler and by a learner, which has to give the same weights
bit for bit. Then scores are compared with slow twins that use the net's own methods, one sample at
a time.
"""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from common import (
    POOL,
    PROMISES,
    Mlp,
    POOL_y,
    X,
    global_rng,
    make_net,
    make_sampler,
    snapshot,
    trained_net,
    weights,
    y,
)
from reference import k_center_greedy
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier, callbacks
from skorch.dataset import Dataset, ValidSplit, unpack_data
from skorch.exceptions import SkorchTrainingImpossibleError
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from skdal import ActiveLearner
from skdal.adapters import device_of, packed
from skdal.base import shards_of
from skdal.exceptions import UnsupportedEstimatorError
from skdal.gradients import gradient_statistics
from skdal.parallel import SerialExecutor
from skdal.samplers import (
    CoresetSampler,
    DynamicALSampler,
    MarginSampler,
    margin_sampling,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:the net's train_split",
    "ignore:'pin_memory' argument",
    "ignore:.*weights_only",
)
NEW, NEW_y = POOL[:10], POOL_y[:10]


class Softmax(Mlp):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Affine(Dataset):
    """A Dataset that changes its samples."""

    def __init__(self, X, y=None, factor=2):
        super().__init__(X, y)
        self.factor = factor

    def transform(self, X, y):
        X, y = super().transform(X, y)
        return self.factor * X + 1, y


class Loader(DataLoader):
    """A DataLoader of one's own, which changes mini-batches."""

    def __iter__(self):
        for inputs, labels in super().__iter__():
            yield inputs - 0.5, labels


class Counter(callbacks.Callback):
    def __init__(self, step=1):
        self.step = step

    def on_batch_end(self, net, training=False, **kwargs):
        self.count_ = getattr(self, "count_", 0) + self.step


def mlp(n_classes=3):
    return Mlp(n_classes=n_classes)


def shifted(items):
    inputs, labels = default_collate(items)
    return inputs + 1, labels


def smoothed(**kwargs):
    return nn.CrossEntropyLoss(label_smoothing=0.1, **kwargs)


def sharper(outputs):
    return (2 * outputs).softmax(1)


WEIGHT = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
VALIDATION = Dataset(POOL[:10], POOL_y[:10])
PARAMETERS = {
    "module: class": {},
    "module: instance": {"module": Mlp()},
    "module: callable": {"module": mlp},
    "module__": {"module__n_classes": 5},
    "module: instance and module__": {"module": Mlp(), "module__n_classes": 4},
    "criterion: instance": {"criterion": nn.CrossEntropyLoss(weight=WEIGHT)},
    "criterion: callable": {"criterion": smoothed},
    "criterion__weight": {"criterion__weight": WEIGHT},
    "criterion__label_smoothing": {"criterion__label_smoothing": 0.2},
    "criterion__ignore_index": {"criterion__ignore_index": 1},
    "criterion__reduction": {"criterion__reduction": "sum"},
    "criterion: skorch's default": {"criterion": nn.NLLLoss, "module": Softmax},
    "optimizer": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    "optimizer__param_groups": {
        "optimizer__param_groups": [("head.*", {"lr": 0.0}), ("body.0.*", {"lr": 0.3})]
    },
    "optimizer__lr": {"optimizer__lr": 0.2},
    "lr": {"lr": 0.1},
    "max_epochs": {"max_epochs": 3},
    "batch_size": {"batch_size": 7},
    "batch_size: all in one": {"batch_size": -1},
    "iterator_train": {"iterator_train": Loader},
    "iterator_train__drop_last": {"iterator_train__drop_last": True},
    "iterator_train__sampler": {
        "iterator_train__shuffle": False,
        "iterator_train__sampler": list(range(29)),
    },
    "iterator_valid": {"iterator_valid": Loader},
    "iterator_valid__batch_size": {"iterator_valid__batch_size": 5},
    "iterator_valid__batch_size: all in one": {"iterator_valid__batch_size": -1},
    "iterator_valid__collate_fn": {"iterator_valid__collate_fn": shifted},
    "iterator_valid__num_workers": {
        "iterator_valid__num_workers": 1,
        "iterator_valid__persistent_workers": True,
    },
    "iterator_valid__pin_memory": {"iterator_valid__pin_memory": True},
    "dataset": {"dataset": Affine},
    "dataset__": {"dataset": Affine, "dataset__factor": 3},
    "train_split: predefined": {"train_split": predefined_split(VALIDATION)},
    "train_split: ValidSplit": {"train_split": ValidSplit(3)},
    "callbacks: disable": {"callbacks": "disable"},
    "callbacks: list": {"callbacks": [Counter, callbacks.GradientNormClipping(0.1)]},
    "callbacks: names": {
        "callbacks": [("mine", Counter()), ("other", Counter)],
        "callbacks__mine__step": 2,
    },
    "callbacks__: None": {"callbacks__train_loss": None, "callbacks__print_log": None},
    "callbacks: Freezer": {"callbacks": [callbacks.Freezer("body.0.*")]},
    "predict_nonlinearity: None": {
        "predict_nonlinearity": None,
        "module": Softmax,
        "criterion": nn.NLLLoss,
    },
    "predict_nonlinearity: callable": {"predict_nonlinearity": sharper},
    "warm_start": {"warm_start": True},
    "verbose": {"verbose": 1},
    "device: None": {"device": None},
    "device: cpu:0": {"device": "cpu:0"},
    "device: torch.device": {"device": torch.device("cpu")},
    "compile: eager": {"compile": True, "compile__backend": "eager"},
    "compile: aot_eager": {
        "compile": True,
        "compile__backend": "aot_eager",
        "compile__dynamic": True,
    },
    "use_caching: True": {
        "use_caching": True,
        "train_split": predefined_split(VALIDATION),
    },
    "use_caching: False": {
        "use_caching": False,
        "train_split": predefined_split(VALIDATION),
    },
    "torch_load_kwargs": {"torch_load_kwargs": {"weights_only": True}},
    "classes": {"classes": [0, 1, 2]},
    "classes: none": {"classes": []},
}


class OwnLoss(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, X=None, training=False):
        return super().get_loss(3 * y_pred, y_true, X=X, training=training)


class OwnDataset(NeuralNetClassifier):
    def get_dataset(self, X, y=None):
        return Affine(X, y)


class OwnIterator(NeuralNetClassifier):
    def get_iterator(self, dataset, training=False):
        return Loader(dataset, batch_size=6, shuffle=training)


class OwnInfer(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer(x.double().tanh(), **fit_params)


class SeveralOutputs(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        outputs = super().infer(x, **fit_params)
        return outputs, outputs.sum()

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return super().get_loss(y_pred[0], y_true, *args, **kwargs)


class OwnProba(NeuralNetClassifier):
    def predict_proba(self, X):
        proba = super().predict_proba(X) ** 0.5
        return proba / proba.sum(axis=1, keepdims=True)


class OwnForwardIter(NeuralNetClassifier):
    def forward_iter(self, X, training=False, device="cpu"):
        for outputs in super().forward_iter(X, training, device):
            yield 0.5 * outputs


class OwnEvaluationStep(NeuralNetClassifier):
    def evaluation_step(self, batch, training=False):
        return 2 * super().evaluation_step(batch, training)


class OwnTrainStep(NeuralNetClassifier):
    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        for parameter in self.module_.parameters():
            parameter.grad.sign_()
        return step


class OwnModule(NeuralNetClassifier):
    def initialize_module(self):
        super().initialize_module()
        nn.init.ones_(self.module_.head.bias)
        return self


class OwnInstance(NeuralNetClassifier):
    def initialized_instance(self, instance_or_cls, kwargs):
        instance = super().initialized_instance(instance_or_cls, kwargs)
        return instance.requires_grad_(True)


class OwnOptimizer(NeuralNetClassifier):
    def initialize_optimizer(self, *args, **kwargs):
        self.optimizer_ = torch.optim.SGD(self.module_.head.parameters(), lr=0.5)
        return self


class OwnNotifications(NeuralNetClassifier):
    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X, y, **kwargs)
        self.rows_ = len(X)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        super().on_epoch_end(net, dataset_train, dataset_valid, **kwargs)
        for group in self.optimizer_.param_groups:
            group["lr"] *= 0.5

    def on_grad_computed(
        self, net, named_parameters, batch=None, training=False, **kwargs
    ):
        nn.init.zeros_(self.module_.head.bias.grad)


METHODS = [
    OwnLoss,
    OwnDataset,
    OwnIterator,
    OwnInfer,
    SeveralOutputs,
    OwnProba,
    OwnForwardIter,
    OwnEvaluationStep,
    OwnTrainStep,
    OwnModule,
    OwnInstance,
    OwnOptimizer,
    OwnNotifications,
]
NETS = {name: partial(make_net, **settings) for name, settings in PARAMETERS.items()}
NETS |= {f"{cls.__name__}": partial(make_net, cls=cls) for cls in METHODS}
every = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "compile" in name else [])
        for name in NETS
    ],
)


# --- twins ----------------------------------------------------------------------------------------


def fitted(estimator, *data):
    torch.manual_seed(0)
    return estimator.fit(*data)


def summing(net):
    """Return a net that shares everything but a criterion that adds losses up, so that class
    weights are kept."""
    copied = object.__new__(type(net))
    vars(copied).update(vars(net), criterion_=copy.deepcopy(net.criterion_))
    copied.criterion_.reduction = "sum"
    return copied


def gradients(net, X, y=None):
    """Return the gradient (n, n_parameters) of each sample as skorch's own validation step would
    have it."""
    parameters, rows = [p for p in net.module_.parameters() if p.requires_grad], []
    net._set_training(False)
    for batch in net.get_iterator(net.get_dataset(X, y), training=False):
        inputs, labels = unpack_data(batch)
        for k in range(len(inputs)):
            outputs = net.infer(inputs[k : k + 1])
            own = (outputs[0] if isinstance(outputs, tuple) else outputs).argmax(1)
            label = own if y is None else labels[k : k + 1]
            loss = net.get_loss(outputs, label, X=inputs[k : k + 1], training=False)
            rows.append(
                torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
            )
    return torch.stack(rows)


def dynamics(net, pool):
    """Return the scores (n,) of Eq. 15."""
    own, labeled = gradients(summing(net), pool), gradients(summing(net), X, y).sum(0)
    return ((own**2).sum(1) + 2 * own @ labeled).numpy()


def margins(net, pool):
    best = np.sort(net.predict_proba(pool), axis=1)
    return best[:, -2] - best[:, -1]


def hidden(net, rows):
    """Return what the head gets (n, 6)."""
    found = []
    handle = net.module_.head.register_forward_hook(
        lambda part, args, output: found.append(args[0])
    )
    with torch.no_grad():
        for inputs, _ in net.get_iterator(net.get_dataset(rows), training=False):
            net._set_training(False)
            net.infer(inputs)
    handle.remove()
    return torch.cat(found).numpy()


# --- the tests ------------------------------------------------------------------------------------


@every
def test_training_is_that_of_skorch_alone(name):
    net = NETS[name]()
    alone = fitted(clone(net), X, y)
    sampler = fitted(MarginSampler(clone(net), reset_optimizer=False), X, y)
    learner = fitted(
        ActiveLearner(clone(net), margin_sampling, reset_optimizer=False), X, y
    )
    assert weights(sampler.estimator_) == weights(learner.estimator) == weights(alone)
    grown, grown_y = np.concatenate([X, NEW]), np.concatenate([y, NEW_y])
    torch.manual_seed(1)
    alone.partial_fit(grown, grown_y)
    torch.manual_seed(1)
    sampler.fit(grown, grown_y)
    torch.manual_seed(1)
    learner.teach(NEW, NEW_y)
    assert weights(sampler.estimator_) == weights(learner.estimator) == weights(alone)
    assert [row["epoch"] for row in sampler.estimator_.history] == [
        row["epoch"] for row in alone.history
    ]


@every
def test_scores_are_those_of_the_net(name):
    net = fitted(NETS[name](), X, y)
    frozen, pool, before = FrozenEstimator(net), POOL[:12], snapshot(net)
    rng = global_rng()
    gradient = DynamicALSampler(frozen).fit(X, y).score_samples(pool)
    margin = MarginSampler(frozen).fit(X, y).score_samples(pool)
    picks, distances = (
        CoresetSampler(frozen).fit(X, y).query(pool, 8, return_scores=True)
    )
    assert snapshot(net) == before
    assert global_rng() == rng
    expected = dynamics(net, pool)
    np.testing.assert_allclose(
        gradient, expected, rtol=1e-9, atol=1e-9 * abs(expected).max()
    )
    np.testing.assert_allclose(margin, margins(net, pool), rtol=1e-12, atol=1e-15)
    expected_picks, expected_distances = k_center_greedy(
        hidden(net, pool), hidden(net, X), 8
    )
    assert picks.tolist() == expected_picks
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-9)


@every
def test_a_learner_asks_for_the_same(name):
    learner = fitted(ActiveLearner(NETS[name](), margin_sampling), X, y)
    indices, samples = learner.query(POOL, n_instances=5)
    assert (
        indices.tolist()
        == np.argsort(-margins(learner.estimator, POOL), kind="stable")[:5].tolist()
    )
    assert samples.tolist() == POOL[indices].tolist()


# --- what else a net may be -----------------------------------------------------------------------


@pytest.mark.parametrize("call", [
    lambda net: MarginSampler(net).fit(X, y),
    lambda net: DynamicALSampler(net).fit(X, y),
    lambda net: ActiveLearner(net, margin_sampling).fit(X, y),
    lambda net: margin_sampling(net, X[::-1].copy(), 3),
    lambda net: gradient_statistics(net, X[::-1].copy()),
])  # fmt: skip
def test_a_net_that_does_not_look_at_its_data_is_refused(call):
    net = trained_net()
    net.dataset = Dataset(X, y)
    with pytest.raises(
        UnsupportedEstimatorError, match=r"dataset is an instance.* dataset=MyDataset"
    ):
        call(net)


def trimmed_net():
    net = trained_net()
    net.trim_for_prediction()
    return net


def test_a_net_trimmed_for_prediction_where_probabilities_are_enough():
    net = trimmed_net()
    with pytest.raises(
        UnsupportedEstimatorError, match="trimmed.*predict_nonlinearity=partial"
    ):
        margin_sampling(net, POOL, 3)
    net.set_params(predict_nonlinearity=partial(torch.softmax, dim=1))  # the remedy
    assert (
        margin_sampling(net, POOL, 5).tolist()
        == margin_sampling(trained_net(), POOL, 5).tolist()
    )
    there = packed(net).on("cpu")
    assert there.predict_proba(POOL).tolist() == net.predict_proba(POOL).tolist()


def test_a_net_trimmed_for_prediction_has_no_losses_and_does_not_train():
    with pytest.raises(
        UnsupportedEstimatorError, match="trimmed for prediction.*copy.deepcopy"
    ):
        gradient_statistics(trimmed_net(), POOL)
    with pytest.raises(SkorchTrainingImpossibleError):
        ActiveLearner(trimmed_net(), margin_sampling, X, y)


def test_shards_are_whole_mini_batches_of_predict_proba():
    """So that scores are the same bit for bit wherever a pool is cut."""
    sampler = MarginSampler(
        FrozenEstimator(trained_net(iterator_valid__batch_size=12))
    ).fit(X, y)
    trained = sampler._trained()
    work = sampler._work(trained, None)
    shards = shards_of(work, trained, POOL, SerialExecutor(shard_size=10))
    assert [rows.stop for rows in shards] == [
        12,
        24,
        36,
        41,
    ]


@pytest.mark.parametrize("settings", [{}, {"iterator_valid__batch_size": 20}])
def test_mini_batches_in_a_worker_are_as_long_as_its_executor_says(settings):
    there, lengths = packed(trained_net(**settings)).on("cpu", batch_size=5), []
    there.module_.register_forward_hook(
        lambda module, args, output: lengths.append(len(output))
    )
    there.predict_proba(POOL)
    assert lengths == 8 * [5] + [1]


def test_a_net_without_a_device_computes_where_its_parameters_are():
    net = trained_net(device=None)
    assert device_of(net) == torch.device("cpu")
    net.module_.to("meta")  # as accelerate leaves what it loads only for a call
    assert device_of(net) == torch.device("cpu")
    net.module_ = nn.Identity()
    assert device_of(net) == torch.device("cpu")
    assert device_of(trained_net()) == torch.device("cpu")


@pytest.mark.parametrize("key", PROMISES)
def test_every_sampler_takes_a_net_without_a_device(key):
    found, expected = (
        fitted(make_sampler(key, make_net(device=device)), X, y).query(POOL, 6).tolist()
        for device in (None, "cpu")
    )
    assert found == expected


PAIRS = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
SUBSETS = {
    "range": Subset(PAIRS, range(5, 25)),
    "tuple": Subset(PAIRS, tuple(range(5, 25))),
    "in another": Subset(Subset(PAIRS, range(5, 30)), list(range(20))),
    "of another": Subset(Subset(PAIRS, list(range(5, 30))), range(20)),
}


@pytest.mark.filterwarnings("ignore:the net's train_split")
@pytest.mark.parametrize("split", [None, ValidSplit(2)])
@pytest.mark.parametrize("key", SUBSETS)
def test_a_subset_of_pairs_is_a_labeled_set(key, split):
    subset = SUBSETS[key]
    before = [subset.indices, subset.dataset]
    found = []
    for labeled in (subset, Subset(PAIRS, list(range(5, 25)))):
        torch.manual_seed(0)
        learner = ActiveLearner(make_net(train_split=split), X_training=labeled)
        learner.teach(labeled)
        found.append(weights(learner.estimator))
    assert found[0] == found[1]
    assert [subset.indices, subset.dataset] == before
