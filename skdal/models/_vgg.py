"""VGG-11: torchvision's, and the small one with batch-norm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision import models

_WIDTHS: tuple[Any, ...] = (
    64,
    "M",
    128,
    "M",
    256,
    256,
    "M",
    512,
    512,
    "M",
    512,
    512,
    "M",
)


def vgg11(n_classes: int, in_channels: int = 3) -> Any:
    """Return torchvision's VGG-11, untrained: 129 million parameters."""
    net = models.vgg11(num_classes=n_classes)
    if in_channels != 3:
        net.features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        nn.init.kaiming_normal_(
            net.features[0].weight, mode="fan_out", nonlinearity="relu"
        )
        nn.init.zeros_(net.features[0].bias)
    return net


class VGG11BNSmall(nn.Sequential):
    """VGG-11's convolutions with batch-norm, and one linear layer on 512 features: 9.2 million
    parameters.

    Parameters
    ----------
    n_classes : int
        Outputs.
    in_channels : int, default=3
        Of the images, of at least 32x32 pixels.
    """

    def __init__(self, n_classes: int, in_channels: int = 3) -> None:
        layers: list[nn.Module] = []
        for width in _WIDTHS:
            if width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [
                    nn.Conv2d(in_channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                in_channels = width
        super().__init__(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, n_classes)
        )
