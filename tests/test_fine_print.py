"""What is rare in practice and would be silent: one test a promise."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from common import POOL, PROMISES, Mlp, X, keys, make_net, make_sampler, trained_net, y
from modAL.models import Committee
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, TensorDataset

from skdal import ActiveLearner, DynamicALSampler, dynamical_sampling
from skdal.exceptions import (
    CrossSampleLayerError,
    InvalidDataError,
    InvalidParameterError,
    UnsupportedEstimatorError,
)
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.samplers import MarginSampler, margin_sampling


class Noisy(Dataset):
    """Draws from torch's global generator at every look."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return torch.from_numpy(X[i]) + 0.01 * torch.randn(4), int(y[i])


@pytest.mark.parametrize("key", ["random", *keys(PROMISES, labeled=True)])
def test_a_query_leaves_the_generator_to_a_labeled_set_that_draws(key):
    learner = ActiveLearner(make_net(), make_sampler(key), Noisy())
    state = torch.get_rng_state()
    learner.query(POOL)
    assert torch.equal(torch.get_rng_state(), state)


class Tied(nn.Module):
    """`last` shares the weight of `first`."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = (
            nn.Linear(4, 4),
            nn.Linear(4, 4),
            nn.Linear(4, 4),
        )
        self.last.weight = self.first.weight
        self.double()

    def forward(self, x):
        return self.last(self.middle(self.first(x).tanh()).tanh())


@pytest.mark.parametrize("layers", ["last", ["last.weight", "last.bias"], "last."])
def test_layers_know_a_shared_parameter_by_each_of_its_names(layers):
    gradient = labeled_gradient(make_net(Tied).initialize(), X, y, layers=layers)
    assert set(gradient) == {"first.weight", "last.bias"}


class Branching(Mlp):
    """Uses a weight functionally in mini-batches that hold a large value."""

    def forward(self, x):
        h = self.body(x)
        mask = (x[:, :1] > 1.5).to(x)
        return self.head(h) + (
            mask * nn.functional.linear(h * h, self.head.weight) if mask.any() else 0
        )


def test_a_later_mini_batch_with_other_operations_is_proven_anew():
    net, order = make_net(Branching).initialize(), np.argsort(POOL[:, 0])
    expected = gradient_statistics(net, POOL[order], backend="loop")
    actual = gradient_statistics(net, POOL[order], batch_size=8)
    np.testing.assert_allclose(actual.sq_norm, expected.sq_norm, rtol=1e-10)


@pytest.mark.parametrize("key", keys(PROMISES, looks=True))
def test_a_loader_that_shuffles_is_refused(key):
    net = trained_net()
    net.iterator_valid = partial(DataLoader, shuffle=True)
    with pytest.raises(InvalidParameterError, match="RandomSampler.*in order"):
        make_sampler(key)(net, POOL, X_labeled=X, y_labeled=y)


class Auxiliary(Mlp):
    """Gives its logits and a second output, which only the loss looks at."""

    def forward(self, x):
        logits = super().forward(x)
        return logits, logits.square()


class AuxiliaryNet(NeuralNetClassifier):
    """Takes both outputs of its module."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        logits, squares = y_pred
        return super().get_loss(logits, y_true, *args, **kwargs) + 0.1 * squares.sum(1)


def test_a_loss_of_several_outputs_gets_them_all():
    net = make_net(Auxiliary, AuxiliaryNet, criterion__reduction="none").initialize()
    gradient = labeled_gradient(net, X, y)
    net.module_.eval()
    net.get_loss(net.module_(torch.from_numpy(X)), torch.from_numpy(y)).sum().backward()
    for name, parameter in net.module_.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad)


def test_early_stopping_is_no_interrupt():
    stopper = EarlyStopping(monitor="train_loss", patience=1, threshold=0.9)
    sampler = MarginSampler(
        make_net(max_epochs=50, callbacks=[("stopper", stopper)])
    ).fit(X, y)
    assert len(sampler.estimator_.history) < 50


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_labels_of_a_dataset_may_be_of_another_type(dtype):
    labeled = [(row, dtype(label)) for row, label in zip(torch.from_numpy(X), y)]
    sampler = DynamicALSampler(make_net(), random_state=0).fit(Listed(labeled))
    assert (
        sampler.query(POOL, 5)
        == DynamicALSampler(make_net(), random_state=0).fit(X, y).query(POOL, 5)
    ).all()


class Listed(Dataset):
    """A list as a Dataset."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class OneOutput(Mlp):
    """No output a class."""

    def forward(self, x):
        return super().forward(x)[:, 0]


def test_a_module_without_class_outputs_is_refused_in_training_on_a_dataset():
    with pytest.raises(UnsupportedEstimatorError, match="at least two classes"):
        MarginSampler(make_net(OneOutput)).fit(
            TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
        )


def test_a_replaced_estimator_starts_anew():
    sampler = MarginSampler(make_net()).fit(X, y)
    assert isinstance(
        sampler.set_params(estimator=LogisticRegression()).fit(X, y).estimator_,
        LogisticRegression,
    )


@pytest.mark.parametrize(
    "first", [pd.Series(y), pd.Series(y, index=range(100, 130)), y.tolist()]
)
def test_labels_are_appended_to_what_was_there(first):
    learner = ActiveLearner(make_net(), margin_sampling, X, first)
    learner.teach(POOL[:5], y[:5])
    assert np.asarray(learner.y_training).tolist() == [*y, *y[:5]]


def test_frames_of_other_columns_are_not_appended():
    frame = pd.DataFrame(X, columns=list("abcd"))
    learner = ActiveLearner(LogisticRegression(), margin_sampling, frame, y)
    with pytest.raises(InvalidDataError, match="columns"):
        learner.teach(pd.DataFrame(X[:2], columns=list("abce")), y[:2])


def test_many_rounds_do_not_nest_datasets():
    learner = ActiveLearner(
        make_net(max_epochs=1),
        margin_sampling,
        TensorDataset(torch.from_numpy(X), torch.from_numpy(y)),
    )
    for _ in range(3):
        learner.teach(TensorDataset(torch.from_numpy(X[:2]), torch.from_numpy(y[:2])))
    assert isinstance(learner.X_training, ConcatDataset)
    assert len(learner.X_training.datasets) == 4


def test_a_committee_of_modal_teaches_our_learners():
    learners = [
        ActiveLearner(LogisticRegression(), margin_sampling, X, y) for _ in range(2)
    ]
    Committee(learners).teach(POOL[:5], y[:5])
    assert [len(learner.X_training) for learner in learners] == [35, 35]


def test_steps_that_are_not_fitted_are_fitted_before_a_net_that_is():
    pipeline = make_pipeline(StandardScaler(), make_net().initialize())
    assert ActiveLearner(pipeline, margin_sampling, X, y).score(X, y) >= 0


def test_layers_that_mix_samples_are_refused_before_training():
    net = make_net(
        lambda: nn.Sequential(
            nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)
        ).double()
    )
    sampler = DynamicALSampler(net)
    with pytest.raises(
        CrossSampleLayerError, match="BatchNorm1d.*track_running_stats=True"
    ):
        sampler.fit(X, y)
    assert not hasattr(sampler, "estimator_")
    MarginSampler(net).fit(X, y)


def test_a_bare_module_is_refused():
    with pytest.raises(UnsupportedEstimatorError, match="NeuralNetClassifier"):
        dynamical_sampling(Mlp(), POOL)


@pytest.mark.parametrize("layers", [[], None, [3], ""])
def test_layers_that_are_none_are_refused(layers):
    with pytest.raises(InvalidParameterError, match="layers must be"):
        gradient_statistics(trained_net(), POOL, layers=layers)


def test_a_direction_may_be_of_arrays():
    net = trained_net()
    direction = labeled_gradient(net, X, y)
    arrays = {name: value.numpy() for name, value in direction.items()}
    expected = gradient_statistics(net, POOL, direction=direction).dot
    assert (gradient_statistics(net, POOL, direction=arrays).dot == expected).all()


def test_a_saturated_float32_net_is_no_mismatch():
    net = make_net(partial(nn.Linear, 4, 3, dtype=torch.float64)).initialize()
    net.module_.float()
    with torch.no_grad():
        net.module_.bias.copy_(torch.tensor([80.0, 0, 0]))
    assert (
        gradient_statistics(net, POOL.astype(np.float32), backend="ghost").sq_norm
        < 1e-30
    ).all()
