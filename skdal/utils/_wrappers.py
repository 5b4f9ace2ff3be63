"""What torch puts around modules."""

import torch


def unwrapped(module):
    """Return a module without what torch.compile and DataParallel put around it."""
    while True:
        if isinstance(
            module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
        ):
            module = module.module
        elif hasattr(module, "_orig_mod"):  # torch.compile
            module = module._orig_mod
        else:
            return module
