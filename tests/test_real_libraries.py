"""Nets and data of Hugging Face and timm, made from a config: exact against plain autograd in
float64."""

import pickle

import numpy as np
import pytest
import torch
from common import POOL, PROMISES, Mlp, POOL_y, X, make_net, make_sampler, weights, y
from needs import needs
from reference import assert_statistics, reference
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.hf import AccelerateMixin
from torch import nn

from skdal.adapters import packed
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.samplers import BADGESampler, CoresetSampler, DynamicALSampler, MarginSampler
from skdal.utils import count_rows

N, K = 6, 3
LABELS = np.arange(N) % K


def redrawn(module):
    """Return a module in float64 with its parameters drawn anew: LayerNorms and adapters begin as
    ones and zeros."""
    generator = torch.Generator().manual_seed(0)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return module


class Logits(nn.Module):
    """A model whose output is an object."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(**inputs).logits


def net_of(module):
    return make_net(module, batch_size=4, lr=1e-3).initialize()


def assert_exact(net, data, arrays):
    """Assert that statistics of `data` are the reference's of the same as arrays, and that samplers
    take them."""
    direction = labeled_gradient(net, data, LABELS)
    expected = reference(net, arrays, LABELS).gradient
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for (
        name,
        gradient,
    ) in (
        expected.items()
    ):  # that of the bias of attention's keys is zero but for rounding
        torch.testing.assert_close(
            direction[name], gradient, rtol=1e-9, atol=1e-12 * largest
        )
    found = gradient_statistics(net, data, direction=direction)
    assert_statistics(found, reference(net, arrays, direction=direction), rtol=1e-9)
    for cls in (DynamicALSampler, MarginSampler, CoresetSampler, BADGESampler):
        sampler = cls(FrozenEstimator(net), random_state=0).fit(data, LABELS)
        assert sorted(sampler.query(data, N)) == list(range(N))
    sampler = MarginSampler(net, random_state=0)
    with pytest.warns(UserWarning, match="trained already"):
        sampler.fit(data, LABELS)
    assert sampler.fit(data, LABELS).query(data, 2).shape == (2,)


def bert():
    transformers = needs("transformers")
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=K,
    )
    return transformers.BertForSequenceClassification(config)


def tokens():
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(7) < torch.randint(3, 8, (N, 1), generator=generator)).long()
    return {
        "input_ids": torch.randint(40, (N, 7), generator=generator) * mask,
        "attention_mask": mask,
    }


def test_transformers():
    assert_exact(net_of(Logits(redrawn(bert()))), tokens(), tokens())


def test_peft():
    peft = needs("peft")
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"])
    net = net_of(Logits(redrawn(peft.get_peft_model(bert(), config))))
    trainable = {
        name
        for name, parameter in net.module_.named_parameters()
        if parameter.requires_grad
    }
    direction = labeled_gradient(net, tokens(), LABELS)
    assert set(direction) == trainable
    assert all("lora_" in name for name in trainable)
    found = gradient_statistics(net, tokens(), direction=direction)
    assert_statistics(found, reference(net, tokens(), direction=direction), rtol=1e-9)
    frozen = {
        name: p.clone()
        for name, p in net.module_.named_parameters()
        if not p.requires_grad
    }
    net.fit(tokens(), LABELS)
    DynamicALSampler(FrozenEstimator(net)).fit(tokens(), LABELS).query(tokens(), 2)
    assert all(
        torch.equal(p, frozen[name])
        for name, p in net.module_.named_parameters()
        if name in frozen
    )
    assert {
        name
        for name, parameter in net.module_.named_parameters()
        if parameter.requires_grad
    } == trainable


def vit():
    needs("timm")
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=K
    )


def resnet():
    needs("timm")
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(
        BasicBlock, (1, 1, 1, 1), num_classes=K, channels=(4, 4, 8, 8), stem_width=4
    )


@pytest.mark.parametrize("make", [vit, resnet])
def test_timm(make):
    size = 8 if make is vit else 32
    images = np.random.default_rng(0).normal(size=(N, 3, size, size))
    assert_exact(net_of(redrawn(make())), images, images)


class Named(nn.Module):
    """Takes the column `x`."""

    def __init__(self):
        super().__init__()
        self.mlp = Mlp()

    def forward(self, x):
        return self.mlp(x)


@pytest.mark.parametrize("form", ["torch", "numpy"])
def test_a_dataset_of_hugging_face(form):
    datasets = needs("datasets")
    data = datasets.Dataset.from_dict({"x": X[:N].tolist()}).with_format(
        form, dtype=__import__(form).float64
    )
    assert count_rows(data) == N
    assert_exact(net_of(redrawn(Named())), data, {"x": X[:N]})


# --- accelerate -----------------------------------------------------------------------------------


class AcceleratedNet(AccelerateMixin, NeuralNetClassifier):
    pass


@pytest.fixture
def accelerated():
    """A function that makes a net with an Accelerator; accelerate keeps its settings in global
    state."""
    accelerate = needs("accelerate")

    def make(unwrap_after_train=True, **settings):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = accelerate.Accelerator(cpu=True, **settings)
        return make_net(
            cls=AcceleratedNet,
            module__dtype=torch.float32
            if "mixed_precision" in settings
            else torch.float64,
            accelerator=accelerator,
            unwrap_after_train=unwrap_after_train,
        )

    yield make
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("unwrap_after_train", [True, False])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate(accelerated, precision, unwrap_after_train):
    settings = {} if precision == "no" else {"mixed_precision": precision}
    sampler = DynamicALSampler(
        accelerated(unwrap_after_train, **settings), random_state=0
    )
    for n in (16, 24, 30):
        net = sampler.fit(X[:n], y[:n]).estimator_
    assert net.device is None
    assert len(net.history) == 6
    direction = labeled_gradient(net, X, y)
    found = gradient_statistics(net, POOL, direction=direction)
    rtol = {"no": 1e-9, "bf16": 2e-5 if unwrap_after_train else 2e-2}[precision]
    assert_statistics(found, reference(net, POOL, direction=direction), rtol=rtol)


@pytest.mark.parametrize("key", PROMISES)
def test_every_sampler_with_accelerate(key, accelerated):
    plain, net = make_net(), accelerated()
    picks = [
        make_sampler(key, estimator).fit(X, y).query(POOL, 5).tolist()
        for estimator in (plain, net)
    ]
    assert picks[0] == picks[1]


@pytest.mark.parametrize("key", PROMISES)
def test_an_accelerator_does_not_keep_the_pool(key, accelerated):
    """It keeps every loader that it prepares; with them the net could not be pickled either."""
    sampler = make_sampler(key, accelerated()).fit(X, y)
    kept = list(sampler.estimator_.accelerator._dataloaders)
    sampler.query(POOL, 5)
    assert all(
        a is b
        for a, b in zip(sampler.estimator_.accelerator._dataloaders, kept, strict=True)
    )


@pytest.mark.parametrize(
    "batch_size", [8, 10]
)  # an even and an odd number of mini-batches
def test_a_new_optimizer_accumulates_gradients_as_the_first_did(
    batch_size, accelerated
):
    """A warm round by skorch's and accelerate's own means, and ours."""
    net = accelerated(
        gradient_accumulation_steps=2, unwrap_after_train=False
    ).set_params(batch_size=batch_size)
    sampler = MarginSampler(clone(net))
    for estimator in (net, sampler):
        torch.manual_seed(0)
        estimator.fit(X, y)
    assert weights(sampler.estimator_) == weights(net)
    torch.manual_seed(1)
    net.initialize_optimizer()
    net.optimizer_ = net.accelerator.prepare(net.optimizer_)
    net.partial_fit(X, y)
    torch.manual_seed(1)
    sampler.fit(X, y)
    assert weights(sampler.estimator_) == weights(net)
    assert type(sampler.estimator_.optimizer_) is type(net.optimizer_)


def test_an_accelerated_net_in_a_worker(accelerated):
    net = MarginSampler(accelerated()).fit(X, y).estimator_
    expected = net.predict_proba(POOL)
    on_its_way = pickle.dumps(packed(net))
    assert b"accelerate.accelerator" not in on_its_way
    there = pickle.loads(on_its_way).on("cpu", batch_size=5)
    np.testing.assert_allclose(there.predict_proba(POOL), expected, rtol=1e-12)
    expected = gradient_statistics(net, POOL, POOL_y).sq_norm
    np.testing.assert_allclose(
        gradient_statistics(there, POOL, POOL_y).sq_norm, expected, rtol=1e-12
    )
