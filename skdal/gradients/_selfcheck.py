"""The self-check: whether the numbers are those of plain autograd, and who is to blame."""

from contextlib import contextmanager

import torch

from skdal.exceptions import GradientMismatchError
from skdal.gradients._difference import first_difference, is_far
from skdal.gradients._hooks import output_hooks
from skdal.gradients._loop import (
    gradient_of,
    length_of,
    reduce_gradient,
    sample_statistics,
)
from skdal.gradients._second_opinion import is_alone_right
from skdal.utils import may_use_tf32, own_parameters, tree_leaves

# How far numbers may differ, relative to norms.
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}
# The same in TF32, bfloat16 and float16.
_COARSE = 5e-2
# Below it squared norms are compared absolutely: a saturated softmax underflows in float32,
# and so does the gradient of a class of no weight.
_FLOOR = 1e-36

_NOISE = (
    "{} gives something else when it runs again in eval mode, so that a sample has no "
    "gradient. Draw random numbers in train mode only (self.training)."
)
_WRONG_TOGETHER = (
    "Differences of losses agree with the sample alone: torch's own backward pass is wrong "
    "for mini-batches of this shape. Report the module to torch and use "
    'backend="loop", which runs each sample alone.'
)
_REMEDY = (
    'Report the module and use backend="loop", which is right wherever samples do not depend '
    "on each other."
)


def self_check(model, batch, question, found):
    """Recompute the two samples of largest sq_norm by plain autograd and compare.

    Parameters
    ----------
    model, batch, question
        Of the pass.
    found : Found
        By a backend; its sq_norm may be None.

    Raises
    ------
    GradientMismatchError
        They differ by more than the tolerance of the dtype, relative to norms. The message
        names the layer.
    """
    check = _SelfCheck(model, batch.labeled(found.label), question, found)
    for index in _largest(found):
        check.sample(index)


def refuse_noise(model, inputs):
    """Raise if the module does not give the same outputs twice.

    Raises
    ------
    GradientMismatchError
        It names the first module that does not.
    """
    with torch.no_grad():
        first = model.forward(inputs)
        second = model.forward(inputs)
    if is_far(first, second, tolerance_of({first.dtype}, first.is_cuda)):
        name = first_difference(model, inputs, inputs, _COARSE) or "the module"
        raise GradientMismatchError(f"self-check: {_NOISE.format(name)}", is_noise=True)


def tolerance_of(dtypes, on_cuda):
    """Return how far numbers may differ, relative to norms, that dtypes took part in."""
    if on_cuda and torch.float32 in dtypes and may_use_tf32():
        return _COARSE
    return max(_TOLERANCES.get(dtype, _COARSE) for dtype in dtypes)


def _largest(found):
    """Return the positions of the two largest samples; those not finite are left out.

    The latter are refused as scores.
    """
    size = found.dot.abs() if found.sq_norm is None else found.sq_norm
    finite = torch.where(torch.isfinite(size), size, -1.0)
    largest, indices = torch.topk(finite, min(2, len(finite)))
    return indices[largest >= 0].tolist()


class _SelfCheck:
    """Compares what was found for samples of a mini-batch with plain autograd."""

    def __init__(self, model, batch, question, found):
        self._model = model
        self._batch = batch
        self._question = question
        self._found = found
        self._length = length_of(question.direction)

    def sample(self, index):
        """Raise if what was found for a sample is wrong."""
        found = _row(self._found[:2], index)
        with _dtypes_met(self._model.module, self._question.parameters) as dtypes:
            *alone, _ = sample_statistics(
                self._model, self._batch, index, self._question
            )
        tolerance = tolerance_of(dtypes, self._batch.labels.is_cuda)
        if self._agree(found, alone, tolerance):
            return
        # A sample run alone may take the other side of a kink (a ReLU at 1e-9) by rounding.
        # That is benign if the mini-batch's own graph gives what was found and the outputs
        # do not differ.
        together = self._in_batch(index, tolerance)
        agrees = together is not None and self._agree(found, together, tolerance)
        if agrees and not self._is_outvoted(index):
            return
        is_noise = False
        diagnosis = _WRONG_TOGETHER
        if not agrees:
            diagnosis, is_noise = self._diagnosis(index, tolerance)
        first_names = ", ".join(list(self._question.parameters)[:3])
        raise GradientMismatchError(
            f"self-check: sample {index} of a mini-batch has (sq_norm, dot) = "
            f"{_shown(found)}; plain autograd gives {_shown(alone)} for the sample alone, "
            f"over {first_names}, .... {diagnosis}",
            is_noise=is_noise,
        )

    def _agree(self, found, expected, tolerance):
        """Tell whether two pairs (sq_norm, dot) are the same; what was not asked is None."""
        sq_norm, dot = found
        floored = expected[0] + _FLOOR / tolerance
        if sq_norm is not None:
            if not (sq_norm - expected[0]).abs() <= tolerance * floored:
                return False
        if dot is None:
            return True
        allowed = tolerance * floored.sqrt() * self._length + _FLOOR
        return bool((dot - expected[1]).abs() <= allowed)

    def _in_batch(self, index, tolerance):
        """Return a sample's (sq_norm, dot) by its mini-batch's graph.

        It is None where the sample's outputs are others if it is alone.
        """
        model = self._model
        question = self._question
        outputs = model.forward(self._batch.inputs)
        gradient, scale = gradient_of(
            model, outputs, self._batch.labels, question.parameters, rows=index
        )
        with torch.no_grad():
            alone = model.forward(self._batch.sample(index).inputs)[0]
        if is_far(alone, outputs[index].detach(), tolerance):
            return None
        return reduce_gradient(gradient, question.direction, scale)

    def _is_outvoted(self, index):
        """Tell whether losses side with a sample's gradient alone, against its mini-batch."""
        sample = self._batch.sample(index)
        alone = self._gradient(sample)
        together = self._gradient(self._batch, rows=index)
        return is_alone_right(self._model, sample, alone, together)

    def _gradient(self, batch, rows=slice(None)):
        outputs = self._model.forward(batch.inputs)
        gradient, scale = gradient_of(
            self._model, outputs, batch.labels, self._question.parameters, rows
        )
        return {name: g / scale for name, g in gradient.items()}

    def _diagnosis(self, index, tolerance):
        """Return what is wrong, and whether it is noise.

        Else it is samples that depend on each other, or a rule.
        """
        inputs = self._batch.inputs
        noisy = first_difference(self._model, inputs, inputs, tolerance)
        if noisy:
            return _NOISE.format(noisy), True
        name = first_difference(
            self._model,
            inputs,
            self._batch.sample(index).inputs,
            tolerance,
            row=index,
            n_samples=len(self._batch.labels),
        )
        if name:
            return (
                f"What {name} gives for a sample depends on the others: the samples depend "
                f"on each other. {_REMEDY}",
                False,
            )
        wrong = self._wrong_shares(index, tolerance)
        blame = "A rule is wrong, or the samples depend on each other"
        if wrong:
            blame = f"The rule for {'; '.join(wrong)} is wrong"
        return f"{blame}. {_REMEDY}", False

    def _wrong_shares(self, index, tolerance):
        """Return the names of parameters whose part of what was found is wrong."""
        sample = self._batch.sample(index)
        gradient, scale = gradient_of(
            self._model,
            self._model.forward(sample.inputs),
            sample.labels,
            self._question.parameters,
        )
        wrong = []
        for names, share in self._found.shares.items():
            part = {name: gradient[name] for name in names}
            expected = reduce_gradient(part, self._question.direction, scale)
            # A part counts only if its whole was asked for.
            asked = [
                None if whole is None else values
                for values, whole in zip(share, self._found)
            ]
            if not self._agree(_row(asked, index), expected, tolerance):
                wrong.append(", ".join(names))
        return wrong


@contextmanager
def _dtypes_met(module, parameters):
    """Give the dtypes of parameters, and of what all layers give in a block.

    Autocast may be coarser than the parameters.
    """
    dtypes = {parameter.dtype for parameter in parameters.values()}

    def note(name, inputs, output):
        tensors = tree_leaves(output)
        dtypes.update(x.dtype for x in tensors if x.is_floating_point())

    parts = module.named_modules()
    layers = {name: part for name, part in parts if own_parameters(part)}
    with output_hooks(layers, note):
        yield dtypes


def _row(columns, index):
    return tuple(None if values is None else values[index] for values in columns)


def _shown(statistics):
    values = ["none" if value is None else f"{value:.6g}" for value in statistics]
    return f"({', '.join(values)})"
