"""Parameters that an elementwise operation takes by themselves: positions, class tokens, layer scales.

No layer owns such a use; the operation's node in the autograd graph does. Its output's gradient,
summed over the axes along which the parameter was repeated, is each sample's own.
"""

from skdal.gradients._graph import nodes_of, walk
from skdal.gradients._tape import Uncovered
from skdal.gradients.rules import explicit

_OPERATIONS = {
    "AddBackward0": lambda node, slot, grad: grad * node._saved_alpha if slot else grad,
    "SubBackward0": lambda node, slot, grad: -grad * node._saved_alpha if slot else grad,
    "MulBackward0": lambda node, slot, grad: grad * (node._saved_self if slot else node._saved_other),
    "ExpandBackward0": lambda node, slot, grad: grad,
    "RepeatBackward0": lambda node, slot, grad: grad,
}


def is_direct(uses):
    """Tell whether all uses of a parameter are operations that are known here."""
    return all(use.node.name() in _OPERATIONS for use in uses)


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

    Attributes
    ----------
    gradients : dict of str to tensor (n, size)
        What is collected so far.
    """

    def __init__(self, parameters, seeds, tape):
        self._parameters, self._tape, self.gradients, self._handles = parameters, tape, {}, []
        uses, _ = walk(nodes_of([tensor for tensor, _ in seeds])) if parameters else ({}, ())
        for name, parameter in parameters.items():
            for use in uses.get(id(parameter), []):
                hook = lambda grads, name=name, use=use: self._collect(name, use, grads[0])
                self._handles.append(use.node.register_prehook(hook))

    def _collect(self, name, use, grad):
        if grad is None:
            return
        shape = self._parameters[name].shape
        gradient = _per_sample(_OPERATIONS[use.node.name()](use.node, use.slot, grad), shape, self._tape.n_samples)
        if gradient is None:
            raise Uncovered({name: "used directly, but not alike for every sample"})
        self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient

    def remove(self):
        """Stop collecting."""
        for handle in self._handles:
            handle.remove()

    def fold(self):
        """Give the statistics to the tape."""
        direction = self._tape.direction
        for name, gradient in self.gradients.items():
            v = None if direction is None else direction[name].to(gradient.dtype)
            self._tape.add(name, *explicit({name: gradient}, {name: v}))


def _per_sample(grad, shape, n_samples):
    """Return the gradients (n, size) of a parameter of `shape` that was broadcast to the shape of `grad`, or None."""
    missing = grad.ndim - len(shape)
    if missing < 0 or len(grad) != n_samples or (missing == 0 and shape[0] != 1):
        return None
    kept = (1,) * (missing - 1) + tuple(shape) if missing else tuple(shape[1:])
    axes = [axis for axis, size in enumerate(kept, start=1) if size == 1 and grad.shape[axis] != 1]
    grad = grad.float() if grad.itemsize < 4 else grad
    summed = grad.sum(axes, keepdim=True) if axes else grad
    return summed.flatten(1) if summed.shape[1:] == kept else None
