"""Arrays from what holds numbers: tensors of any device too."""

import numpy as np
import torch
from scipy.sparse import issparse

from skdal.exceptions import InvalidDataError


def as_array(values, name):
    """Return values as an array, a tensor's without a copy where it is on the CPU.

    Raises
    ------
    InvalidDataError
        They are sparse, or a tensor of a type that numpy does not have, such as bfloat16.
    """
    if issparse(values):
        raise InvalidDataError(
            f"{name} must be a dense array; got a sparse one. Pass {name}.toarray()."
        )
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    try:
        return values.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise InvalidDataError(
            f"{name} is a tensor of {values.dtype}, {values.layout}, of which numpy has no "
            f"arrays ({error}); pass a dense one of float32 or float64."
        ) from error
