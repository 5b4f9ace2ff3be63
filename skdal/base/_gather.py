"""Tensors of a whole pool, or of its candidates, for samplers that look at all samples at once."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import torch

from skdal.base._pass import check_any, run_pass
from skdal.base._reducers import Best, Gather
from skdal.base._work import as_work
from skdal.utils import count_rows, refuse_non_finite

logger = logging.getLogger("skdal")


class Gathered(NamedTuple):
    """What is known of the samples that a batch is chosen from.

    Attributes
    ----------
    positions : intp array (m,)
        In the pool, ascending.
    columns : dict of str to tensor (m, ...)
    unreadable : list of Unreadable
    """

    positions: np.ndarray
    columns: dict
    unreadable: list


def gather(
    sampler: Any,
    work: Any,
    trained: Any,
    X: Any,
    n_instances: int = 1,
    *,
    n_candidates: int | None = None,
) -> Any:
    """Return what a work gives for all samples of the pool that can be read.

    Parameters
    ----------
    sampler : BaseSampler
        Its executor runs the work.
    work : Work
    trained : Trained
    X : data
    n_instances : int, default=1
        As many samples have to be readable.
    n_candidates : int, optional
        Only so many samples are given back, those of highest "score", which the work then gives,
        too.

    Returns
    -------
    Gathered
    """
    work = as_work(work, sampler.verbose)
    executor = sampler.executor
    name = type(sampler).__name__
    n_rows = count_rows(X)
    if getattr(executor, "scores_dir", None) is not None:
        logger.warning(
            "%s looks at all samples at once; nothing is kept in scores_dir", name
        )
    if n_candidates is None or n_candidates >= n_rows:
        limit = None if executor is None else executor.gather_limit
        rows = Gather(n_rows, limit, name)
        result = run_pass(work, trained, X, executor, rows, description="embeddings")
        columns = rows.columns
        positions = rows.positions
    else:
        best = Best(n_candidates)
        result = run_pass(work, trained, X, executor, best, description="candidates")
        refuse_non_finite(result.damaged, n_rows)
        positions, arrays = best.by_position()
        columns = {name: torch.from_numpy(x) for name, x in arrays.items()}
    check_any(len(positions), n_rows, n_instances)
    return Gathered(positions, columns, result.unreadable)
