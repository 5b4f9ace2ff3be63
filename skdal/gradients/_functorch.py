"""The torch.func backend: per-sample gradients of the whole module by vmap, in small chunks."""

import torch
from torch.func import functional_call, grad, vmap

from skdal.gradients._loop import predicted_labels, reduce_gradient
from skdal.gradients._tape import Uncovered

_CHUNK_VALUES = 2**24  # gradient entries held at once


class _Forward(torch.nn.Module):
    """A model's forward pass as a module, so that functional_call can swap the parameters in."""

    def __init__(self, model):
        super().__init__()
        self.module = model.module
        self._forward = model.forward

    def forward(self, inputs):
        return self._forward(inputs)


def functorch_backend(model, inputs, labels, parameters, direction):
    """Return per-sample (sq_norm, dot, label) of a mini-batch; see `_backends`.

    Works for modules that torch.func can trace: no data-dependent branches, no recurrent kernels.

    Raises
    ------
    Uncovered
        torch.func cannot trace the module.
    """
    labels = predicted_labels(model, inputs) if labels is None else labels
    try:
        sq_norm, *dot = _per_sample(model, inputs, labels, parameters, direction)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise Uncovered({"the module": f"torch.func cannot trace it ({str(error).strip().splitlines()[0]})"}) from error
    return sq_norm, dot[0] if dot else None, labels


def _per_sample(model, inputs, labels, parameters, direction):
    forward = _Forward(model)

    def loss(values, sample, label):
        swapped = {f"module.{name}": value for name, value in values.items()}
        outputs = functional_call(forward, swapped, (_batch_of_one(sample),))
        return model.losses(outputs, label[None]).sum()

    def statistics(sample, label):
        sq_norm, dot = reduce_gradient(grad(loss)(values, sample, label), direction)
        return (sq_norm,) if dot is None else (sq_norm, dot)

    values = {name: parameter.detach() for name, parameter in parameters.items()}
    chunk = max(1, _CHUNK_VALUES // sum(value.numel() for value in values.values()))
    return vmap(statistics, chunk_size=chunk)(inputs, labels)


def _batch_of_one(sample):
    if isinstance(sample, dict):
        return {key: _batch_of_one(value) for key, value in sample.items()}
    if isinstance(sample, (list, tuple)):
        return [_batch_of_one(value) for value in sample]
    return sample[None]
