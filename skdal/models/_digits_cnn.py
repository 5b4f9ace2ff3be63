"""A small CNN for scikit-learn's digits."""

from __future__ import annotations

from torch import nn


class DigitsCNN(nn.Sequential):
    """Two convolutions and two linear layers, for images of 8x8 pixels: 38,282 parameters for ten
    classes of grey ones.

    Parameters
    ----------
    n_classes : int
        Outputs.
    in_channels : int, default=1
        Of the images.
    """

    def __init__(self, n_classes: int, in_channels: int = 1) -> None:
        super().__init__(
            *(nn.Conv2d(in_channels, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(
                nn.Flatten(),
                nn.Linear(32 * 4 * 4, 64),
                nn.ReLU(),
                nn.Linear(64, n_classes),
            ),
        )
