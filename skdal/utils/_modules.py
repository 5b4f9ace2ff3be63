"""Toggles on torch modules that are always put back."""

from contextlib import contextmanager

import torch


@contextmanager
def untouched(module):
    """Run a block with `module` in eval mode; modes, parameters, buffers and plain tensors are as found after it."""
    parts = list(module.modules())
    modes = [(part, part.training) for part in parts]
    tensors = [(vars(part), n, t) for part in parts for n, t in vars(part).items() if isinstance(t, torch.Tensor)]
    entries = [(held, dict(held)) for part in parts for held in _registered(part)]
    buffers = [(buffer, buffer._version, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training
        for attributes, name, tensor in tensors:  # weight norm keeps the weight it makes in one
            attributes[name] = tensor
        for held, found in entries:
            _refill(held, found)
        for buffer, version, value in buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


@contextmanager
def frozen(module, but=()):
    """Run a block in which no parameter of `module` requires a gradient, `but` those."""
    kept = {id(parameter) for parameter in but}
    trainable = [p for p in module.parameters() if p.requires_grad and id(p) not in kept]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def swapped(module, parameters, values):
    """Run a block in which `values` stand in place of `parameters` (both by name), wherever these are registered.

    torch.func.functional_call leaves a module broken that is registered under two names.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    entries = [(part._parameters, dict(part._parameters)) for part in module.modules()]
    try:
        for held, found in entries:
            held.update({own: values[names[id(p)]] for own, p in found.items() if id(p) in names})
        yield
    finally:
        for held, found in entries:
            _refill(held, found)


def _registered(part):
    """Return the dicts of a module's own parameters and buffers; a scripted module's cannot be changed."""
    return [] if isinstance(part, torch.jit.ScriptModule) else [part._parameters, part._buffers]


def _refill(held, found):
    held.clear()
    held.update(found)
