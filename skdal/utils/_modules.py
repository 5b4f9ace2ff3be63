"""Toggles on torch modules that are always put back."""

from contextlib import contextmanager

import torch


@contextmanager
def untouched(module):
    """Run a block with `module` in eval mode; every mode flag and buffer is as found afterwards."""
    flags = [(part, part.training) for part in module.modules()]
    buffers = [
        (part._buffers, name, buffer, buffer._version, buffer.detach().clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    try:
        module.eval()
        yield
    finally:
        for part, training in flags:
            part.training = training
        for owner, name, buffer, version, value in buffers:
            owner[name] = buffer
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


@contextmanager
def frozen(module):
    """Run a block in which no parameter of `module` requires a gradient."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
