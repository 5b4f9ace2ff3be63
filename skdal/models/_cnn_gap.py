"""The CNN of the theory: three convolutions and global average pooling."""

from __future__ import annotations

from torch import nn


class CNNGap(nn.Sequential):
    """Three 3x3 convolutions (32, 64, 128 channels, padding 1), global average pooling, one linear
    layer.

    For images of any size.

    Parameters
    ----------
    n_classes : int
        Outputs.
    in_channels : int, default=3
        Of the images.
    """

    def __init__(self, n_classes: int, in_channels: int = 3) -> None:
        super().__init__(
            *(nn.Conv2d(in_channels, 32, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, n_classes)),
        )
