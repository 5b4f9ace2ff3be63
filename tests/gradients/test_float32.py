"""Trained float32 nets against their float64 copies, with the same labels."""

import copy

import numpy as np
import pytest
import torch
from lanes import slow_unless
from reference import assert_statistics, reference, total
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn
from torchvision.models import resnet18

from skdal.gradients import gradient_statistics, labeled_gradient


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64, 10),
    )


def small_mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 10)
    )


def probabilities():
    return nn.Sequential(small_mlp(), nn.Softmax(dim=1))


def digits():
    X, y = load_digits(return_X_y=True)
    return (X.reshape(-1, 1, 8, 8) / 16).astype(np.float32), y


def noise():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(48, 3, 32, 32, generator=generator).numpy()
    return X, torch.randint(10, (48,), generator=generator).numpy()


# module, data, criterion, learning rate, samples to train on, epochs, samples to score
TRAINED = {
    "cnn": (small_cnn, digits, nn.CrossEntropyLoss, 0.003, 500, 30, 200),
    "mlp": (small_mlp, digits, nn.CrossEntropyLoss, 0.003, 500, 60, 200),
    "probabilities": (probabilities, digits, nn.NLLLoss, 0.003, 500, 60, 200),
    "resnet18": (
        lambda: resnet18(num_classes=10),
        noise,
        nn.CrossEntropyLoss,
        0.001,
        48,
        16,
        24,
    ),
}


USUAL = ["cnn", "probabilities"]


@pytest.fixture(
    scope="module",
    params=[slow_unless(key in USUAL, case) for key, case in TRAINED.items()],
    ids=TRAINED,
)
def trained(request):
    module, data, criterion, lr, n_train, n_epochs, n_score = request.param
    X, y = data()
    settings = {
        "optimizer": torch.optim.Adam,
        "lr": lr,
        "batch_size": 32,
        "max_epochs": n_epochs,
    }
    net = NeuralNetClassifier(
        module, criterion=criterion, train_split=None, verbose=0, **settings
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net.fit(X[:n_train], y[:n_train])
    assert (
        net.history[-1, "train_loss"] < 0.05
    )  # where float32 softmax minus one-hot would cancel
    return net, X[: min(64, n_train)], y[: min(64, n_train)], X[-n_score:]


def test_statistics_of_trained_nets(trained):
    net, X, y, pool = trained
    direction = labeled_gradient(net, X, y)
    actual = gradient_statistics(net, pool, direction=direction)
    twin = double(net)
    exact_direction = reference(twin, X.astype(np.float64), y).gradient
    expected = reference(twin, pool.astype(np.float64), actual.label, exact_direction)
    exact = gradient_statistics(
        twin, pool.astype(np.float64), actual.label, direction=exact_direction
    )
    assert_statistics(exact, expected)
    sq_norm, dot = total(expected.sq_norm).numpy(), total(expected.dot).numpy()
    length = np.sqrt(sum(g.square().sum().item() for g in exact_direction.values()))
    floor = 1e-12 * sq_norm.max()
    check(np.abs(actual.sq_norm - sq_norm) / np.maximum(sq_norm, floor))
    check(np.abs(actual.dot - dot) / (np.sqrt(np.maximum(sq_norm, floor)) * length))


def test_any_split_of_float32(trained):
    net, X, y, pool = trained
    direction = labeled_gradient(net, X, y)
    whole, *parts = (
        gradient_statistics(net, shard, direction=direction, batch_size=8)
        for shard in (pool, pool[:16], pool[16:])
    )
    assert whole.dot.tolist() == [*parts[0].dot, *parts[1].dot]
    ragged = [
        gradient_statistics(net, shard, batch_size=8).sq_norm
        for shard in (pool[:13], pool[13:])
    ]
    np.testing.assert_allclose(np.concatenate(ragged), whole.sq_norm, rtol=1e-5)


def double(net):
    """Return a float64 copy of a net."""
    twin = copy.deepcopy(net)
    twin.module_.double()
    return twin


def check(errors):
    assert np.median(errors) <= 1e-5
    assert errors.max() <= 1e-4
