"""The self-check: whether the numbers are those of plain autograd, and which layer is to blame if not."""

import torch

from skdal.exceptions import GradientMismatchError
from skdal.gradients._loop import cut, gradient_of, reduce_gradient, sample_statistics
from skdal.gradients._second_opinion import is_alone_right
from skdal.gradients._tape import output_hooks, tensors_in
from skdal.utils import may_use_tf32

_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}  # relative to norms
_COARSE = 5e-2  # TF32, bfloat16, float16
_FLOOR = 1e-36  # squared norms are compared absolutely below


def self_check(model, inputs, labels, parameters, direction, statistics, shares=None):
    """Recompute the two samples of largest sq_norm by plain autograd and compare.

    Parameters
    ----------
    model, inputs, labels, parameters, direction
        Of the pass.
    statistics : (sq_norm, dot)
        What was found, (n,) each; one may be None.
    shares : dict of tuple of str to (sq_norm, dot), optional
        Each layer's part of it, by its parameters' names.

    Raises
    ------
    GradientMismatchError
        They differ by more than the tolerance of the dtype, relative to norms. The message names
        the layer; `is_noise` tells that the module does not give the same twice.
    """
    sq_norm, dot = statistics
    size = dot.abs() if sq_norm is None else sq_norm
    length = 0.0 if direction is None else reduce_gradient(direction, None)[0].sqrt()
    # A part counts only if its whole was asked for.
    parts = {
        names: [p if whole is not None else None for p, whole in zip(share, statistics)]
        for names, share in (shares or {}).items()
    }
    finite = torch.where(
        torch.isfinite(size), size, -1.0
    )  # the others are refused as scores
    largest, indices = torch.topk(finite, min(2, len(finite)))
    for index in indices[largest >= 0].tolist():
        found = tuple(
            None if values is None else values[index] for values in statistics
        )
        with _dtypes_of(model.module, parameters) as dtypes:
            *alone, _ = sample_statistics(
                model, inputs, labels, index, parameters, direction, len(labels)
            )
        tolerance = tolerance_of(dtypes, size.is_cuda)
        if _agree(found, alone, length, tolerance):
            continue
        # A sample run alone may take the other side of a kink (a ReLU at 1e-9) by rounding. That is
        # benign if the mini-batch's own graph gives what we found and the outputs do not differ.
        together, same_outputs = _in_batch(
            model, inputs, labels, index, parameters, direction, tolerance
        )
        agrees = same_outputs and _agree(found, together, length, tolerance)
        if agrees and not _is_outvoted(model, inputs, labels, index, parameters):
            continue
        if agrees:
            reason, is_noise = _WRONG_TOGETHER, False
        else:
            reason, is_noise = _diagnosis(
                model, inputs, labels, index, parameters, direction, parts, tolerance
            )
        error = GradientMismatchError(
            f"self-check: sample {index} of a mini-batch has (sq_norm, dot) = {_show(found)}; plain autograd gives "
            f"{_show(alone)} for the sample alone, over {', '.join(list(parameters)[:3])}, .... {reason}"
        )
        error.is_noise = is_noise
        raise error


def refuse_noise(model, inputs):
    """Raise if the module does not give the same outputs twice.

    Raises
    ------
    GradientMismatchError
        It names the first module that does not.
    """
    with torch.no_grad():
        first, second = model.forward(inputs), model.forward(inputs)
    if _far(first, second, tolerance_of({first.dtype}, first.is_cuda)):
        error = GradientMismatchError(
            f"self-check: {_noisy(model, inputs, _COARSE) or _NOISE.format('the module')}"
        )
        error.is_noise = True
        raise error


class _dtypes_of:
    """The dtypes of parameters, and of what all layers give in a block (autocast may be coarser)."""

    def __init__(self, module, parameters):
        self._dtypes = {parameter.dtype for parameter in parameters.values()}
        layers = {
            name: part for name, part in module.named_modules() if part._parameters
        }
        self._hooks = output_hooks(layers, self._note)

    def _note(self, name, inputs, output):
        self._dtypes.update(
            x.dtype for x in tensors_in(output) if x.is_floating_point()
        )

    def __enter__(self):
        self._hooks.__enter__()
        return self._dtypes

    def __exit__(self, *error):
        return self._hooks.__exit__(*error)


def _agree(found, expected, length, tolerance):
    # Squares below the floor underflow in float32: a saturated softmax, a gradient of no weight.
    sq_norm = expected[0] + _FLOOR / tolerance
    if (
        found[0] is not None
        and not (found[0] - expected[0]).abs() <= tolerance * sq_norm
    ):
        return False
    return found[1] is None or bool(
        (found[1] - expected[1]).abs() <= tolerance * sq_norm.sqrt() * length + _FLOOR
    )


_WRONG_TOGETHER = (
    "Differences of losses agree with the sample alone: torch's own backward pass is wrong for mini-batches of this "
    'shape. Report the module to torch and use backend="loop", which runs each sample alone.'
)


def _is_outvoted(model, inputs, labels, index, parameters):
    """Tell whether losses say that a sample's gradient alone is right, and that in its mini-batch is not."""
    sample, label = (
        cut(inputs, slice(index, index + 1), len(labels)),
        labels[index : index + 1],
    )
    alone = _unscaled(*gradient_of(model, model.forward(sample), label, parameters))
    together = _unscaled(
        *gradient_of(model, model.forward(inputs), labels, parameters, rows=index)
    )
    return is_alone_right(model, inputs, labels, index, alone, together)


def _unscaled(gradient, scale):
    return {name: g / scale for name, g in gradient.items()}


def _in_batch(model, inputs, labels, index, parameters, direction, tolerance):
    outputs = model.forward(inputs)
    gradient, scale = gradient_of(model, outputs, labels, parameters, rows=index)
    together = reduce_gradient(gradient, direction, scale)
    with torch.no_grad():
        alone = model.forward(cut(inputs, slice(index, index + 1), len(labels)))[0]
    return together, not _far(alone, outputs[index].detach(), tolerance)


def _far(x, y, tolerance):
    return x.shape != y.shape or not torch.linalg.norm(
        (x - y).double()
    ) <= tolerance * torch.linalg.norm(y.double())


def tolerance_of(dtypes, on_cuda):
    if on_cuda and torch.float32 in dtypes and may_use_tf32():
        return _COARSE
    return max(_TOLERANCES.get(dtype, _COARSE) for dtype in dtypes)


_NOISE = (
    "{} gives something else when it runs again in eval mode, so that a sample has no gradient. Draw random numbers "
    "in train mode only (self.training)."
)


def _diagnosis(model, inputs, labels, index, parameters, direction, shares, tolerance):
    """Return what is wrong, and whether it is noise: randomness, samples that depend on each other, or a rule."""
    if noisy := _noisy(model, inputs, tolerance):
        return noisy, True
    remedy = 'Report the module and use backend="loop", which is right wherever samples do not depend on each other.'
    sample = cut(inputs, slice(index, index + 1), len(labels))
    if name := _first_difference(model, inputs, sample, index, len(labels), tolerance):
        return (
            f"What {name} gives for a sample depends on the others: the samples depend on each other. {remedy}",
            False,
        )
    gradient, scale = gradient_of(
        model, model.forward(sample), labels[index : index + 1], parameters
    )
    length = 0.0 if direction is None else reduce_gradient(direction, None)[0].sqrt()
    wrong = []
    for names, share in shares.items():
        part = reduce_gradient(
            {name: gradient[name] for name in names}, direction, scale
        )
        found = tuple(None if values is None else values[index] for values in share)
        if not _agree(found, part, length, tolerance):
            wrong.append(", ".join(names))
    blame = (
        f"The rule for {'; '.join(wrong)} is wrong"
        if wrong
        else "A rule is wrong, or the samples depend on each other"
    )
    return f"{blame}. {remedy}", False


def _noisy(model, inputs, tolerance):
    name = _first_difference(model, inputs, inputs, slice(None), None, tolerance)
    return _NOISE.format(name) if name else None


def _first_difference(model, inputs, others, rows, n_samples, tolerance):
    """Return the first module whose output for `rows` of a mini-batch is another for other inputs, or None."""
    first, second = _outputs(model, inputs), _outputs(model, others)
    for (name, kind, x), (other, _, y) in zip(first, second):
        if name != other:
            return f"{name} or {other}, of which one run has one,"
        if n_samples is not None and (x.ndim == 0 or len(x) != n_samples):
            continue
        part = x if n_samples is None else x[rows][None]
        if _far(part, y, tolerance):
            return f"{name or 'the module itself'} ({kind})"
    return None


def _outputs(model, inputs):
    """Return what every module gives, in the order in which they end: (name, class, tensor)."""
    seen = []

    def record(name, _, output):
        seen.extend(
            (name, type(modules[name]).__name__, x.detach().clone())
            for x in tensors_in(output)[:1]
        )

    modules = dict(model.module.named_modules())
    with torch.no_grad(), output_hooks(modules, record):
        model.forward(inputs)
    return seen


def _show(statistics):
    return (
        "("
        + ", ".join(
            "none" if value is None else f"{float(value):.6g}" for value in statistics
        )
        + ")"
    )
