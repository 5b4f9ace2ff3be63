"""What a device computes with."""

import torch

from skdal.exceptions import InvalidParameterError


def check_device(device):
    """Return a torch.device.

    Raises
    ------
    InvalidParameterError
        torch has no such device here.
    """
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidParameterError(
            f"there is no device {device!r} here to compute on. torch said: {error}"
        ) from error
    return torch.device(device)


def may_use_tf32():
    """Tell whether products of float32 on CUDA may be rounded to TF32."""
    try:
        return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    except (
        RuntimeError
    ):  # set by the newer `fp32_precision`, which these cannot express
        return True
