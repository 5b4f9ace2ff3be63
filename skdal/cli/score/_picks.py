"""The picks of a sampler, with all that is known of them."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Subset

from skdal.adapters import open_net
from skdal.base import ScoreSampler
from skdal.exceptions import InvalidParameterError, MissingLabeledDataError
from skdal.pools import SetAside


class Picks(NamedTuple):
    """What a sampler picked.

    Attributes
    ----------
    positions : intp array (n,)
        In the pool, best first.
    columns : dict of str to array (n,)
        "score", NaN where the sampler has none; "label", the predicted one; and what else the
        sampler computes.
    unreadable : list of Unreadable
        Samples that were set aside, and picks that no sampler looked at.
    """

    positions: np.ndarray
    columns: dict
    unreadable: list


def pick(sampler, pool, n_instances):
    """Return the Picks of a fitted sampler.

    Raises
    ------
    InvalidParameterError
        The sampler needs the labeled set, and was fitted without.
    """
    try:
        positions, columns = _picked(sampler, pool, n_instances)
    except MissingLabeledDataError as error:
        raise InvalidParameterError(
            f"{type(sampler).__name__} needs the labeled set: pass --labeled CSV. Or choose a "
            "--sampler that needs the net's class probabilities alone, such as margin."
        ) from error
    unreadable = list(getattr(sampler, "unreadable_", []))
    if "label" not in columns:
        columns["label"], found = _predicted(sampler, pool, positions)
        unreadable = sorted({*unreadable, *found})
    return Picks(positions, columns, unreadable)


def _picked(sampler, pool, n_instances):
    """Return (positions, columns); a sampler that looks at a batch as a whole has scores of its
    picks at most.
    """
    if isinstance(sampler, ScoreSampler):
        best = sampler.best(pool, n_instances)
        return best.positions, dict(best.columns)
    positions, scores = sampler.query(pool, n_instances, return_scores=True)
    return positions, {"score": scores}


def _predicted(sampler, pool, positions):
    """Return the labels (n,) that the net predicts, None of picks that cannot be read, and these,
    Unreadable.
    """
    seen = SetAside(Subset(pool, positions))
    net = open_net(sampler.estimator_)
    with net.reading(), torch.no_grad():
        outputs = [net.forward(inputs) for inputs, _ in net.pool_batches(seen)]
    labels = torch.cat(outputs).argmax(1).cpu().numpy().astype(object)
    unreadable = []
    for sample in seen.unreadable():
        labels[sample.position] = None
        unreadable.append(sample._replace(position=int(positions[sample.position])))
    return labels, unreadable
