"""The paper's networks: shapes, sizes, seeds, training settings, exact scores."""

import pickle

import numpy as np
import pytest
import torch
from reference import assert_statistics, reference
from sklearn.base import clone

from skdal import DynamicALSampler
from skdal.gradients import gradient_statistics
from skdal.models import MODELS

# Parameters with 10 classes and 3 channels: the tutorial's, torchvision's documented counts less
# the 990 other classes.
N_PARAMETERS = {
    "cnn": 62_006,
    "resnet18": 11_689_512 - 990 * 513,
    "vgg11": 132_863_336 - 990 * 4097,
    "vgg11_bn_small": 9_231_114,
    "resnet18_cifar": 11_689_512 - 990 * 513 - 3 * 64 * (49 - 9),
    "digits_cnn": 3 * 9 * 16 + 16 + 16 * 9 * 32 + 32 + 512 * 64 + 64 + 64 * 10 + 10,
    "cnn_gap": 3 * 9 * 32 + 32 + 32 * 9 * 64 + 64 + 64 * 9 * 128 + 128 + 128 * 10 + 10,
}
small = pytest.mark.parametrize("key", [key for key in MODELS if key != "vgg11"])


def images(key, n=4, channels=3):
    size = 8 if key == "digits_cnn" else 32
    return torch.randn(
        n, channels, size, size, generator=torch.Generator().manual_seed(0)
    ).numpy()


@pytest.mark.parametrize("key", MODELS)
def test_number_of_parameters(key):
    with torch.device("meta"):
        module = MODELS[key](10, device="meta").initialize().module_
    assert sum(p.numel() for p in module.parameters()) == N_PARAMETERS[key]


@small
@pytest.mark.parametrize("n_classes, channels", [(10, 3), (2, 1)])
def test_outputs(key, n_classes, channels):
    net = MODELS[key](n_classes, in_channels=channels).initialize()
    proba = net.predict_proba(images(key, channels=channels))
    assert proba.shape == (4, n_classes)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)


@small
def test_weights_are_those_of_the_seed(key):
    before = torch.get_rng_state()
    nets = [MODELS[key](10, seed=seed).initialize() for seed in (3, 3, 4)]
    nets.append(clone(nets[0]).initialize())
    first, same, other, cloned = (
        torch.cat([p.flatten() for p in net.module_.parameters()]) for net in nets
    )
    assert torch.equal(first, same)
    assert torch.equal(first, cloned)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_every_net_is_another():
    first, second = (
        next(MODELS["cnn"](10).initialize().module_.parameters()) for _ in range(2)
    )
    assert not torch.equal(first, second)


@small
def test_training_settings(key):
    net = MODELS[key](10, lr=0.01, max_epochs=1).initialize()
    assert type(net.optimizer_) is torch.optim.Adam
    assert net.optimizer_.param_groups[0]["lr"] == 0.01
    assert MODELS[key](10).lr == 0.001
    assert isinstance(net.criterion_, torch.nn.CrossEntropyLoss)
    assert net.train_split is None


@small
def test_a_net_is_pickled_trained_and_asked(key):
    y = np.array([0, 1, 2, 1])
    net = pickle.loads(pickle.dumps(MODELS[key](3, seed=0, max_epochs=1)))
    sampler = DynamicALSampler(net).fit(images(key), y)
    assert len(sampler.query(images(key, 6), 2)) == 2


@pytest.mark.slow
@small
def test_scores_are_exact(key):
    net = MODELS[key](5, seed=0).initialize()
    net.module_.double()
    X = images(key, 3).astype("float64")
    assert_statistics(gradient_statistics(net, X, backend="ghost"), reference(net, X))
