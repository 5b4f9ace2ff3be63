"""The one way to a backward pass: `torch.autograd.grad`, made right for all layouts.

On the CPU, torch's backward pass of batch and instance norm tells from strides how its
input and the gradient of its output lie in memory. The strides of an axis of size 1 tell
nothing. So where such an axis meets a change of layout, as of one sample alone, torch takes
values with their channels last for such with their channels first, or the other way round,
and the gradients are wrong in silence. A gradient with gaps in memory is of neither layout;
torch then goes by its strides alone, and is right.
"""

import torch

from skdal.gradients._graph import nodes_of, walk
from skdal.utils import is_batch_norm, saved


def differentiate(
    outputs,
    inputs,
    grad_outputs=None,
    *,
    nodes=None,
    **options,
):
    """Return the gradients of outputs by inputs, as `torch.autograd.grad` does.

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
    options
        More arguments of `torch.autograd.grad`.
    """
    if nodes is None:
        _, nodes = walk(nodes_of(outputs))
    handles = [
        node.register_prehook(_layout_guard(node))
        for node in nodes
        if is_batch_norm(node)
    ]
    try:
        return torch.autograd.grad(outputs, inputs, grad_outputs, **options)
    finally:
        for handle in handles:
            handle.remove()


def dense_gradients(outputs, parameters, grad_outputs=None, **options):
    """Return the gradients of outputs by parameters: dense, zeros of what is unused."""
    gradients = differentiate(
        outputs, parameters, grad_outputs, allow_unused=True, **options
    )
    return [_dense(gradient, p) for gradient, p in zip(gradients, parameters)]


def _dense(gradient, parameter):
    if gradient is None:
        return torch.zeros_like(parameter)
    return gradient.to_dense() if gradient.is_sparse else gradient


def _layout_guard(node):
    """Return a hook that gives a norm's gradient gaps where torch would misread it."""
    # torch reads a weight as if it had no gaps in memory.
    weight = saved(node, "weight")
    has_gaps = weight is not None and not weight.is_contiguous()

    def guard(grads):
        first, *others = grads
        if first is None or first.device.type != "cpu":
            return None
        if not has_gaps and 1 not in first.shape:
            return None
        return with_gaps(first), *others

    return guard


def with_gaps(x):
    """Return a copy that is contiguous in no layout, unless it holds one value."""
    return x.new_empty(*x.shape, 2)[..., 0].copy_(x)
