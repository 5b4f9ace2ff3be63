"""Narrow versions of torchvision's nets: every parameter's share, in one pass."""

from dataclasses import dataclass

import pytest
import torch
from cases import Case, floats, over
from reference import assert_every_share, assert_statistics
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import (
    EfficientNet,
    FusedMBConvConfig,
    MBConvConfig,
)
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)
from torchvision.models.vision_transformer import VisionTransformer

from skdal.adapters import open_net
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.gradients.parts import MiniBatch, cover, differentiating
from skdal.gradients.rules import RULEBOOK

# No false alarm of the self-check, and no step down because of one.
pytestmark = pytest.mark.filterwarnings("error", "ignore:There is a performance drop")


def vision_transformer():
    return VisionTransformer(16, 8, 2, 2, 12, 20, num_classes=5)


def convnext():
    """Each kind of stage, with its downsampling; layer scales begin at 1e-6 and are drawn anew."""
    return ConvNeXt(
        [CNBlockConfig(8, 12, 2), CNBlockConfig(12, None, 1)], num_classes=5
    )


def mobilenet():
    """Blocks with and without expansion, squeeze-and-excitation, a skip, dilation."""

    def block(*args):
        return InvertedResidualConfig(*args, 1.0)

    blocks = [
        block(8, 3, 8, 8, True, "RE", 2, 1),
        block(8, 5, 24, 16, True, "HS", 1, 1),
        block(16, 3, 32, 16, False, "HS", 1, 2),
    ]
    return MobileNetV3(blocks, 20, num_classes=5)


def efficientnet():
    """Both kinds of blocks, with and without a skip."""
    blocks = [
        FusedMBConvConfig(2, 3, 2, 8, 8, 1),
        MBConvConfig(1, 3, 1, 8, 8, 1, 1.0, 1.0),
        MBConvConfig(2, 5, 2, 8, 12, 2, 1.0, 1.0),
    ]
    return EfficientNet(
        blocks, 0.1, stochastic_depth_prob=0.5, num_classes=5, last_channel=16
    )


def densenet():
    return DenseNet(4, (2, 2), 8, bn_size=2, drop_rate=0.3, num_classes=5)


def regnet():
    """As regnet_y: grouped convolutions, squeeze-and-excitation."""
    return RegNet(
        BlockParams([1, 2], [8, 16], [4, 8], [1.0, 1.0], [2, 2], 0.25),
        num_classes=5,
        stem_width=8,
    )


def swin(**kwargs):
    """Two stages, of plain and shifted windows; the first is padded to whole windows."""
    return SwinTransformer([2, 2], 8, [2, 2], [2, 2], [3, 3], num_classes=5, **kwargs)


def swin_v2():
    return swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


@dataclass(frozen=True, eq=False)
class Known(Case):
    """A case, and which parameters are known to belong to modules that are handled by
    themselves."""

    alone: tuple = ()


NETS = [
    Known("vision-transformer", vision_transformer, floats(3, 16, 16)),
    Known(
        "convnext",
        convnext,
        floats(3, 32, 32),
        alone=("features.0.1.", "features.2.0.", "classifier.0."),
    ),
    Known("mobilenet", mobilenet, floats(3, 32, 32)),
    Known("efficientnet", efficientnet, floats(3, 32, 32)),
    Known("densenet", densenet, floats(3, 32, 32)),
    Known("regnet", regnet, floats(3, 32, 32)),
    Known("swin", swin, floats(3, 16, 16)),
    Known(
        "swin-v2",
        swin_v2,
        floats(3, 16, 16),
        alone=("cpb_mlp.", "logit_scale", "qkv.bias"),
    ),
]


@over(NETS)
def test_every_parameter_has_its_share(problem):
    actual = gradient_statistics(
        problem.net, problem.X, direction=problem.direction, backend="ghost"
    )
    assert_statistics(actual, problem.own)
    assert_every_share(problem.shares(), problem.own)


@over(NETS)
def test_in_mini_batches_and_with_labels(problem):
    settings = {
        "direction": labeled_gradient(problem.net, problem.X, problem.y),
        "backend": "ghost",
    }
    whole = gradient_statistics(problem.net, problem.X, problem.y, **settings)
    parts = gradient_statistics(
        problem.net, problem.X, problem.y, batch_size=4, **settings
    )
    for actual in (whole, parts):
        torch.testing.assert_close(
            torch.as_tensor(actual.sq_norm),
            sum(problem.given.sq_norm.values()),
            rtol=1e-10,
            atol=0,
        )
    torch.testing.assert_close(
        torch.as_tensor(whole.dot), torch.as_tensor(parts.dot), rtol=1e-9, atol=1e-9
    )


@over(NETS)
def test_no_more_is_handled_by_itself_than_is_known(problem):
    view = open_net(problem.net)
    parameters = dict(problem.net.module_.named_parameters())
    with differentiating(view):
        inputs, _ = next(iter(view.pool_batches(problem.X, None, batch_size=3)))
        plan = cover(view, MiniBatch(inputs), parameters, RULEBOOK)
    layers = plan.layers.values()
    alone = [layer.names.values() for layer in layers if layer.kind == "alone"]
    names = [name for names in alone for name in names]
    assert [
        name for name in names if not any(known in name for known in problem.case.alone)
    ] == []
    assert all(any(known in name for name in names) for known in problem.case.alone)
