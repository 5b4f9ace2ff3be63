"""The torch.func backend: per-sample gradients of the whole module by vmap."""

from torch.func import grad

from skdal.gradients._ladder import (
    UNTRACEABLE,
    per_sample,
    raise_if_foreign,
    refuse_untraceable,
    samples_held,
    values_of,
)
from skdal.gradients._loop import predicted_labels, reduce_gradient
from skdal.gradients._minibatch import batch_of_one
from skdal.gradients._statistics import Found
from skdal.gradients._uncovered import Uncovered
from skdal.utils import frozen, reason, swapped


class FunctorchBackend:
    """Per-sample statistics by torch.func, in small chunks.

    It works for modules that torch.func can trace: no branches that depend on the data, no
    recurrent kernels.
    """

    def __call__(self, model, batch, question):
        """Return what is `Found` for a mini-batch; see `_backends`.

        Raises
        ------
        Uncovered
            torch.func cannot trace the module.
        """
        refuse_untraceable(model.module)
        labels = batch.labels
        if labels is None:
            labels = predicted_labels(model, batch.inputs)
        try:
            with frozen(model.module):
                sq_norm, *dot = _statistics(model, batch.inputs, labels, question)
        except UNTRACEABLE as error:
            raise_if_foreign(error)
            problem = f"torch.func cannot trace it ({reason(error)})"
            raise Uncovered({"the module": problem}) from error
        return Found(sq_norm, dot[0] if dot else None, labels)


def _statistics(model, inputs, labels, question):
    """Return (sq_norm,), or (sq_norm, dot), of a mini-batch."""
    parameters = question.parameters
    values = values_of(parameters)

    def loss(values, sample, label):
        with swapped(model.module, parameters, values):
            outputs = model.forward(batch_of_one(sample))
            return model.losses(outputs, label[None]).sum()

    def of_sample(sample, label):
        gradient = grad(loss)(values, sample, label)
        sq_norm, dot = reduce_gradient(gradient, question.direction)
        return (sq_norm,) if dot is None else (sq_norm, dot)

    chunk_size = samples_held(values)
    return per_sample(of_sample, chunk_size=chunk_size)(inputs, labels)
