"""Toggles on torch modules that are always put back."""

import copy
from contextlib import contextmanager, nullcontext

import torch

from skdal.utils._locks import turns
from skdal.utils._torch import (
    gradient_hooks,
    is_compiled,
    own_buffers,
    own_parameters,
    version_of,
)
from skdal.utils._trees import tree_leaves


@contextmanager
def untouched(module):
    """Run a block with `module` in eval mode; modes, parameters, buffers and plain tensors are as
    found after it.

    Hooks on the parameters' gradients, such as one that clips them, are off. Gives the Attributes
    as found.
    """
    with turns(module), _put_back(module) as attributes:
        module.eval()
        yield attributes


@contextmanager
def _put_back(module):
    parts = list(module.modules())
    modes = [(part, part.training) for part in parts]
    attributes = _Attributes(module)
    entries = [(held, dict(held)) for part in parts for held in _registered(part)]
    buffers = [
        (buffer, version_of(buffer), buffer.detach().clone())
        for buffer in module.buffers()
    ]
    hooks = [
        (gradient_hooks(p), dict(gradient_hooks(p)))
        for p in module.parameters()
        if gradient_hooks(p)
    ]
    try:
        for held, _ in hooks:
            held.clear()
        yield attributes
    finally:
        for part, training in modes:
            part.training = training
        attributes.restore()
        for held, found in entries:
            _refill(held, found)
        for held, found in hooks:
            _refill(held, found)
        for buffer, version, value in buffers:
            if version_of(buffer) != version:
                with torch.no_grad():
                    buffer.copy_(value)


class _Attributes:
    """The tensors that a module and its parts keep in plain attributes, or in lists and dicts
    there, to be put back.

    Such as a cache, or the weight that weight norm makes. A counter of the caller's may count on.
    """

    def __init__(self, module):
        self._found = []
        for part in module.modules():
            attributes = {
                name: value
                for name, value in vars(part).items()
                if name not in _MANAGED
            }
            held = {
                name: copy.copy(value)
                for name, value in attributes.items()
                if type(value) in (list, dict)
            }
            self._found.append((vars(part), attributes, held))

    def restore(self):
        """Put back whatever has changed."""
        for current, attributes, held in self._found:
            for name in [
                name
                for name in current
                if name not in attributes and name not in _MANAGED
            ]:
                if _has_tensor(current[name]):
                    del current[name]
            for name, value in attributes.items():
                if current.get(name) is not value and (
                    _has_tensor(current.get(name)) or _has_tensor(value)
                ):
                    current[name] = value
            for name, content in held.items():
                if attributes[name] is not content and _has_tensor(attributes[name]):
                    _refill(attributes[name], content)


def _has_tensor(value):
    return bool(tree_leaves(value))


# Kept by torch, or by `untouched` in another way.
_MANAGED = {name for name in vars(torch.nn.Module()) if name.startswith("_")} | {
    "training"
}


@contextmanager
def frozen(module, but=()):
    """Run a block in which no parameter of `module` requires a gradient, `but` those."""
    kept = {id(parameter) for parameter in but}
    trainable = [
        p for p in module.parameters() if p.requires_grad and id(p) not in kept
    ]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def swapped(module, parameters, values):
    """Run a block in which `values` stand in place of `parameters` (both by name), wherever these
    are registered.

    torch.func.functional_call leaves a module broken that is registered under two names.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    entries = [
        (own_parameters(part), dict(own_parameters(part))) for part in module.modules()
    ]
    try:
        for held, found in entries:
            held.update(
                {
                    own: values[names[id(p)]]
                    for own, p in found.items()
                    if id(p) in names
                }
            )
        yield
    finally:
        for held, found in entries:
            _refill(held, found)


def _registered(part):
    """Return the dicts of a module's own parameters and buffers; a scripted module's cannot be
    changed.
    """
    return (
        []
        if isinstance(part, torch.jit.ScriptModule)
        else [own_parameters(part), own_buffers(part)]
    )


def _refill(held, found):
    held.clear()
    held.extend(found) if isinstance(held, list) else held.update(found)


def uncompiled(module):
    """Run parts that are compiled as they were written: a compiled part has no tensors between its
    layers.
    """
    has_stance = hasattr(torch.compiler, "set_stance")  # torch 2.6
    if has_stance and any(map(is_compiled, module.modules())):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()
