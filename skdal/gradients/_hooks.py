"""What goes in and out of the parts of a module as it runs."""

import inspect
from contextlib import contextmanager

import torch

from skdal.utils import tree_leaves


@contextmanager
def output_hooks(modules, hook):
    """Call `hook(name, (args, kwargs), output)` after each call of the modules.

    The modules are given by name. Hooks are first in line, so that they see what the layer
    computed and not what a hook of the caller made of it. What `hook` returns, if not None,
    replaces the output. Scripted modules take no hooks and are left out.
    """
    handles = []
    try:
        for name, module in modules.items():
            if not isinstance(module, torch.jit.ScriptModule):
                forward_hook = _named(hook, name)
                handles.append(
                    module.register_forward_hook(
                        forward_hook, with_kwargs=True, prepend=True
                    )
                )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _named(hook, name):
    def forward_hook(module, args, kwargs, output):
        return hook(name, (args, kwargs), output)

    return forward_hook


def arguments(module, args, kwargs):
    """Return the input of a call, or the tuple of all arguments of `forward` in order."""
    if len(args) == 1 and not kwargs:
        return args[0]
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    if len(bound.arguments) == 1:
        return next(iter(bound.arguments.values()))
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def has_sample_axis(values, axis, n_samples):
    """Tell whether an axis of a layer's input or output is the sample.

    Of several tensors the first counts.
    """
    first = next(iter(tree_leaves(values)), None)
    return first is not None and first.ndim > axis and first.shape[axis] == n_samples
