"""What is refused, what the rules cover, and whether the numbers are right."""

from collections import Counter

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skdal.exceptions import CrossSampleLayerError, GradientMismatchError
from skdal.gradients._loop import cut, gradient_of, reduce_gradient, sample_statistics
from skdal.gradients._parameters import owners_of
from skdal.gradients._tape import Uncovered, has_sample_axis, output_hooks
from skdal.gradients.rules import rule_for

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


def prove_coverage(model, inputs, labels, parameters):
    """Raise `Uncovered` unless recorded layer calls account for every use of every parameter.

    The mini-batch is run once with the parameters in the autograd graph. Every use of a parameter
    is an edge to its AccumulateGrad node; each must belong to one call of the module that owns it,
    and that module must have a rule.
    """
    owners, shared = owners_of(model.module, parameters)
    calls, hidden = [], set()

    def record(name, layer_inputs, output):
        if not torch.is_grad_enabled():
            hidden.add(name)
            return
        calls.append((name, getattr(output, "grad_fn", None), layer_inputs, output))

    with output_hooks(owners, record):
        outputs = model.forward(inputs)
        losses = model.losses(outputs, outputs.detach().argmax(1) if labels is None else labels)
    uses, nodes, custom = _walk(losses.sum())
    problems = {}
    for name, (module, names) in owners.items():
        ran = [
            has_sample_axis(layer_inputs, output, len(losses))
            for called, node, layer_inputs, output in calls
            if called == name and (node in nodes or rule_for(module) is None)
        ]
        for full_name in names.values():
            reason = _problem(module, name, uses[id(parameters[full_name])], ran, name in hidden and custom)
            if full_name in shared and uses[id(parameters[full_name])]:
                reason = "shared between modules"
            if reason:
                problems[full_name] = reason
    if problems:
        raise Uncovered(problems)


def _problem(module, name, n_uses, ran, may_be_hidden):
    """Return why a parameter of `module` is not covered, or None."""
    where = f"{name or 'the module itself'} ({type(module).__name__})"
    if may_be_hidden:
        return f"{where} runs inside a custom autograd function"
    if rule_for(module) is None:
        return f"no rule for {where}" if n_uses or ran else None
    if n_uses != len(ran):
        return f"used outside {where}"
    return None if all(ran) else f"the first axis in {where} is not the sample"


def graph_signature(losses):
    """Return the kinds of operations in the autograd graph and how often each is there."""
    return frozenset(Counter(type(node).__name__ for node in _walk(losses)[1]).items())


def _walk(losses):
    """Return the uses of each leaf by id, all nodes of the graph, and whether one is custom."""
    uses, nodes, stack = Counter(), set(), [losses.grad_fn] if losses.grad_fn else []
    while stack:
        node = stack.pop()
        if node in nodes:
            continue
        nodes.add(node)
        for following, _ in node.next_functions:
            if following is None:
                continue
            if hasattr(following, "variable"):
                uses[id(following.variable)] += 1
            else:
                stack.append(following)
    custom = any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in nodes)
    return uses, nodes, custom


def self_check(model, inputs, labels, parameters, direction, statistics):
    """Recompute the two samples of largest sq_norm by plain autograd and compare.

    Raises
    ------
    GradientMismatchError
        They differ by more than the tolerance of the dtype, relative to norms.
    """
    sq_norm, dot = statistics
    owners, _ = owners_of(model.module, parameters)
    dtypes = {parameter.dtype for parameter in parameters.values()}
    length = 0.0 if direction is None else sum(v.double().square().sum() for v in direction.values()).sqrt()
    finite = torch.where(torch.isfinite(sq_norm), sq_norm, -1.0)  # the others are refused as scores
    largest, indices = torch.topk(finite, min(2, len(finite)))
    for index in indices[largest >= 0].tolist():
        found = sq_norm[index], None if dot is None else dot[index]
        with output_hooks(owners, lambda name, layer_inputs, output: dtypes.add(getattr(output, "dtype", None))):
            alone = sample_statistics(model, inputs, labels, index, parameters, direction)
        tolerance = _tolerance(dtypes - {None}, sq_norm.is_cuda)
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
    return max(_TOLERANCES.get(dtype, _COARSE) for dtype in dtypes)


def _may_use_tf32():
    try:
        return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set by the newer `fp32_precision`, which these cannot express
        return True


def _show(statistics):
    return "(" + ", ".join("none" if value is None else f"{float(value):.6g}" for value in statistics) + ")"
