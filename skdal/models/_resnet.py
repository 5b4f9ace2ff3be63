"""ResNet-18: torchvision's, and with the stem for small images."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision import models


def resnet18(n_classes: int, in_channels: int = 3) -> Any:
    """Return torchvision's ResNet-18, untrained."""
    net = models.resnet18(num_classes=n_classes)
    if in_channels != 3:
        net.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    return net


def resnet18_cifar(n_classes: int, in_channels: int = 3) -> Any:
    """Return ResNet-18 for images of 32x32 pixels: a 3x3 convolution of stride 1 as stem, no
    pooling after it.
    """
    net = models.resnet18(num_classes=n_classes)
    net.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()
    return net
