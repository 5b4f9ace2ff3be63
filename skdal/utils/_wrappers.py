"""What torch puts around modules."""

import torch

from skdal.utils._torch import original_of


def unwrapped(module):
    """Return a module without what torch.compile and DataParallel put around it."""
    while True:
        if isinstance(
            module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
        ):
            module = module.module
        elif original_of(module) is not None:
            module = original_of(module)
        else:
            return module
