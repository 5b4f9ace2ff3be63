"""The ghost backend: one forward, one data-only backward, rules folded layer by layer.

No gradient of a parameter is formed by autograd: the parameters are frozen during the pass, so it
costs a forward pass, a backward pass to the activations, and the rules.
"""

from contextlib import nullcontext

import torch
from torch.utils.checkpoint import CheckpointError

from skdal.exceptions import InvalidDataError
from skdal.gradients._backward import differentiate
from skdal.gradients._coverage import cover
from skdal.gradients._direct import DirectUses
from skdal.gradients._functional import FunctionalLinears
from skdal.gradients._graph import nodes_of, reorders, signature, walk
from skdal.gradients._loop import cut
from skdal.gradients._seeds import seeds_of
from skdal.gradients._tape import Tape, Uncovered, output_hooks, tensors_in
from skdal.utils import frozen

_FEW = 3  # samples on which coverage is proven


class GhostBackend:
    """Per-sample statistics by layer rules, for one query.

    Coverage is proven on a few samples of the first mini-batch, and again on a whole mini-batch
    whenever one runs other modules or operations; `fresh` tells that the last call did so.

    Attributes
    ----------
    shares : dict of tuple of str to (sq_norm, dot)
        Parts of the last call, by the names of a layer's scored parameters.
    only_dot : bool
        Whether squared norms may be left out.
    reorders : bool
        Whether the last call picked rows by an index, which may be another in the next mini-batch.
    """

    def __init__(self):
        self._plan, self._proven = None, set()
        self.fresh, self.shares, self.only_dot, self.reorders = True, {}, False, False

    def __call__(self, model, inputs, labels, parameters, direction):
        """Return per-sample (sq_norm, dot, label) of a mini-batch; see `_backends`.

        Raises
        ------
        Uncovered
            A use of a parameter is not accounted for.
        """
        self.fresh = self._plan is None
        if self.fresh:
            few, their_labels = _few(inputs, labels)
            self._plan = cover(model, few, their_labels, parameters)
            self._proven = {
                _Pass(model, self._plan, parameters).forward(few)
            }  # the kinds of operations, parameters frozen
        run = _Pass(model, self._plan, parameters, direction, self.only_dot)
        ran = run.forward(inputs)
        if (
            ran not in self._proven
        ):  # also where the few samples ran otherwise than their mini-batch
            self.fresh, self._plan = True, cover(model, inputs, labels, parameters)
            run = _Pass(model, self._plan, parameters, direction, self.only_dot)
            self._proven = {
                run.forward(inputs)
            }  # what was proven of another plan is void
        run.refuse_missing()
        sq_norm, dot, labels = run.backward(labels)
        self.shares = run.shares
        self.reorders = run.reorders
        return sq_norm, dot, labels


class _Pass:
    """One mini-batch, forwards and backwards."""

    def __init__(self, model, plan, parameters, direction=None, only_dot=False):
        self.model, self.plan = model, plan
        self.tape, self._rows = Tape(plan.layers, direction, only_dot), set()
        covered = {
            name for layer in plan.layers.values() for name in layer.names.values()
        } | set(plan.direct)
        # Those that the proof saw no use of stay in the graph, so that a later use shows.
        self._unused = {
            name: p for name, p in parameters.items() if name not in covered
        }

    def forward(self, inputs):
        """Run the module; return what ran: names of layers, kinds of operations, rows a sample of calls of `linear`."""
        self.tape.n_samples = len(tensors_in(inputs)[0])
        with frozen(
            self.model.module, but=[*self.plan.direct.values(), *self._unused.values()]
        ):
            functions = (
                nullcontext()
                if self.plan.is_plain
                else FunctionalLinears(self._record_linear)
            )
            with output_hooks(self.plan.modules, self.tape.record), functions:
                self.outputs = self.model.forward(inputs)
        leaves, self._nodes = walk(nodes_of(self.outputs))
        self.reorders = reorders(self._nodes)
        used = frozenset(name for name, p in self._unused.items() if id(p) in leaves)
        return (
            used,
            frozenset(self.tape.ran),
            signature(self._nodes),
            frozenset(self._rows),
        )

    def refuse_missing(self):
        """Raise if a layer that has to be watched did not run.

        Raises
        ------
        Uncovered
            It ran with its parameters in the graph.
        """
        missing = set(self.plan.layers) - self.tape.ran
        if missing:
            raise Uncovered(
                {name: "runs otherwise with frozen parameters" for name in missing}
            )

    def _record_linear(self, weight, bias, x, output):
        name = self.plan.linears.get(id(weight))
        if name is None:
            return None
        self._rows.add((name, len(x) / self.tape.n_samples))
        return self.tape.record(name, (x, self.tape.n_samples), output)

    def backward(self, labels):
        """Return (sq_norm, dot, label) of the mini-batch."""
        labels = self.outputs.detach().argmax(1) if labels is None else labels
        seeds, scale = seeds_of(self.model, self.outputs, labels, self._nodes)
        direct = DirectUses(self.plan.direct, seeds, self.tape, self.plan.rows)
        ends = [*self.tape.roots, *self.plan.direct.values()]
        seeds = [
            (tensor, gradient) for tensor, gradient in seeds if tensor.requires_grad
        ]
        if seeds and ends:
            tensors, gradients = zip(*seeds)
            nodes = self._nodes if len(tensors) == 1 else None
            try:
                differentiate(tensors, ends, gradients, nodes=nodes, allow_unused=True)
            except CheckpointError as error:
                raise Uncovered(
                    {"the module": "it runs again in the backward pass (checkpointing)"}
                ) from error
        self.tape.fold_rest()
        direct.fold()
        self.shares = {
            self._parameters_of(name): (
                sq_norm / scale / scale,
                None if dot is None else dot / scale,
            )
            for name, (sq_norm, dot) in self.tape.shares.items()
        }
        return *_totals(
            self.shares.values(), like=scale, with_dot=self.tape.direction is not None
        ), labels

    def _parameters_of(self, layer):
        return (
            tuple(self.plan.layers[layer].names.values())
            if layer in self.plan.layers
            else (layer,)
        )


def _totals(shares, like, with_dot):
    sq_norms, dots = zip(*shares) if shares else ((), ())
    zeros = torch.zeros_like(like)
    return sum(sq_norms, zeros), sum(dots, zeros) if with_dot else None


def _few(inputs, labels):
    """Return the first samples of a mini-batch, or all where it cannot be cut."""
    try:
        n = len(tensors_in(inputs)[0])
        return cut(inputs, slice(0, _FEW), n), None if labels is None else labels[:_FEW]
    except InvalidDataError:
        return inputs, labels
