"""Parameters that an operation takes by themselves: positions, class tokens, layer scales.

No layer owns such a use; the operation's node in the autograd graph does. Its output's
gradient, summed over the axes along which the parameter was repeated, is each sample's own.
What is made of the parameter alone before that (a slice, another shape, its exponential) is
differentiated by calling the nodes of the graph.
"""

from typing import Any, NamedTuple

from torch.func import vmap

from skdal.gradients._backward import differentiate
from skdal.gradients._graph import nodes_of, walk
from skdal.gradients._uncovered import Uncovered
from skdal.gradients.rules._forms import explicit
from skdal.utils import operation_of, saved

# --- what an operation does to the gradient of its output, for one of its inputs ------------


def _through_sum(node, slot, grad):
    return grad * saved(node, "alpha") if slot else grad


def _through_difference(node, slot, grad):
    return -grad * saved(node, "alpha") if slot else grad


def _through_product(node, slot, grad):
    return grad * saved(node, "self" if slot else "other")


def _through_quotient(node, slot, grad):
    divisor = saved(node, "other")
    if slot:
        grad = -grad * saved(node, "self") / divisor
    return grad / divisor


def _through_repetition(node, slot, grad):
    return grad


_THROUGH = {
    "add": _through_sum,
    "subtract": _through_difference,
    "multiply": _through_product,
    "divide": _through_quotient,
    "repeat": _through_repetition,
}

# --- finding such uses -------------------------------------------------------------------


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
    """Return the uses of leaves by the nodes of a graph, by id of the leaf.

    Functions of one tensor are skipped.
    """
    uses = {}
    for node in nodes:
        if operation_of(node) == "function":
            continue
        for slot, (following, _) in enumerate(node.next_functions):
            path, end = _path_down(following)
            if hasattr(end, "variable"):
                use = DirectUse(node, slot, path)
                uses.setdefault(id(end.variable), []).append(use)
    return uses


def _path_down(node):
    """Return the functions of one tensor from a node downwards, and what is below them."""
    path = []
    while node is not None and operation_of(node) == "function":
        path.append(node)
        below = [following for following, _ in node.next_functions if following]
        node = below[0] if below else None
    return path, node


def rows_apart(trace):
    """Return the parameters that operations take, each sample its own part of the gradient.

    Parameters
    ----------
    trace : Trace
        Of a few samples; its losses are differentiated.

    Returns
    -------
    dict of str to set of float
        By name, how many rows a sample has in the uses.
    """
    uses = direct_uses(trace.nodes)
    direct = {}
    for name, parameter in trace.parameters.items():
        if _is_known(uses.get(id(parameter))):
            direct[name] = parameter
    if not direct:
        return {}
    collected = DirectUses(direct, [trace.losses], trace.n_samples)
    ends = list(direct.values())
    differentiate(trace.losses[0], ends, retain_graph=True, allow_unused=True)
    collected.remove()
    apart = {}
    for name, gradient in collected.gradients.items():
        is_apart = bool((gradient[1:] == 0).all())
        if is_apart and name not in collected.problems:
            apart[name] = collected.rows[name]
    return apart


def _is_known(uses):
    return bool(uses) and all(operation_of(use.node) in _THROUGH for use in uses)


# --- collecting their gradients ------------------------------------------------------------


class DirectUses:
    """Collects the per-sample gradients of parameters during a backward pass.

    Parameters
    ----------
    parameters : dict of str to Parameter
        Used directly, and requiring a gradient.
    tensors : list of tensor
        Where the backward pass begins.
    n_samples : int
        Length of the mini-batch.
    proven_rows : dict of str to set of float, optional
        How many rows a sample has in the uses of each, as proven.

    Attributes
    ----------
    gradients : dict of str to tensor (n, size)
        What is collected so far.
    rows : dict of str to set of float
        How many rows a sample has, as met.
    problems : dict of str to str
        Parameters that are not used alike for every sample, and that this is so.
    """

    def __init__(self, parameters, tensors, n_samples, proven_rows=None):
        self.gradients = {}
        self.rows = {}
        self.problems = {}
        self._n_samples = n_samples
        self._proven_rows = proven_rows
        self._handles = []
        uses = direct_uses(walk(nodes_of(tensors))[1]) if parameters else {}
        for name, parameter in parameters.items():
            for use in uses.get(id(parameter), []):
                hook = self._hook(name, use)
                self._handles.append(use.node.register_hook(hook))

    def _hook(self, name, use):
        def collect(input_grads, output_grads):
            # The first is summed over all samples; its shape counts.
            summed = input_grads[use.slot]
            if summed is not None:
                self._collect(name, use, summed.shape, output_grads[0])

        return collect

    def _collect(self, name, use, shape, grad):
        rows = len(grad) / self._n_samples if grad.ndim else 0
        self.rows.setdefault(name, set()).add(rows)
        gradient = self._through(use, shape, grad)
        is_proven = not self._proven_rows or rows in self._proven_rows[name]
        if gradient is None or not is_proven:
            self.problems[name] = "used directly, but not alike for every sample"
            return
        for node in use.path:
            gradient = vmap(node)(gradient)
        # This is (n, 1) of a parameter without axes.
        gradient = gradient.reshape(len(gradient), -1)
        if name in self.gradients:
            gradient = self.gradients[name] + gradient
        self.gradients[name] = gradient

    def _through(self, use, shape, grad):
        """Return the gradients (n, *shape) of what an operation takes, or None."""
        through = _THROUGH.get(operation_of(use.node))
        if through is None:
            return None
        grad = through(use.node, use.slot, grad)
        return _summed(grad, shape, self._n_samples)

    def remove(self):
        """Stop collecting; a hook holds its node, and would keep the whole graph."""
        for handle in self._handles:
            handle.remove()

    def fold(self, tape):
        """Stop collecting and give the statistics to the tape.

        Raises
        ------
        Uncovered
            There are problems.
        """
        self.remove()
        if self.problems:
            raise Uncovered(self.problems)
        for name, gradient in self.gradients.items():
            v = None
            if tape.direction is not None:
                v = tape.direction[name].to(gradient.dtype)
            sq_norm, dot = explicit({name: gradient}, {name: v})
            tape.add(name, sq_norm, dot)


def _summed(grad, shape, n_samples):
    """Return the gradients (n, *shape) of what was broadcast from `shape`, or None.

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
    if summed.shape[1:] != aligned:
        return None
    return summed.reshape(n_samples, *shape)
