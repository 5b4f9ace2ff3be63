"""The one way to a backward pass: `torch.autograd.grad`, and what it takes that its numbers are right.

On the CPU, torch's backward pass of batch and instance norm tells from strides how its input and the gradient of its
output lie in memory. The strides of an axis of size 1 tell nothing. So where such an axis meets a change of layout, as
of one sample alone, torch takes values with their channels last for such with their channels first, or the other way
round, and the gradients are wrong in silence. A gradient with gaps in memory is of neither layout; torch then goes by
its strides alone, and is right.
"""

import torch

from skdal.gradients._graph import nodes_of, walk


def differentiate(outputs, inputs, grad_outputs=None, *, nodes=None, **how):
    """Return the gradients of outputs with respect to inputs, as `torch.autograd.grad` does.

    Parameters
    ----------
    outputs : tensor or sequence of tensors
        What is differentiated.
    inputs : sequence of tensors
        What it is differentiated by.
    grad_outputs : tensor or sequence of tensors, optional
        Gradients of the outputs.
    nodes : iterable of graph nodes, optional
        Those of the outputs' graph, where they are known.
    how
        More arguments of `torch.autograd.grad`.
    """
    nodes = walk(nodes_of(outputs))[1] if nodes is None else nodes
    handles = [
        node.register_prehook(_layout_guard(node))
        for node in nodes
        if "BatchNorm" in node.name()
    ]
    try:
        return torch.autograd.grad(outputs, inputs, grad_outputs, **how)
    finally:
        for handle in handles:
            handle.remove()


def _layout_guard(node):
    """Return a hook that gives a norm's gradient gaps in memory where torch would misread it."""
    weight = getattr(node, "_saved_weight", None)
    is_misread = (
        weight is not None and not weight.is_contiguous()
    )  # a weight is read as if it had no gaps

    def guard(grads):
        first, *others = grads
        if (
            first is None
            or first.device.type != "cpu"
            or not (is_misread or 1 in first.shape)
        ):
            return None
        return with_gaps(first), *others

    return guard


def with_gaps(x):
    """Return a copy of a tensor that is contiguous in no layout, unless it holds one value."""
    return x.new_empty(*x.shape, 2)[..., 0].copy_(x)
