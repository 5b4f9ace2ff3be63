"""How gradients of several values per sample are taken, and which are kept as factors."""

import logging

import torch
from torch import nn
from torch.func import jacrev

from skdal.gradients._backward import differentiate
from skdal.gradients._cover import cover
from skdal.gradients._factors import Dense, Factors
from skdal.gradients._hooks import arguments, output_hooks
from skdal.gradients._ladder import (
    UNTRACEABLE,
    Ladder,
    per_sample,
    refuse_untraceable,
    values_of,
)
from skdal.gradients._loop import gradient_entries
from skdal.gradients._minibatch import FEW, batch_of_one
from skdal.gradients._tape import Tape, refusing_checkpoints
from skdal.gradients._uncovered import Uncovered
from skdal.gradients.rules import RULEBOOK
from skdal.utils import frozen, swapped, tree_leaves

logger = logging.getLogger("skdal")


class RunsOtherwise(Exception):
    """Some samples run Linear layers otherwise than the first ones; internal."""


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
    batch : MiniBatch
        A first one, on which it is shown which Linear layers can be kept factored.
    factors : bool
        Whether any may be.

    Attributes
    ----------
    n_values : int
        m.
    rest : dict of str to Parameter
        Those that are not kept factored.
    """

    def __init__(
        self,
        model,
        parameters,
        values,
        batch,
        *,
        factors=True,
    ):
        self._model = model
        self._parameters = parameters
        self._values = values
        few = batch.rows(slice(0, FEW))
        with torch.no_grad():
            self.n_values = self._values_of(few).shape[1]
        self._layers = self._dense_layers(few) if factors else {}
        dense = {
            name for layer in self._layers.values() for name in layer.names.values()
        }
        self.rest = {name: p for name, p in parameters.items() if name not in dense}
        failures = (Uncovered, *UNTRACEABLE)
        self._entries = Ladder([self._by_vmap, self._one_by_one], failures, _tell)

    @property
    def n_held(self):
        """How many numbers the gradients of a sample take."""
        modules = [layer.module for layer in self._layers.values()]
        dense = sum(m.in_features + self.n_values * m.out_features for m in modules)
        return dense + self.n_entries

    @property
    def n_entries(self):
        """How many of these are not factored."""
        n_parameters = sum(p.numel() for p in self.rest.values())
        return self.n_values * n_parameters

    def __call__(self, batch):
        """Return the `Factors` of a mini-batch.

        Raises
        ------
        RunsOtherwise
            What was shown on the first samples does not hold for these.
        """
        dense = self._dense(batch) if self._layers else {}
        entries = self._entries(batch) if self.rest else self._no_entries(batch)
        wide = torch.promote_types(entries.dtype, torch.float32)
        return Factors(dense, entries.to(wide))

    def _values_of(self, batch):
        return self._values(self._model.forward(batch.inputs), batch.labels)

    # --- Linear layers ----------------------------------------------------------------

    def _dense(self, batch):
        try:
            self._check_still_covered(batch)
            by_value = [self._of_value(k, batch) for k in range(self.n_values)]
        except Uncovered as error:
            raise RunsOtherwise(str(error)) from error
        dense = {}
        for name, layer in self._layers.items():
            a, _ = by_value[0][name]
            b = torch.stack([factors[name][1] for factors in by_value], dim=1)
            has_weight = "weight" in layer.names
            dense[name] = Dense(a if has_weight else None, b, "bias" in layer.names)
        return dense

    def _linear_layers(self, batch):
        """Return the Linear layers, by name, whose calls are all uses of their parameters."""
        plan = cover(self._model, batch.labeled(None), self._parameters, RULEBOOK)
        return {
            name: layer
            for name, layer in plan.layers.items()
            if layer.kind == "rule" and type(layer.module) is nn.Linear
        }

    def _check_still_covered(self, batch):
        covered = {
            name: layer.names for name, layer in self._linear_layers(batch).items()
        }
        changed = [
            name
            for name, layer in self._layers.items()
            if covered.get(name) != layer.names
        ]
        if changed:
            raise Uncovered(dict.fromkeys(changed, "not used, or in other ways too"))

    def _dense_layers(self, few):
        """Return those of which each sample makes one call on (n, d)."""
        try:
            layers = self._linear_layers(few)
        except Uncovered:
            return {}
        ndims = {name: [] for name in layers}

        def note(name, given, _):
            ndims[name].append(tree_leaves(given)[0].ndim)

        with torch.no_grad(), output_hooks(_modules(layers), note):
            self._model.forward(few.inputs)
        self._layers = {
            name: layer for name, layer in layers.items() if ndims[name] == [2]
        }
        try:
            self._of_value(0, few)
        except Uncovered:
            return {}
        return self._layers

    def _of_value(self, k, batch):
        """Return, by layer, its input (n, d) and derivatives (n, p) of value k by its output."""
        keeper = _Keeper()
        layers = {
            name: layer._replace(statistics=keeper.rule(name))
            for name, layer in self._layers.items()
        }
        tape = Tape(layers, None, len(batch))
        modules = _modules(layers)
        with frozen(self._model.module), output_hooks(modules, tape.record):
            value = self._values_of(batch)[:, k].sum()
        if value.requires_grad:
            with refusing_checkpoints():
                differentiate(value, tape.roots, allow_unused=True)
        tape.fold_rest()
        return {
            name: keeper.factors.get(name) or _zeros(layer.module, len(batch))
            for name, layer in self._layers.items()
        }

    # --- all other parameters -----------------------------------------------------------

    def _no_entries(self, batch):
        parameter = next(self._model.module.parameters())
        return parameter.new_zeros(len(batch), self.n_values, 0).detach()

    def _by_vmap(self, batch):
        refuse_untraceable(self._model.module)
        point = values_of(self.rest)

        def of_sample(point, sample, label):
            with swapped(self._model.module, self.rest, point):
                outputs = self._model.forward(batch_of_one(sample))
                labels = None if label is None else label[None]
                return self._values(outputs, labels)[0]

        in_dims = (None, 0, None if batch.labels is None else 0)
        with frozen(self._model.module):
            jacobians = per_sample(jacrev(of_sample), in_dims)(
                point, batch.inputs, batch.labels
            )
        flat = [j.reshape(*j.shape[:2], -1) for j in jacobians.values()]
        return torch.cat(flat, dim=2)

    def _one_by_one(self, batch):
        samples = [batch.sample(index) for index in range(len(batch))]
        return torch.stack([self._alone(sample) for sample in samples])

    def _alone(self, sample):
        values = self._values_of(sample)[0]
        return torch.stack([gradient_entries(value, self.rest) for value in values])


class _Keeper:
    """Keeps what the rules of Linear layers are called with.

    Attributes
    ----------
    factors : dict of str to (a, b)
        By the layer's name: its input and the gradient of its output.
    """

    def __init__(self):
        self.factors = {}

    def rule(self, name):
        """Return a rule that keeps what it gets and adds nothing."""

        def keep(layer, inputs, output_grads, direction):
            a = arguments(layer, *inputs[0])
            if len(inputs) != 1 or a.ndim != 2:
                raise NotImplementedError(
                    "called several times, or on more than one position"
                )
            self.factors[name] = a, output_grads[0]
            return a.new_zeros(len(a)), None

        return keep


def _zeros(linear, n_samples):
    """Return the factors of a value that does not depend on a layer."""
    weight = linear.weight.detach()
    n_outputs, n_inputs = weight.shape
    return weight.new_zeros(n_samples, n_inputs), weight.new_zeros(n_samples, n_outputs)


def _modules(layers):
    return {name: layer.module for name, layer in layers.items()}


def _tell(why):
    logger.info(
        "torch.func cannot trace the module, each sample is run by itself: %s", why
    )
