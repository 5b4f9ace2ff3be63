"""What is refused, and whether the numbers are right."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skdal.exceptions import CrossSampleLayerError, GradientMismatchError
from skdal.gradients._loop import cut, gradient_of, reduce_gradient, sample_statistics
from skdal.gradients._tape import output_hooks, tensors_in

_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}  # of the self-check, relative to norms
_FLOOR = 1e-36  # squared norms are compared absolutely below
_COARSE = 5e-2  # TF32, bfloat16, float16


def refuse_cross_sample_layers(module):
    """Raise if a layer of `module` gives a sample no gradient of its own; all are listed.

    Raises
    ------
    CrossSampleLayerError
        Batch-norm without running statistics; Embedding with `scale_grad_by_freq` (scales by the
        mini-batch) or `max_norm` (rewrites its weights whenever it runs).
    """
    problems = []
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            problems.append(f"{name} ({type(part).__name__}): no running statistics; use track_running_stats=True")
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.scale_grad_by_freq:
            problems.append(f"{name} ({type(part).__name__}): use scale_grad_by_freq=False")
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.max_norm is not None:
            problems.append(f"{name} ({type(part).__name__}): rewrites its weights whenever it runs; use max_norm=None")
    if problems:
        raise CrossSampleLayerError(
            "these layers mix the samples of a mini-batch, so that no sample has a gradient of its own: "
            + "; ".join(problems)
            + "."
        )


def self_check(model, inputs, labels, parameters, direction, statistics):
    """Recompute the two samples of largest sq_norm by plain autograd and compare.

    Raises
    ------
    GradientMismatchError
        They differ by more than the tolerance of the dtype, relative to norms.
    """
    sq_norm, dot = statistics
    owners = _owning(model.module, parameters)
    dtypes = {parameter.dtype for parameter in parameters.values()}
    length = 0.0 if direction is None else sum(v.double().square().sum() for v in direction.values()).sqrt()
    finite = torch.where(torch.isfinite(sq_norm), sq_norm, -1.0)  # the others are refused as scores
    largest, indices = torch.topk(finite, min(2, len(finite)))
    for index in indices[largest >= 0].tolist():
        found = sq_norm[index], None if dot is None else dot[index]
        with output_hooks(owners, lambda name, inputs, output: dtypes.update(x.dtype for x in tensors_in(output))):
            alone = sample_statistics(model, inputs, labels, index, parameters, direction)
        tolerance = _tolerance(dtypes, sq_norm.is_cuda)
        if _agree(found, alone, length, tolerance):
            continue
        # A sample run alone may take the other side of a kink (a ReLU at 1e-9) by rounding. That is
        # benign if the mini-batch's own graph gives what we found and the outputs do not differ.
        together, same_outputs = _in_batch(model, inputs, labels, index, parameters, direction, tolerance)
        if not (same_outputs and _agree(found, together, length, tolerance)):
            raise GradientMismatchError(
                f"self-check: sample {index} of a mini-batch has (sq_norm, dot) = {_show(found)}; plain autograd gives "
                f"{_show(alone)} for the sample alone, over {', '.join(list(parameters)[:3])}, .... Either "
                "the samples of a mini-batch depend on each other, or a rule is wrong. Report the module and use "
                'backend="loop", which is right wherever samples do not depend on each other.'
            )


def _owning(module, parameters):
    """Return the modules, by name, that own one of the parameters."""
    scored = {id(parameter) for parameter in parameters.values()}
    owns = lambda part: any(id(p) in scored for p in part._parameters.values())
    return {name: part for name, part in module.named_modules() if owns(part)}


def _agree(found, expected, length, tolerance):
    # Squares below the floor underflow in float32: a saturated softmax, a gradient of no weight.
    sq_norm = expected[0] + _FLOOR / tolerance
    if not (found[0] - expected[0]).abs() <= tolerance * sq_norm:
        return False
    return found[1] is None or bool((found[1] - expected[1]).abs() <= tolerance * sq_norm.sqrt() * length + _FLOOR)


def _in_batch(model, inputs, labels, index, parameters, direction, tolerance):
    outputs = model.forward(inputs)
    losses = model.losses(outputs, labels)
    together = reduce_gradient(gradient_of(losses[index], parameters), direction)
    with torch.no_grad():
        alone = model.forward(cut(inputs, slice(index, index + 1), len(labels)))[0]
    row = outputs[index].detach()
    return together, torch.linalg.norm(row - alone) <= tolerance * torch.linalg.norm(row)


def _tolerance(dtypes, on_cuda):
    """Return the tolerance for what the layers computed in (autocast may be coarser than the parameters)."""
    if on_cuda and torch.float32 in dtypes and _may_use_tf32():
        return _COARSE
    return max(_TOLERANCES.get(dtype, _COARSE) for dtype in dtypes if dtype.is_floating_point)


def _may_use_tf32():
    try:
        return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set by the newer `fp32_precision`, which these cannot express
        return True


def _show(statistics):
    return "(" + ", ".join("none" if value is None else f"{float(value):.6g}" for value in statistics) + ")"
