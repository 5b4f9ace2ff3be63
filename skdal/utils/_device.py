"""What a device computes with."""

import torch


def may_use_tf32():
    """Tell whether products of float32 on CUDA may be rounded to TF32."""
    try:
        return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set by the newer `fp32_precision`, which these cannot express
        return True
