"""Where a net computes, and mini-batches brought there."""

from itertools import chain

import torch
from skorch.utils import to_tensor


def device_of(net):
    """Return the torch.device of a net.

    With skorch's `device=None`, which leaves placement to others such as accelerate, it is that of
    the module's tensors. Tensors on the meta device are loaded only for a call, so they say
    nothing.
    """
    if net.device is not None:
        return torch.device(net.device)
    tensors = chain(net.module_.parameters(), net.module_.buffers())
    return next(
        (tensor.device for tensor in tensors if not tensor.is_meta), torch.device("cpu")
    )


def on_device(inputs, device):
    """Move a mini-batch; to a CUDA device from pinned memory, while the device still computes."""
    if device.type != "cuda":
        return to_tensor(inputs, device=device)
    if isinstance(inputs, torch.Tensor) and not inputs.is_cuda:
        return inputs.pin_memory().to(device, non_blocking=True)
    if isinstance(inputs, dict):
        return {key: on_device(value, device) for key, value in inputs.items()}
    return to_tensor(inputs, device=device)
