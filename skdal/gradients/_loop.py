"""The reference: one forward and one backward pass per sample, by plain autograd."""

import torch

from skdal.gradients._backward import dense_gradients
from skdal.gradients._seeds import differentiable, summed_seeds
from skdal.gradients._statistics import Found

_CHUNK_VALUES = 2**16


class LoopBackend:
    """Per-sample statistics by plain autograd.

    It works for every module. Each sample runs by itself, so its label is the one that it
    gets alone.
    """

    def __call__(self, model, batch, question):
        """Return what is `Found` for a mini-batch; see `_backends`."""
        rows = [
            sample_statistics(model, batch, index, question)
            for index in range(len(batch))
        ]
        sq_norm, dot, labels = zip(*rows)
        dot = None if question.direction is None else torch.stack(dot)
        return Found(torch.stack(sq_norm), dot, torch.cat(labels))


def predicted_labels(model, inputs):
    """Return each sample's own label, the argmax of its outputs."""
    with torch.no_grad():
        return model.forward(inputs).argmax(1)


def sample_statistics(model, batch, index, question):
    """Return (sq_norm, dot, label) of one sample of a mini-batch, run by itself."""
    sample = batch.sample(index)
    outputs = model.forward(sample.inputs)
    label = sample.labels
    if label is None:
        label = outputs.detach().argmax(1)
    gradient, scale = gradient_of(model, outputs, label, question.parameters)
    return *reduce_gradient(gradient, question.direction, scale), label


def gradient_of(model, outputs, labels, parameters, rows=slice(None)):
    """Return the gradient of the sum over some rows of the losses, scaled, and the scale.

    The gradient is a dict by name, with zeros where the losses do not depend on a parameter.
    """
    seeds, scale = summed_seeds(model, outputs, labels, rows)
    tensors, seed_gradients = differentiable(seeds)
    if not tensors:
        zeros = {name: torch.zeros_like(p) for name, p in parameters.items()}
        return zeros, scale
    gradients = dense_gradients(tensors, list(parameters.values()), seed_gradients)
    return dict(zip(parameters, gradients)), scale


def reduce_gradient(gradient, direction, scale=1.0):
    """Return (squared norm, inner product or None) of a gradient over its scale.

    Both are float64.
    """
    squares = sum(_inner(g, g) for g in gradient.values())
    sq_norm = squares / scale / scale
    if direction is None:
        return sq_norm, None
    products = (_inner(g, direction[name]) for name, g in gradient.items())
    dot = sum(products) / scale
    return sq_norm, dot


def length_of(direction):
    """Return the length of a direction, 0 without one."""
    if direction is None:
        return 0.0
    sq_norm, _ = reduce_gradient(direction, None)
    return sq_norm.sqrt()


def gradient_entries(value, parameters):
    """Return the gradient of a scalar by parameters (by name), flat; its graph is kept."""
    gradients = dense_gradients(value, list(parameters.values()), retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def _inner(x, y):
    # Fresh memory costs more than arithmetic, so a large gradient is widened in parts.
    parts_of_x = x.reshape(-1).split(_CHUNK_VALUES)
    parts_of_y = y.reshape(-1).split(_CHUNK_VALUES)
    total = 0
    for a, b in zip(parts_of_x, parts_of_y):
        product = a.double() * b.double()
        total = total + product.sum()
    return total
