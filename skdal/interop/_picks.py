"""What a query strategy of another library gave: checked before anyone pays for labels."""

import numpy as np

from skdal.exceptions import InvalidParameterError


def checked_picks(found, n_instances, n_pool, name):
    """Return (indices, scores) from what a query strategy gave.

    Parameters
    ----------
    found : array-like (n_instances,) or tuple
        Positions in the pool, or (positions, scores); what else comes second counts as no scores.
    n_instances, n_pool : int
        How many were asked for, and of how many.
    name : str
        Of the strategy, for the error.

    Returns
    -------
    indices : intp array (n_instances,)
    scores : float64 array (n_instances,)
        NaN where the strategy gave none.

    Raises
    ------
    InvalidParameterError
        The positions are not `n_instances` different integers from 0 to n_pool - 1.
    """
    found, scores = (
        found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    )
    indices = np.atleast_1d(np.asarray(found))
    fault = _fault(indices, n_instances, n_pool)
    if fault:
        raise InvalidParameterError(
            f"the query strategy {name} gave {fault}. It was asked for {n_instances} different "
            f"positions in a pool of {n_pool}: integers from 0 to {n_pool - 1}, not the "
            "samples themselves. Correct the strategy, or use a sampler of skdal.samplers."
        )
    scores = np.asarray(np.nan if scores is None else scores)
    has_scores = scores.shape == indices.shape and scores.dtype.kind in "iuf"
    return indices.astype(np.intp), np.array(
        scores, dtype=np.float64
    ) if has_scores else np.full(n_instances, np.nan)


def _fault(indices, n_instances, n_pool):
    """Say what is wrong with positions, None if nothing is."""
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        return f"an array of shape {indices.shape} and dtype {indices.dtype}"
    if len(indices) != n_instances:
        return f"{len(indices)} positions"
    outside = indices[(indices < 0) | (indices >= n_pool)]
    if len(outside):
        return f"positions outside of the pool, such as {outside[:5].tolist()}"
    values, counts = np.unique(indices, return_counts=True)
    if len(values) < n_instances:
        return f"positions more than once, such as {values[counts > 1][:5].tolist()}"
    return None
