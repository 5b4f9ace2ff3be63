r"""The kernels of infinitely wide ReLU networks, layer by layer.

For a pair of images and two positions t, t', let S be the covariance of the outputs of a layer
before its activation and T its tangent kernel, and q, q' what S is of each image with itself. A
ReLU makes of them, with
:math:`r = \sqrt{q q' - S^2}` and
:math:`\varphi = \pi - \arccos(S / \sqrt{q q'}) = \operatorname{atan2}(r, -S)`,

.. math:: S \to (r + S \varphi) / 2\pi, \qquad T \to T \varphi / 2\pi

(Cho and Saul 2009), and a k x k convolution sums both over the window, times weight_std^2 / k^2;
then S gains bias_std^2, and T gains S (Arora et al. 2019, appendix). A convolution mixes only
entries of equal displacement t' - t, so these are worked on one displacement at a time: small
images that stay in cache, of which the last axis is the pairs. What is stored is 2 pi times the
true value after an activation, and the negative before one; so no pass over the data is spent on a
factor or a sign.
"""

import math
from typing import NamedTuple

import torch

_SLACK = 16  # roundings by which qq' and S^2 of one image may differ, where r is 0


class Network(NamedTuple):
    """An infinitely wide network in NTK parametrisation.

    Attributes
    ----------
    depth : int
        Hidden layers.
    window : int
        Side of the convolutions' windows; 1 on images of one pixel is a dense layer.
    weight_var, bias_var : float
    pools : bool
        Whether the last hidden layer is averaged over its positions, or flattened.
    tangent : bool
        Whether the tangent kernel is wanted, or the covariance of the outputs.
    """

    depth: int
    window: int
    weight_var: float
    bias_var: float
    pools: bool
    tangent: bool


class Images(NamedTuple):
    """Images, and what their variances are before each activation.

    Attributes
    ----------
    pixels : tensor (height, width, n, channels)
    variances : tensor (depth, height, width, n)
    """

    pixels: torch.Tensor
    variances: torch.Tensor

    def __getitem__(self, samples):
        """Return some of the images."""
        return Images(self.pixels[:, :, samples], self.variances[..., samples])


def prepare(network, pixels):
    """Return `Images` of pixels (height, width, n, channels)."""
    covariance = pixels.square().mean(3)
    buffers = _Buffers(pixels)
    variances = []
    for _ in range(network.depth):
        padded, inside = _amid_zeros(
            buffers, "covariance", covariance.shape, network.window
        )
        inside.copy_(covariance)
        summed = _window_sum(padded, network.window, buffers, "summed")
        variances.append(
            network.weight_var / network.window**2 * summed + network.bias_var
        )
        covariance = variances[-1] / 2
    return Images(pixels, torch.stack(variances))


def _shifts(height, width):
    """Return the displacements (dy, dx) between any two positions of an image."""
    return [
        (dy, dx) for dy in range(1 - height, height) for dx in range(1 - width, width)
    ]


def kernel_block(network, images_1, images_2):
    """Return the kernel (n_1, n_2) of two sets of `Images`."""
    height, width, n_1, n_channels = images_1.pixels.shape
    shifts = _shifts(height, width) if network.pools else [(0, 0)]
    scaled = images_1.pixels * (2 * math.pi / n_channels)
    variances = images_1.variances * (1 - _SLACK * torch.finfo(scaled.dtype).eps)
    total = scaled.new_zeros(n_1, images_2.pixels.shape[2])
    buffers = _Buffers(scaled)
    for dy, dx in shifts:
        here = (
            slice(max(0, -dy), height - max(0, dy)),
            slice(max(0, -dx), width - max(0, dx)),
        )
        there = (
            slice(max(0, dy), height + min(0, dy)),
            slice(max(0, dx), width + min(0, dx)),
        )
        total += _summed_over_positions(
            network,
            scaled[here] @ images_2.pixels[there].transpose(2, 3),
            variances[:, *here].unsqueeze(-1),
            images_2.variances[:, *there].unsqueeze(-2),
            buffers,
        )
    n_averaged = height * width * (height * width if network.pools else 1)
    return network.weight_var / (2 * math.pi * n_averaged) * total + network.bias_var


def _summed_over_positions(network, inputs, variances_1, variances_2, buffers):
    """Run the hidden layers for one displacement and sum what the output layer averages, times 2
    pi.

    Parameters
    ----------
    network : Network
    inputs : tensor (h, w, n_1, n_2)
        Their covariance, times 2 pi.
    variances_1, variances_2 : tensor (depth, h, w, n_1, 1) and (depth, h, w, 1, n_2)
    buffers : _Buffers

    Returns
    -------
    tensor (n_1, n_2)
    """
    window = network.window
    shape = inputs.shape
    factor = network.weight_var / (2 * math.pi * window**2)
    covariance, covariance_inside = _amid_zeros(buffers, "covariance", shape, window)
    tangent, tangent_inside = _amid_zeros(buffers, "tangent", shape, window)
    covariance_inside.copy_(inputs)
    root = buffers("root", shape)
    angle = buffers("angle", shape)
    for layer, (q_1, q_2) in enumerate(zip(variances_1, variances_2)):
        combined = negative = _window_sum(covariance, window, buffers, "negative").mul_(
            -factor
        )
        if network.bias_var:
            negative -= network.bias_var
        if layer and network.tangent:
            combined = _window_sum(tangent, window, buffers, "combined")
            torch.add(negative, combined, alpha=factor, out=combined)
        torch.mul(q_1, q_2, out=root).addcmul_(negative, negative, value=-1).clamp_min_(
            0
        ).sqrt_()
        torch.atan2(root, negative, out=angle)
        if layer + 1 < network.depth:
            torch.addcmul(root, negative, angle, value=-1, out=covariance_inside)
            torch.mul(combined, angle, out=tangent_inside)
    # The output layer adds covariance and tangent kernel.
    combined = combined + negative if network.tangent else combined
    return (
        torch.addcmul(root, combined, angle, value=-1, out=angle).flatten(0, 1).sum(0)
    )


class _Buffers:
    """Memory by name, taken once: new tensors for each displacement cost a third of the time."""

    def __init__(self, like):
        self._like = like
        self._flat = {}

    def __call__(self, name, shape):
        """Return a tensor of that shape, its values whatever was there."""
        size = math.prod(shape)
        if name not in self._flat or len(self._flat[name]) < size:
            self._flat[name] = self._like.new_empty(size)
        return self._flat[name][:size].view(shape)


def _amid_zeros(buffers, name, shape, window):
    """Return zeros, and the view of `shape` (h, w, ...) in their middle that a convolution pads
    with the rest.
    """
    margin = window // 2
    padded = buffers(
        name, (shape[0] + 2 * margin, shape[1] + 2 * margin, *shape[2:])
    ).zero_()
    return padded, padded[margin : margin + shape[0], margin : margin + shape[1]]


def _window_sum(padded, window, buffers, name):
    """Return the sums over all windows of the first two axes, first of rows and then of columns."""
    for axis, buffer in ((0, "rows"), (1, name)):
        shape = list(padded.shape)
        shape[axis] -= window - 1
        parts = [padded.narrow(axis, start, shape[axis]) for start in range(window)]
        total = buffers(buffer, shape)
        torch.add(*parts[:2], out=total) if window > 1 else total.copy_(parts[0])
        for part in parts[2:]:
            total += part
        padded = total
    return padded
