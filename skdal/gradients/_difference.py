"""Where two runs of a module begin to differ."""

import torch

from skdal.gradients._hooks import output_hooks
from skdal.utils import tree_leaves


def first_difference(
    model,
    inputs,
    others,
    tolerance,
    *,
    row=None,
    n_samples=None,
):
    """Return the first module that gives something else for other inputs, or None.

    Parameters
    ----------
    model : object
        With `module` and `forward`.
    inputs, others : tree of tensors
        What it is run on: the same, or a mini-batch and one of its samples alone.
    tolerance : float
        Relative to norms.
    row : int, optional
        Of the sample in its mini-batch.
    n_samples : int, optional
        Length of the mini-batch; outputs of another length are left out.
    """
    first = _outputs(model, inputs)
    second = _outputs(model, others)
    for (name, kind, x), (other, _, y) in zip(first, second):
        if name != other:
            return f"{name} or {other}, of which one run has one,"
        if row is not None:
            if x.ndim == 0 or len(x) != n_samples:
                continue
            x = x[row][None]
        if is_far(x, y, tolerance):
            return f"{name or 'the module itself'} ({kind})"
    return None


def is_far(x, y, tolerance):
    """Tell whether two tensors differ by more than a tolerance relative to the second."""
    if x.shape != y.shape:
        return True
    distance = torch.linalg.norm((x - y).double())
    # The distance may be NaN.
    return not distance <= tolerance * torch.linalg.norm(y.double())


def _outputs(model, inputs):
    """Return (name, class, tensor) of what every module gives, in the order of their ends.

    Of several outputs it is the first.
    """
    modules = dict(model.module.named_modules())
    outputs = []

    def record(name, _, output):
        kind = type(modules[name]).__name__
        outputs.extend(
            (name, kind, x.detach().clone()) for x in tree_leaves(output)[:1]
        )

    with torch.no_grad(), output_hooks(modules, record):
        model.forward(inputs)
    return outputs
