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
    """Run recurrent parts by torch's own kernels.

    Those of cuDNN have no backward pass in eval mode.
    """
    was_enabled = torch.backends.cudnn.enabled

    def switch_off(*_):
        torch.backends.cudnn.enabled = False

    def switch_back(*_):
        torch.backends.cudnn.enabled = was_enabled

    handles = []
    try:
        for part in module.modules():
            if isinstance(part, torch.nn.RNNBase):
                handles.append(part.register_forward_pre_hook(switch_off))
                handles.append(
                    part.register_forward_hook(switch_back, always_call=True)
                )
        yield
    finally:
        switch_back()
        for handle in handles:
            handle.remove()
