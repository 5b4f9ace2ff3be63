"""The small CNN of the PyTorch CIFAR-10 tutorial."""

from __future__ import annotations

from torch import nn


class CNN(nn.Sequential):
    """Two convolutions and three linear layers, for images of 32x32 pixels: 62,006 parameters for
    ten classes.

    Parameters
    ----------
    n_classes : int
        Outputs.
    in_channels : int, default=3
        Of the images.
    """

    def __init__(self, n_classes: int, in_channels: int = 3) -> None:
        super().__init__(
            *(nn.Conv2d(in_channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(
                nn.Flatten(),
                nn.Linear(400, 120),
                nn.ReLU(),
                nn.Linear(120, 84),
                nn.ReLU(),
                nn.Linear(84, n_classes),
            ),
        )
