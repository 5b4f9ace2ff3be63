"""Proof that the samples of a mini-batch do not depend on each other.

The loss of the first sample, and of the last, must not depend on what any layer gives for
the others.
"""

from typing import Any, NamedTuple

import torch

from skdal.exceptions import CrossSampleLayerError
from skdal.gradients._backward import differentiate
from skdal.gradients._uncovered import Uncovered
from skdal.gradients.rules._forms import sample_first


class _Watched(NamedTuple):
    """An output that has the sample as its first axis, or as another.

    `name` is that of a module, or of a layer that is a function.
    """

    name: str
    output: torch.Tensor
    axis: Any

    def rows(self, gradient, n_samples):
        """Return the gradient (n, ...) of the output by sample."""
        if self.axis is None:
            return sample_first(gradient, n_samples)
        return gradient.movedim(self.axis, 0)


def refuse_mixing(model, trace, layer_names, linear_names):
    """Raise if a sample's loss depends on what some layer gives for another sample.

    Parameters
    ----------
    model : object
        With `forward`.
    trace : Trace
        Of a few samples.
    layer_names : dict of str to list of str
        Layer to the names of its parameters.
    linear_names : dict of int to str
        Id of a weight to the layer that is its calls of `linear`.

    Raises
    ------
    CrossSampleLayerError
        The sample's outputs are others if it is run alone: the net mixes samples.
    Uncovered
        They are not: a layer has its samples along another axis than it seems.
    """
    if trace.n_samples == 1:
        return
    watched = _watched(trace, linear_names)
    for sample in sorted({0, trace.n_samples - 1}):
        mixed = mixed_layers(trace.losses, watched, sample)
        if not mixed:
            continue
        if _is_the_same_alone(model, trace, sample):
            names = [name for layer in mixed for name in layer_names.get(layer, [])]
            problem = "the first axis is not the sample"
            raise Uncovered(dict.fromkeys(names or mixed, problem))
        last = mixed[-1]
        raise CrossSampleLayerError(
            "the module mixes the samples of a mini-batch after "
            f"{_described(last, trace)}{_next_unmixed(last, trace)}, so that no sample has "
            "a gradient of its own."
        )


def mixed_layers(losses, watched, sample):
    """Return the names of outputs whose rows of other samples a sample's loss depends on."""
    outputs = [row.output for row in watched]
    gradients = differentiate(
        losses[sample], outputs, retain_graph=True, allow_unused=True
    )
    n_samples = len(losses)
    others = [i for i in range(n_samples) if i != sample]
    return [
        row.name
        for row, gradient in zip(watched, gradients)
        if gradient is not None and _any_nonzero(row.rows(gradient, n_samples)[others])
    ]


def _any_nonzero(values):
    return bool((values.nan_to_num(nan=0.0) != 0).any())


def _watched(trace, linear_names):
    watched = [
        _Watched(call.name, call.outputs[0], call.axis)
        for call in _layer_calls(trace)
        if call.outputs and call.axis is not None
    ]
    watched += [
        _Watched(linear_names[id(call.weight)], call.output, None)
        for call in trace.linear_calls
        if id(call.weight) in linear_names
    ]
    return [row for row in watched if row.output.requires_grad]


def _layer_calls(trace):
    """Return the calls of modules, but for parametrizations: these make weights."""
    return [call for call in trace.calls if ".parametrizations." not in f".{call.name}"]


def _is_the_same_alone(model, trace, sample):
    with torch.no_grad():
        alone = model.forward(trace.batch.sample(sample).inputs)[0]
    together = trace.outputs[sample].detach()
    distance = torch.linalg.norm(alone - together)
    return bool(distance <= 1e-3 * torch.linalg.norm(together))


def _next_unmixed(name, trace):
    names = [call.name for call in _layer_calls(trace)]
    if name not in names:
        return ""
    n_seen = len(names) - names[::-1].index(name)
    for later in names[n_seen:]:
        is_leaf = not list(trace.modules[later].children())
        if is_leaf:
            return f" and no later than in {_described(later, trace)}"
    return ""


def _described(name, trace):
    if name not in trace.modules:
        return name
    return f"{name} ({type(trace.modules[name]).__name__})"
