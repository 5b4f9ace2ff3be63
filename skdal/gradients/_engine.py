"""The ghost backend: one forward, one data-only backward, rules folded layer by layer.

No gradient of a parameter is formed by autograd: the parameters are frozen during the pass,
so it costs a forward pass, a backward pass to the activations, and the rules.
"""

from contextlib import nullcontext

import torch

from skdal.exceptions import InvalidDataError
from skdal.gradients._backward import differentiate
from skdal.gradients._cover import cover
from skdal.gradients._direct import DirectUses
from skdal.gradients._functional import FunctionalLinears
from skdal.gradients._graph import any_picks, kinds_of, nodes_of, walk
from skdal.gradients._hooks import output_hooks
from skdal.gradients._minibatch import FEW
from skdal.gradients._seeds import differentiable, seeds_of
from skdal.gradients._statistics import Found
from skdal.gradients._tape import Tape, refusing_checkpoints
from skdal.gradients._uncovered import Uncovered
from skdal.gradients.rules import RULEBOOK
from skdal.utils import frozen


class GhostBackend:
    """Per-sample statistics by layer rules, for one query.

    Coverage is proven on a few samples of the first mini-batch, and again on a whole
    mini-batch whenever one runs other modules or operations.

    Parameters
    ----------
    rulebook : Rulebook
        The rules; see `rules`.
    """

    def __init__(self, rulebook=RULEBOOK):
        self._rulebook = rulebook
        self._plan = None
        self._proven_run = None

    def __call__(self, model, batch, question):
        """Return what is `Found` for a mini-batch; see `_backends`.

        Raises
        ------
        Uncovered
            A use of a parameter is not accounted for.
        """
        is_new = self._plan is None
        if is_new:
            self._prove(model, _first_samples(batch), question)
        forward = _Forward(model, self._plan, batch, question)
        # Few samples may run otherwise than the mini-batch that they are of.
        if forward.ran != self._proven_run:
            is_new = True
            forward = self._prove(model, batch, question)
        forward.refuse_missing()
        sq_norm, dot, labels, shares = forward.backward(batch.labels)
        # Rows that are sorted or routed within the module may lie otherwise next time.
        is_proven = not is_new and not forward.picks_by_index
        return Found(sq_norm, dot, labels, shares, is_proven)

    def _prove(self, model, batch, question):
        """Prove coverage on some samples and return how they run with frozen parameters.

        What was proven of another plan is void.
        """
        self._plan = cover(model, batch, question.parameters, self._rulebook)
        forward = _Forward(model, self._plan, batch, question)
        self._proven_run = forward.ran
        return forward


class _Forward:
    """A mini-batch that has run forwards.

    Attributes
    ----------
    ran : tuple
        What ran: parameters that coverage had seen no use of, layers, kinds of operations,
        and how many rows a sample has in each calls of `linear`.
    picks_by_index : bool
        Whether an operation picked rows by an index.
    """

    def __init__(self, model, plan, batch, question):
        self._model = model
        self._plan = plan
        self._tape = Tape(
            plan.layers, question.direction, len(batch), only_dot=question.only_dot
        )
        self._linear_rows = set()
        # Those that the proof saw no use of stay in the graph, so that a later use shows.
        unused = _uncovered_by(plan, question.parameters)
        in_graph = [*plan.direct.values(), *unused.values()]
        with frozen(model.module, but=in_graph):
            self._outputs = self._run(batch.inputs)
        leaves, self._nodes = walk(nodes_of(self._outputs))
        self.picks_by_index = any_picks(self._nodes)
        used_now = [name for name, p in unused.items() if id(p) in leaves]
        self.ran = (
            frozenset(used_now),
            frozenset(self._tape.ran),
            kinds_of(self._nodes),
            frozenset(self._linear_rows),
        )

    def _run(self, inputs):
        functions = FunctionalLinears(self._record_linear)
        if self._plan.is_plain:
            functions = nullcontext()
        with output_hooks(self._plan.modules, self._tape.record), functions:
            return self._model.forward(inputs)

    def _record_linear(self, weight, bias, x, output):
        name = self._plan.linears.get(id(weight))
        if name is None:
            return None
        n_samples = self._tape.n_samples
        self._linear_rows.add((name, len(x) / n_samples))
        return self._tape.record(name, (x, n_samples), output)

    def refuse_missing(self):
        """Raise if a layer that has to be watched did not run.

        Raises
        ------
        Uncovered
            It ran with its parameters in the graph.
        """
        missing = set(self._plan.layers) - self._tape.ran
        if missing:
            raise Uncovered(
                dict.fromkeys(missing, "runs otherwise with frozen parameters")
            )

    def backward(self, labels):
        """Return (sq_norm, dot, label, shares) of the mini-batch."""
        if labels is None:
            labels = self._outputs.detach().argmax(1)
        seeds, scale = seeds_of(self._model, self._outputs, labels, self._nodes)
        self._differentiate(seeds)
        shares = {
            self._parameters_of(layer): _unscaled(share, scale)
            for layer, share in self._tape.shares.items()
        }
        zeros = torch.zeros_like(scale)
        sq_norm = sum((part for part, _ in shares.values()), zeros)
        dot = None
        if self._tape.direction is not None:
            dot = sum((part for _, part in shares.values()), zeros)
        return sq_norm, dot, labels, shares

    def _differentiate(self, seeds):
        """Run backwards and fold what the layers and the direct uses get."""
        tape = self._tape
        plan = self._plan
        all_tensors = [tensor for tensor, _ in seeds]
        direct = DirectUses(plan.direct, all_tensors, tape.n_samples, plan.rows)
        tensors, gradients = differentiable(seeds)
        ends = [*tape.roots, *plan.direct.values()]
        if tensors and ends:
            nodes = self._nodes if len(tensors) == 1 else None
            with refusing_checkpoints():
                differentiate(tensors, ends, gradients, nodes=nodes, allow_unused=True)
        tape.fold_rest()
        direct.fold(tape)

    def _parameters_of(self, layer):
        """Return the names of a layer's scored parameters; a direct one is its own layer."""
        if layer not in self._plan.layers:
            return (layer,)
        return tuple(self._plan.layers[layer].names.values())


def _unscaled(share, scale):
    sq_norm, dot = share
    return sq_norm / scale / scale, None if dot is None else dot / scale


def _uncovered_by(plan, parameters):
    covered = set(plan.direct)
    for layer in plan.layers.values():
        covered.update(layer.names.values())
    return {name: p for name, p in parameters.items() if name not in covered}


def _first_samples(batch):
    """Return the first samples of a mini-batch, or all where it cannot be cut."""
    try:
        return batch.rows(slice(0, FEW))
    except InvalidDataError:
        return batch
