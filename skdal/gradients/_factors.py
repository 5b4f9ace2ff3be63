"""Gradients of several values a sample, kept in the form that their inner products are cheapest in.

A Linear layer with one position has the gradient b a^T of a value, a its input and b the value's derivative by its
output, and inner products are (a . a') (b . b'): nothing of the size of the weight is made. What other parameters have
is kept entry by entry.
"""

import logging
import warnings
from typing import NamedTuple

import torch
from torch import nn
from torch.func import jacrev, vmap
from torch.utils.checkpoint import CheckpointError

from skdal.exceptions import SkdalError
from skdal.gradients._backward import differentiate
from skdal.gradients._coverage import cover
from skdal.gradients._functorch import UNTRACEABLE, batch_of_one, refuse_untraceable
from skdal.gradients._isolated import Isolated
from skdal.gradients._loop import cut
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._tape import Tape, Uncovered, arguments, output_hooks, tensors_in
from skdal.utils import frozen, reason, swapped

logger = logging.getLogger("skdal")
_PART = 2**14  # entries that are summed in the gradients' own type
_FEW = 3  # samples on which it is shown what covers a parameter


class RunsOtherwise(Exception):
    """Some samples run Linear layers otherwise than those on which coverage was shown; internal."""


class Dense(NamedTuple):
    """Gradients by a Linear layer's parameters.

    Attributes
    ----------
    a : tensor (n, d) or None
        Inputs of the layer; None where its weight is not among the parameters.
    b : tensor (n, m, p)
        Derivatives of the values by the layer's outputs.
    has_bias : bool
        Whether its bias is.
    """

    a: torch.Tensor
    b: torch.Tensor
    has_bias: bool


class Factors(NamedTuple):
    """Gradients of m values of each of n samples.

    Attributes
    ----------
    dense : dict of str to Dense
        By the layer's name.
    entries : tensor (n, m, P)
        By all other parameters.
    """

    dense: dict
    entries: torch.Tensor

    def gram(self, other, *, traced):
        """Return the inner products with other gradients.

        Parameters
        ----------
        other : Factors
            Of n' samples and m' values.
        traced : bool
            Sum over equal values of both.

        Returns
        -------
        tensor (n, m, n', m'), or (n, n') where traced; float64
        """
        total = _products(self.entries, other.entries, traced)
        for name, (a, b, has_bias) in self.dense.items():
            inner = float(has_bias)
            if a is not None:
                of_inputs = _products(a[:, None], other.dense[name].a[:, None], True)
                inner += of_inputs if traced else of_inputs[:, None, :, None]
            total += inner * _products(b, other.dense[name].b, traced)
        return total


def _products(one, other, traced):
    """Return inner products of (n, m, P) and (n', m', P) in float64: of parts, whose roundings do not add up."""
    wide = torch.promote_types(one.dtype, torch.float32)
    parts = (
        (x.flatten(1) if traced else x.flatten(0, 1)).split(_PART, 1)
        for x in (one, other)
    )
    total = sum((x.to(wide) @ y.to(wide).T).double() for x, y in zip(*parts))
    return total if traced else total.view(len(one), one.shape[1], len(other), -1)


def concatenated(parts):
    """Return the `Factors` of the samples of several, in their order."""
    dense = {}
    for name, first in parts[0].dense.items():
        a = (
            None
            if first.a is None
            else torch.cat([part.dense[name].a for part in parts])
        )
        dense[name] = Dense(
            a, torch.cat([part.dense[name].b for part in parts]), first.has_bias
        )
    return Factors(dense, torch.cat([part.entries for part in parts]))


class Factorizer:
    """Makes `Factors` of mini-batches.

    Parameters
    ----------
    model : object
        With `module` and `forward`.
    parameters : dict of str to Parameter
        What to differentiate by.
    values : callable
        (outputs (n, K), labels (n,) or None) -> (n, m), each row of the sample's own.
    inputs, labels
        A first mini-batch, on which it is shown which Linear layers can be kept factored.
    factors : bool
        Whether any may be.

    Attributes
    ----------
    n_values : int
        m.
    rest : dict of str to Parameter
        Those that are not kept factored.
    """

    def __init__(self, model, parameters, values, inputs, labels, *, factors=True):
        self._model, self._parameters, self._values, self._is_traceable = (
            model,
            parameters,
            values,
            True,
        )
        n = len(tensors_in(inputs)[0])
        few, few_labels = (
            cut(inputs, slice(0, _FEW), n),
            None if labels is None else labels[:_FEW],
        )
        with torch.no_grad():
            self.n_values = values(model.forward(few), few_labels).shape[1]
        self._layers = self._dense_layers(few, few_labels) if factors else {}
        dense = {
            name for layer in self._layers.values() for name in layer.names.values()
        }
        self.rest = {name: p for name, p in parameters.items() if name not in dense}

    @property
    def n_held(self):
        """How many numbers the gradients of a sample take."""
        sizes = (
            (layer.module.in_features, layer.module.out_features)
            for layer in self._layers.values()
        )
        return sum(d + self.n_values * p for d, p in sizes) + self.n_entries

    @property
    def n_entries(self):
        """How many of these are not factored."""
        return self.n_values * sum(p.numel() for p in self.rest.values())

    def __call__(self, inputs, labels):
        """Return the `Factors` of a mini-batch.

        Raises
        ------
        RunsOtherwise
            What was shown on the first samples does not hold for these.
        """
        by_value = []
        try:
            if self._layers:
                self._check_still_covered(inputs)
                by_value = [
                    self._of_value(k, inputs, labels) for k in range(self.n_values)
                ]
        except Uncovered as error:
            raise RunsOtherwise(str(error)) from error
        dense = {}
        for name, layer in self._layers.items():
            a, b = (
                by_value[0][name][0],
                torch.stack([found[name][1] for found in by_value], dim=1),
            )
            dense[name] = Dense(
                a if "weight" in layer.names else None, b, "bias" in layer.names
            )
        entries = self._entries(inputs, labels)
        return Factors(
            dense, entries.to(torch.promote_types(entries.dtype, torch.float32))
        )

    # --- Linear layers ----------------------------------------------------------------------------

    def _covered(self, inputs):
        """Return the Linear layers, by name, whose calls are all uses of their parameters in a mini-batch."""
        layers = cover(self._model, inputs, None, self._parameters).layers
        by_rule = {
            name: layer
            for name, layer in layers.items()
            if not isinstance(layer.statistics, Isolated)
        }
        return {
            name: layer
            for name, layer in by_rule.items()
            if type(layer.module) is nn.Linear
        }

    def _check_still_covered(self, inputs):
        covered = {name: layer.names for name, layer in self._covered(inputs).items()}
        if changed := [
            name
            for name, layer in self._layers.items()
            if covered.get(name) != layer.names
        ]:
            raise Uncovered(dict.fromkeys(changed, "not used, or in other ways too"))

    def _dense_layers(self, few, labels):
        """Return those of which each sample makes one call on (n, d)."""
        try:
            linears = self._covered(few)
        except Uncovered:
            return {}
        calls = {}
        note = lambda name, called, _: calls.setdefault(name, []).append(
            tensors_in(called)[0].ndim
        )
        with torch.no_grad(), output_hooks(_modules(linears), note):
            self._model.forward(few)
        self._layers = {
            name: layer for name, layer in linears.items() if calls.get(name) == [2]
        }
        try:
            self._of_value(0, few, labels)
        except Uncovered:
            return {}
        return self._layers

    def _of_value(self, k, inputs, labels):
        """Return, by layer, its input (n, d) and the derivatives (n, p) of value k by its output."""
        found, n = {}, len(tensors_in(inputs)[0])
        keep = lambda name: lambda *call: _keep(found, name, *call)
        tape = Tape(
            {
                name: layer._replace(statistics=keep(name))
                for name, layer in self._layers.items()
            },
            None,
        )
        tape.n_samples = n
        with (
            frozen(self._model.module),
            output_hooks(_modules(self._layers), tape.record),
        ):
            value = self._values(self._model.forward(inputs), labels)[:, k].sum()
        if value.requires_grad:
            try:
                differentiate(value, tape.roots, allow_unused=True)
            except CheckpointError as error:
                raise Uncovered(
                    {"the module": "it runs again in the backward pass (checkpointing)"}
                ) from error
        tape.fold_rest()
        for (
            name,
            layer,
        ) in self._layers.items():  # of a value that does not depend on the layer
            weight = layer.module.weight.detach()
            found.setdefault(
                name,
                (
                    weight.new_zeros(n, weight.shape[1]),
                    weight.new_zeros(n, weight.shape[0]),
                ),
            )
        return found

    # --- all others -------------------------------------------------------------------------------

    def _entries(self, inputs, labels):
        n = len(tensors_in(inputs)[0])
        if not self.rest:
            return (
                next(self._model.module.parameters())
                .new_zeros(n, self.n_values, 0)
                .detach()
            )
        if self._is_traceable:
            try:
                return self._traced(inputs, labels)
            except (Uncovered, *UNTRACEABLE) as error:
                if is_out_of_memory(error) or isinstance(error, SkdalError):
                    raise
                self._is_traceable = False
                logger.info(
                    "torch.func cannot trace the module, each sample is run by itself: %s",
                    reason(error),
                )
        return torch.stack([self._alone(inputs, labels, i, n) for i in range(n)])

    def _traced(self, inputs, labels):
        refuse_untraceable(self._model.module)

        def of_sample(parameters, sample, label):
            with swapped(self._model.module, self.rest, parameters):
                outputs = self._model.forward(batch_of_one(sample))
                return self._values(outputs, None if label is None else label[None])[0]

        held = {name: p.detach() for name, p in self.rest.items()}
        by_sample = vmap(
            jacrev(of_sample), in_dims=(None, 0, None if labels is None else 0)
        )
        with frozen(self._model.module), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            found = by_sample(held, inputs, labels)
        return torch.cat(
            [jacobian.reshape(*jacobian.shape[:2], -1) for jacobian in found.values()],
            dim=2,
        )

    def _alone(self, inputs, labels, i, n):
        row = slice(i, i + 1)
        outputs = self._model.forward(cut(inputs, row, n))
        values = self._values(outputs, None if labels is None else labels[row])[0]
        return torch.stack([gradient_entries(value, self.rest) for value in values])


def gradient_entries(value, parameters):
    """Return the gradient of a scalar by parameters (by name), flat; its graph is kept."""
    parameters = list(parameters.values())
    grads = differentiate(value, parameters, retain_graph=True, allow_unused=True)
    found = [
        torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
        for p, g in zip(parameters, grads)
    ]
    return torch.cat([g.flatten() for g in found])


def _keep(found, name, layer, inputs, output_grads, direction):
    """Keep what a rule is called with; as a rule it adds nothing."""
    a, b = arguments(layer, *inputs[0]), output_grads[0]
    if len(inputs) != 1 or a.ndim != 2:
        raise NotImplementedError("called several times, or on more than one position")
    found[name] = a, b
    return a.new_zeros(len(a)), None


def _modules(layers):
    return {name: layer.module for name, layer in layers.items()}
