"""The ghost backend: one forward, one data-only backward, rules folded layer by layer.

No gradient of a parameter is formed by autograd: the parameters are frozen during the pass, so it
costs a forward pass, a backward pass to the activations, and the rules.
"""

from skdal.gradients._checks import graph_signature, prove_coverage
from skdal.gradients._parameters import owners_of
from skdal.gradients._tape import Tape, output_hooks
from skdal.utils import frozen


class GhostBackend:
    """Per-sample statistics by layer rules, for one query.

    Coverage is proven on the first mini-batch and again whenever a mini-batch runs another set of
    modules or operations; `fresh` tells that the last call did so.
    """

    def __init__(self):
        self._proven = set()
        self.fresh = True

    def __call__(self, model, inputs, labels, parameters, direction):
        """Return per-sample (sq_norm, dot, label) of a mini-batch; see `_backends`.

        Raises
        ------
        Uncovered
            A use of a parameter is not accounted for.
        """
        if not self._proven:
            prove_coverage(model, inputs, labels, parameters)
        owners, _ = owners_of(model.module, parameters)
        tape = Tape(owners, direction)
        with frozen(model.module), output_hooks(owners, tape.record):
            outputs = model.forward(inputs)
            labels = outputs.detach().argmax(1) if labels is None else labels
            losses = model.losses(outputs, labels)
            ran = frozenset(tape.ran), graph_signature(losses)
            sq_norm, dot = tape.backward(losses)
        self.fresh = ran not in self._proven
        if self.fresh and self._proven:
            prove_coverage(model, inputs, labels, parameters)
        self._proven.add(ran)
        return sq_norm, dot, labels
