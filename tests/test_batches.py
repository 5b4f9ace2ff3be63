"""Data in memory are sliced; the mini-batches are those of the net's own loader."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset as SkorchDataset
from torch import nn
from torch.utils.data import DataLoader, default_collate

from skdal.adapters import NetBatches
from skdal.gradients import gradient_statistics


class Doubles(SkorchDataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return 2 * X, y


class Tensor(torch.Tensor):
    pass


def twice(items):
    X, y = default_collate(items)
    return 2 * X, y


class Named(nn.Linear):
    """Takes its input, or inputs by any names."""

    def forward(self, input=None, **inputs):
        return super().forward(input)


def make_net(**settings):
    torch.manual_seed(0)
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "train_split": None,
        "verbose": 0,
    } | settings
    return NeuralNetClassifier(Named(4, 3), **settings).initialize()


def batches(net, X, y=None):
    return list(NetBatches(net, X, y, labeled=y is not None, batch_size=3))


def refuse_slices(monkeypatch):
    """Fail where the loader is not used."""
    monkeypatch.setattr("skdal.adapters._batches._copied", None)


ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
FORMS = {
    "array": ROWS,
    "float64": ROWS.astype(float),
    "uint8": (50 * abs(ROWS)).astype(np.uint8),
    "images": ROWS.reshape(8, 1, 2, 2),
    "strided": np.repeat(ROWS, 2, axis=0)[::2],
    "fortran": np.asfortranarray(ROWS),
    "tensor": torch.as_tensor(ROWS),
    "dict": {"a": ROWS, "b": torch.as_tensor(ROWS[:, :2])},
}


@pytest.mark.parametrize("labeled", [False, True])
@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_slices_are_what_the_loader_gives(X, labeled, monkeypatch):
    y = np.arange(8) % 3 if labeled else None
    found = batches(make_net(), X, y)
    refuse_slices(monkeypatch)
    for (inputs, labels), (expected, expected_labels) in zip(
        found, batches(make_net(**OTHERS["loader"]), X, y), strict=True
    ):
        torch.testing.assert_close(inputs, expected, rtol=0, atol=0)
        assert (labels is None) == (expected_labels is None)
        assert labels is None or labels.tolist() == expected_labels.tolist()


OTHERS = {
    "collate": {"iterator_valid__collate_fn": twice},
    "dataset": {"dataset": Doubles},
    "loader": {"iterator_valid": type("Loader", (DataLoader,), {})},
}


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_what_the_net_makes_of_its_data_is_kept(settings, monkeypatch):
    refuse_slices(monkeypatch)
    factor = 1 if "iterator_valid" in settings else 2
    torch.testing.assert_close(
        batches(make_net(**settings), ROWS)[0][0], torch.as_tensor(factor * ROWS[:3])
    )


def test_a_subclass_of_tensor_is_left_to_the_loader(monkeypatch):
    refuse_slices(monkeypatch)
    batches(make_net(), torch.as_tensor(ROWS).as_subclass(Tensor))


class Halving(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x.mul_(0.5))


@pytest.mark.parametrize("as_form", [np.copy, torch.tensor], ids=["array", "tensor"])
def test_a_module_that_writes_on_its_input_does_not_write_on_the_pool(as_form):
    net = NeuralNetClassifier(
        Halving(), criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
    ).initialize()
    X = as_form(ROWS)
    found = gradient_statistics(net, X, backend="ghost")
    assert np.asarray(X).tolist() == ROWS.tolist()
    net.module_.forward = lambda x: net.module_.layer(0.5 * x)
    np.testing.assert_allclose(
        found.sq_norm, gradient_statistics(net, X, backend="loop").sq_norm, rtol=1e-5
    )
