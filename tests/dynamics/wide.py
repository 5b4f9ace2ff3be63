"""Finite networks in NTK parametrisation: what the infinite kernels are the limit of."""

import math

import torch
import torch.nn.functional as F
from skorch import NeuralNetClassifier
from torch import nn


class WideLayer(nn.Module):
    """A dense layer or a convolution with weights of N(0, 1), scaled as it runs."""

    def __init__(self, n_in, n_out, window, weight_std, bias_std):
        super().__init__()
        shape = (n_out, n_in) if window is None else (n_out, n_in, window, window)
        self.weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(n_out, dtype=torch.float64))
        self.scale, self.bias_std, self.window = (
            weight_std / math.sqrt(self.weight[0].numel()),
            bias_std,
            window,
        )

    def forward(self, x):
        weight, bias = self.scale * self.weight, self.bias_std * self.bias
        return (
            F.linear(x, weight, bias)
            if self.window is None
            else F.conv2d(x, weight, bias, padding="same")
        )


class Wide(nn.Module):
    """Hidden layers of one width, ReLU, and a linear output layer."""

    def __init__(
        self,
        shape,
        width,
        K=2,
        depth=2,
        window=None,
        weight_std=2**0.5,
        bias_std=0.0,
        pools=True,
    ):
        super().__init__()
        self.is_flat, self.pools = window is None, pools
        sizes = [math.prod(shape) if self.is_flat else shape[0]] + [width] * depth
        layers = [
            WideLayer(a, b, window, weight_std, bias_std)
            for a, b in zip(sizes, sizes[1:])
        ]
        self.hidden = nn.ModuleList(layers)
        n_read = width if self.is_flat or pools else width * shape[1] * shape[2]
        self.readout = WideLayer(n_read, K, None, weight_std, bias_std)

    def forward(self, x):
        x = x.flatten(1) if self.is_flat else x
        for layer in self.hidden:
            x = torch.relu(layer(x))
        x = x.mean((2, 3)) if self.pools and not self.is_flat else x.flatten(1)
        return self.readout(x)


def wide_net(seed, **settings):
    """Return an initialized skorch net of `Wide`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = {f"module__{name}": value for name, value in settings.items()}
        return NeuralNetClassifier(
            Wide, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0, **settings
        ).initialize()
