"""Parameters that an elementwise operation takes by themselves: positions, class tokens, layer scales.

No layer owns such a use; the operation's node in the autograd graph does. Its output's gradient,
summed over the axes along which the parameter was repeated, is each sample's own. What is made of
the parameter alone before that (a slice, another shape, its exponential) is differentiated by
calling the nodes of the graph.
"""

from typing import Any, NamedTuple

from torch.func import vmap

from skdal.gradients._graph import nodes_of, walk
from skdal.gradients._tape import Uncovered
from skdal.gradients.rules import explicit

# What a parameter's entries, broadcast, do to the gradient of the output.
_OPERATIONS = {
    "AddBackward0": lambda node, slot, grad: grad * node._saved_alpha if slot else grad,
    "SubBackward0": lambda node, slot, grad: (
        -grad * node._saved_alpha if slot else grad
    ),
    "MulBackward0": lambda node, slot, grad: (
        grad * (node._saved_self if slot else node._saved_other)
    ),
    "DivBackward0": lambda node, slot, grad: (
        _quotient(node, slot, grad) / node._saved_other
    ),
    "ExpandBackward0": lambda node, slot, grad: grad,
    "RepeatBackward0": lambda node, slot, grad: grad,
}
# Functions of one tensor: views and copies, and those that keep a scale in its range.
_FUNCTIONS = {
    *(
        "ViewBackward0",
        "UnsafeViewBackward0",
        "ReshapeAliasBackward0",
        "SliceBackward0",
        "SelectBackward0",
    ),
    *(
        "UnsqueezeBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "TransposeBackward0",
        "PermuteBackward0",
    ),
    *(
        "TBackward0",
        "IndexBackward0",
        "CloneBackward0",
        "ToCopyBackward0",
        "AliasBackward0",
    ),
    *(
        "ExpBackward0",
        "SigmoidBackward0",
        "SoftplusBackward0",
        "TanhBackward0",
        "NegBackward0",
    ),
}


def _quotient(node, slot, grad):
    return -grad * node._saved_self / node._saved_other if slot else grad


class DirectUse(NamedTuple):
    """A use of a parameter, or of what is made of it alone, by an operation.

    Attributes
    ----------
    node : graph node
        The operation's.
    slot : int
        Which of its inputs.
    path : list of graph nodes
        From there to the parameter.
    """

    node: Any
    slot: int
    path: list


def direct_uses(nodes):
    """Return, by id of the leaf, the uses of leaves by the nodes of a graph, functions of one tensor skipped."""
    uses = {}
    for node in nodes:
        if node.name() in _FUNCTIONS:
            continue
        for slot, (following, _) in enumerate(node.next_functions):
            path = []
            while following is not None and following.name() in _FUNCTIONS:
                path.append(following)
                following = next(
                    (below for below, _ in following.next_functions if below), None
                )
            if hasattr(following, "variable"):
                uses.setdefault(id(following.variable), []).append(
                    DirectUse(node, slot, path)
                )
    return uses


def is_direct(uses):
    """Tell whether all uses of a parameter are operations that are known here."""
    return bool(uses) and all(use.node.name() in _OPERATIONS for use in uses)


class DirectUses:
    """Collects the per-sample gradients of parameters during a backward pass.

    Parameters
    ----------
    parameters : dict of str to Parameter
        Used directly, and requiring a gradient.
    seeds : list of (tensor, gradient)
        Where the backward pass begins.
    tape : Tape
        Takes their statistics.
    rows : dict of str to set of float, optional
        How many rows a sample has in the uses of each, as proven.

    Attributes
    ----------
    gradients : dict of str to tensor (n, size)
        What is collected so far.
    rows : dict of str to set of float
        As found.
    problems : dict of str to str
        Parameters that are not used alike for every sample, and that this is so.
    """

    def __init__(self, parameters, seeds, tape, rows=None):
        self._tape, self._proven, self._handles = tape, rows, []
        self.gradients, self.rows, self.problems = {}, {}, {}
        uses = (
            direct_uses(walk(nodes_of([tensor for tensor, _ in seeds]))[1])
            if parameters
            else {}
        )
        for name, parameter in parameters.items():
            for use in uses.get(id(parameter), []):
                hook = lambda into, out, name=name, use=use: self._collect(
                    name, use, into[use.slot], out[0]
                )
                self._handles.append(use.node.register_hook(hook))

    def _collect(self, name, use, summed, grad):
        """Take the gradients of an operation's input (over all samples, of which the shape counts) and output."""
        if summed is None:
            return
        rows = len(grad) / self._tape.n_samples if grad.ndim else 0
        self.rows.setdefault(name, set()).add(rows)
        operation = _OPERATIONS.get(use.node.name())
        gradient = operation and _per_sample(
            operation(use.node, use.slot, grad), summed.shape, self._tape.n_samples
        )
        if gradient is None or (self._proven and rows not in self._proven[name]):
            self.problems[name] = "used directly, but not alike for every sample"
            return
        for node in use.path:
            gradient = vmap(node)(gradient)
        gradient = gradient.reshape(
            len(gradient), -1
        )  # (n, 1) of a parameter without axes
        self.gradients[name] = (
            self.gradients[name] + gradient if name in self.gradients else gradient
        )

    def remove(self):
        """Stop collecting; a hook holds its node, and would keep the whole graph."""
        for handle in self._handles:
            handle.remove()

    def fold(self):
        """Stop collecting and give the statistics to the tape.

        Raises
        ------
        Uncovered
            There are problems.
        """
        self.remove()
        if self.problems:
            raise Uncovered(self.problems)
        direction = self._tape.direction
        for name, gradient in self.gradients.items():
            v = None if direction is None else direction[name].to(gradient.dtype)
            self._tape.add(name, *explicit({name: gradient}, {name: v}))


def _per_sample(grad, shape, n_samples):
    """Return the gradients (n, *shape) of what was broadcast from `shape` to the shape of `grad`, or None.

    The rows of `grad` are the samples, or as many for each.
    """
    aligned = (1,) * (grad.ndim - len(shape)) + tuple(shape)
    if not aligned or aligned[0] != 1 or len(grad) % n_samples:
        return None
    grad = grad.float() if grad.itemsize < 4 else grad
    rows = grad.reshape(n_samples, -1, *grad.shape[1:])
    axes = [
        axis
        for axis, size in enumerate(aligned, start=1)
        if size == 1 and rows.shape[axis] != 1
    ]
    summed = rows.sum(axes, keepdim=True) if axes else rows
    return summed.reshape(n_samples, *shape) if summed.shape[1:] == aligned else None
