"""The reference: one forward and one backward pass a sample, by plain autograd."""

from collections.abc import Mapping

import torch

from skdal.exceptions import InvalidDataError
from skdal.gradients._backward import differentiate
from skdal.gradients._seeds import summed_seeds
from skdal.gradients._tape import tensors_in

_CHUNK_VALUES = 2**16


def loop_backend(model, inputs, labels, parameters, direction):
    """Return per-sample (sq_norm, dot, label) of a mini-batch; see `_backends`.

    Works for every module, and runs each sample by itself, so its label is the one that it gets alone.
    """
    n = len(tensors_in(inputs)[0])
    rows = [
        sample_statistics(model, inputs, labels, i, parameters, direction, n)
        for i in range(n)
    ]
    sq_norm, dot, labels = zip(*rows)
    return (
        torch.stack(sq_norm),
        None if direction is None else torch.stack(dot),
        torch.cat(labels),
    )


def predicted_labels(model, inputs):
    """Return each sample's own label, the argmax of its outputs."""
    with torch.no_grad():
        return model.forward(inputs).argmax(1)


def sample_statistics(model, inputs, labels, index, parameters, direction, n_samples):
    """Return (sq_norm, dot, label) of one sample of a mini-batch, run by itself."""
    row = slice(index, index + 1)
    outputs = model.forward(cut(inputs, row, n_samples))
    label = outputs.detach().argmax(1) if labels is None else labels[row]
    gradient, scale = gradient_of(model, outputs, label, parameters)
    return *reduce_gradient(gradient, direction, scale), label


def gradient_of(model, outputs, labels, parameters, rows=slice(None)):
    """Return the gradient of the sum over some rows of the losses, times a scale, and the scale.

    The gradient is a dict by name, with zeros where the losses do not depend on a parameter.
    """
    seeds, scale = summed_seeds(model, outputs, labels, rows)
    seeds = [(tensor, gradient) for tensor, gradient in seeds if tensor.requires_grad]
    if not seeds:
        return {name: torch.zeros_like(p) for name, p in parameters.items()}, scale
    outputs, gradients = zip(*seeds)
    found = differentiate(
        outputs, list(parameters.values()), gradients, allow_unused=True
    )
    return {
        name: torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
        for (name, p), g in zip(parameters.items(), found)
    }, scale


def reduce_gradient(gradient, direction, scale=1.0):
    """Return (squared norm, inner product with `direction` or None) of a gradient over its scale, in float64."""
    sq_norm = sum(_inner(g, g) for g in gradient.values()) / scale / scale
    if direction is None:
        return sq_norm, None
    return sq_norm, sum(
        _inner(g, direction[name]) for name, g in gradient.items()
    ) / scale


def _inner(x, y):
    # Fresh memory costs more than arithmetic, so no float64 copy of a large gradient is made.
    pairs = zip(x.reshape(-1).split(_CHUNK_VALUES), y.reshape(-1).split(_CHUNK_VALUES))
    return sum((a.double() * b.double()).sum() for a, b in pairs)


def cut(inputs, rows, n_samples):
    """Return the given rows of a mini-batch: of a tensor, or of each in a dict, list or tuple."""
    if isinstance(inputs, Mapping):
        return {key: cut(value, rows, n_samples) for key, value in inputs.items()}
    if type(inputs) in (list, tuple):
        return [cut(value, rows, n_samples) for value in inputs]
    if (
        not isinstance(inputs, torch.Tensor)
        or inputs.ndim == 0
        or len(inputs) != n_samples
    ):
        found = (
            tuple(inputs.shape)
            if isinstance(inputs, torch.Tensor)
            else type(inputs).__name__
        )
        raise InvalidDataError(
            f"a mini-batch of {n_samples} samples holds {found}, which cannot be cut into samples. "
            "Collate into tensors whose first axis is the sample."
        )
    return inputs[rows]
