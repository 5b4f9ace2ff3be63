"""What kernels of infinitely wide networks are computed of: a network and samples, checked."""

import warnings

import numpy as np
import torch

from skdal.dynamics._recursion import Network, prepare
from skdal.exceptions import (
    IllConditionedWarning,
    InvalidDataError,
)
from skdal.utils import (
    as_array,
    check_known,
    check_values,
    is_number,
    is_positive_integer,
    row_slices,
)

_SCALES = (
    1e-100,
    1e100,
)  # of standard deviations, of which squares are finite and not zero
_NEAR = 0.01  # an angle between samples, at which the bound is off by half a percent in float32
_COPY = 1e-6  # and one that is rounding
_CANDIDATES = 4096  # pairs that are looked at more closely, of each part of the samples


def _is_odd(value):
    return is_positive_integer(value) and value % 2 == 1


def _is_scale(value):
    return is_number(value) and _SCALES[0] <= value <= _SCALES[1]


def _is_scale_or_zero(value):
    return _is_scale(value) or is_number(value) and value == 0


_CHECKS = {
    "depth": (is_positive_integer, "an integer of at least 1, the hidden layers"),
    "kernel_size": (_is_odd, "an odd positive integer"),
    "weight_std": (_is_scale, "a number above 0, from 1e-100 to 1e100"),
    "bias_std": (_is_scale_or_zero, "0 or a number from 1e-100 to 1e100"),
}


def check_network(kind, depth, weight_std, bias_std, readout, kernel_size, kernel):
    """Return the `Network` that the arguments of `infinite_ntk` are of.

    Raises
    ------
    InvalidParameterError
        One of them is not allowed.
    """
    check_known("kind of network", kind, ("mlp", "conv"))
    check_known("readout", readout, ("gap", "flatten"))
    check_known("kernel", kernel, ("ntk", "nngp"))
    values = {
        "depth": depth,
        "kernel_size": kernel_size,
        "weight_std": weight_std,
        "bias_std": bias_std,
    }
    check_values(values, _CHECKS)
    is_conv = kind == "conv"
    return Network(
        depth=int(depth),
        window=int(kernel_size) if is_conv else 1,
        weight_var=float(weight_std) ** 2,
        bias_var=float(bias_std) ** 2,
        pools=is_conv and readout == "gap",
        tangent=kernel == "ntk",
    )


def check_inputs(X, name, kind, dtype):
    """Return samples as a tensor on the CPU, (n, channels, height, width), flat ones as images of
    one pixel.

    Raises
    ------
    InvalidDataError
        They are not real numbers, of another shape, or cannot be told from zero or infinity in
        `dtype`.
    """
    x = as_array(X, name)
    if x.dtype.kind not in "biuf":
        raise InvalidDataError(f"{name} must be real numbers; got {x.dtype}.")
    if x.ndim < 2 or not x.size or (kind == "conv" and x.ndim != 4):
        wanted = "(n, channels, height, width)" if kind == "conv" else "(n, ...)"
        raise InvalidDataError(
            f"{name} must have shape {wanted}, at least one sample; got {x.shape}."
        )
    if not np.isfinite(x).all():
        raise InvalidDataError(
            f"{name} has NaN or infinite values; remove these samples."
        )
    flat = x.reshape(len(x), -1)
    with np.errstate(over="ignore"):
        x = torch.tensor(x.astype(dtype))  # a copy, which may be of a read-only array
    if not x.isfinite().all() or (flat.any(1) & ~x.flatten(1).any(1).numpy()).any():
        raise InvalidDataError(_out_of_range(x.dtype))
    return x if kind == "conv" else x.reshape(len(x), -1, 1, 1)


def prepared(network, x):
    """Return the `Images` of samples whose variances, and products of these, can be told from zero
    and infinity.
    """
    images = prepare(network, x.permute(2, 3, 0, 1).contiguous())
    squares = images.variances.amax((1, 2)).square()
    lost = x.flatten(1).any(1) & (squares == 0).any(0)
    if lost.any() or not squares.isfinite().all():
        raise InvalidDataError(_out_of_range(x.dtype))
    return images


def _out_of_range(dtype):
    return (
        f"the samples are too large or too small for {str(dtype).removeprefix('torch.')}, or "
        "become so: squares of their variances overflow or vanish. Scale them; without biases "
        "the kernel of a X is a^2 times that of X. Each hidden layer multiplies variances by "
        "weight_std^2 / 2."
    )


def warn_of_near_twins(rows, columns, names, stacklevel):
    """Warn if samples in float32 are so near to each other, up to a factor, that rounding blurs
    their kernel.

    At an angle a the relative error of what tells two of them apart is about 4 eps / a^2. Exact
    copies lose nothing.
    """
    units = [
        x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True).clamp_min(1e-30)
        for x in (rows, columns)
    ]
    for some in row_slices(len(rows), 256):
        cosines = units[0][some] @ units[1].T
        i, j = torch.nonzero(cosines > 1 - _NEAR**2)[:_CANDIDATES].T
        angles = (units[0][some][i].double() - units[1][j].double()).norm(dim=1)
        is_near = (angles > _COPY) & (angles < _NEAR)
        if is_near.any():
            first = int(is_near.nonzero()[0])
            warnings.warn(
                f"samples {int(i[first]) + some.start} and {int(j[first])} of {names} are at "
                f"an angle of {float(angles[first]):.2g}, and in float32 the kernel blurs what "
                f"tells samples below {_NEAR} apart: generalization_bound may be far off. Use "
                "float64, or leave out near copies.",
                IllConditionedWarning,
                stacklevel=stacklevel,
            )
            return
