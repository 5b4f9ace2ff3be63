"""The state in which a net is differentiated."""

from contextlib import contextmanager

import torch


@contextmanager
def differentiating(view):
    """Run a block that reads the net with autograd on, whatever mode the caller is in."""
    module = view.module
    with view.reading(), torch.enable_grad(), _without_cudnn(module):
        yield


@contextmanager
def _without_cudnn(module):
    """Run recurrent parts by torch's own kernels: cuDNN's have no backward pass in eval mode."""
    found, handles = torch.backends.cudnn.enabled, []

    def switch(value):
        torch.backends.cudnn.enabled = value

    try:
        for part in module.modules():
            if isinstance(part, torch.nn.RNNBase):
                handles.append(part.register_forward_pre_hook(lambda *_: switch(False)))
                handles.append(
                    part.register_forward_hook(
                        lambda *_: switch(found), always_call=True
                    )
                )
        yield
    finally:
        switch(found)
        for handle in handles:
            handle.remove()
