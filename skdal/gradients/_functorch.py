"""The torch.func backend: per-sample gradients of the whole module by vmap, in small chunks."""

import warnings

import torch
from torch.func import grad, vmap

from skdal.exceptions import SkdalError
from skdal.gradients._loop import predicted_labels, reduce_gradient
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._tape import Uncovered
from skdal.utils import frozen, reason, swapped

_CHUNK_VALUES = 2**24  # gradient entries held at once
# What the parts of a module raise where torch.func traces them; others, such as of files, are the module's own.
UNTRACEABLE = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
)


def functorch_backend(model, inputs, labels, parameters, direction):
    """Return per-sample (sq_norm, dot, label) of a mini-batch; see `_backends`.

    Works for modules that torch.func can trace: no data-dependent branches, no recurrent kernels.

    Raises
    ------
    Uncovered
        torch.func cannot trace the module.
    """
    refuse_untraceable(model.module)
    labels = predicted_labels(model, inputs) if labels is None else labels
    try:
        with frozen(model.module), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "There is a performance drop"
            )  # of torch.func; the log says it is slower
            sq_norm, *dot = _per_sample(model, inputs, labels, parameters, direction)
    except UNTRACEABLE as error:
        if is_out_of_memory(error) or isinstance(error, SkdalError):
            raise
        raise Uncovered(
            {"the module": f"torch.func cannot trace it ({reason(error)})"}
        ) from error
    return sq_norm, dot[0] if dot else None, labels


def _per_sample(model, inputs, labels, parameters, direction):
    def loss(values, sample, label):
        with swapped(model.module, parameters, values):
            return model.losses(model.forward(batch_of_one(sample)), label[None]).sum()

    def statistics(sample, label):
        sq_norm, dot = reduce_gradient(grad(loss)(values, sample, label), direction)
        return (sq_norm,) if dot is None else (sq_norm, dot)

    values = {name: parameter.detach() for name, parameter in parameters.items()}
    chunk = max(1, _CHUNK_VALUES // sum(value.numel() for value in values.values()))
    return vmap(statistics, chunk_size=chunk)(inputs, labels)


def refuse_untraceable(module):
    """Raise if torch.func is known not to trace a part.

    Raises
    ------
    Uncovered
        It is a recurrent or scripted one.
    """
    for name, part in module.named_modules():
        if isinstance(part, (torch.nn.RNNBase, torch.jit.ScriptModule)):
            raise Uncovered({name: f"torch.func cannot trace {type(part).__name__}"})


def batch_of_one(sample):
    """Return a sample, a tensor or dicts and lists of them, with an axis of one sample."""
    if isinstance(sample, dict):
        return {key: batch_of_one(value) for key, value in sample.items()}
    if isinstance(sample, (list, tuple)):
        return [batch_of_one(value) for value in sample]
    return sample[None]
