"""Who is right where a sample alone and the same sample in its mini-batch have different gradients.

Both are plain autograd's, so one of torch's own backward passes may be wrong for a shape, or the sample lies at a kink
(a ReLU at 1e-9) of which the two took different sides by rounding. Losses alone decide: their difference quotient in
float64, along the difference of both gradients, is what one of the two says, or lies between them at a kink.
"""

import copy
import logging

import torch

from skdal.gradients._loop import cut
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._tape import mapped
from skdal.utils import reason

logger = logging.getLogger("skdal")
_STEP = 1e-4


def is_alone_right(model, inputs, labels, index, alone, together):
    """Tell whether losses side with a sample's gradient alone, and against that in its mini-batch.

    Parameters
    ----------
    model, inputs, labels
        Of the pass.
    index : int
        The sample's row.
    alone, together : dict of str to tensor
        Its two gradients.
    """
    difference = {
        name: alone[name].double() - together[name].double() for name in alone
    }
    size = sum(d.square().sum() for d in difference.values()).sqrt()
    if not size > 0:
        return False
    direction = {name: d / size for name, d in difference.items()}
    sample, label = (
        cut(inputs, slice(index, index + 1), len(labels)),
        labels[index : index + 1],
    )
    try:
        slope = _slope(model, sample, label, direction)
    except Exception as error:  # whatever a copy of the module in float64 raises
        if is_out_of_memory(error):
            raise
        logger.info("the self-check has no second opinion: %s", reason(error))
        return False
    of_together = sum(
        (together[name].double() * d).sum() for name, d in direction.items()
    )
    return bool((slope - of_together) / size > 0.9)  # 0: as together; 1: as alone


def _slope(model, sample, label, direction):
    """Return the central difference quotient of a sample's loss along a direction of length one, in float64."""
    wide = lambda x: x.double() if x.is_floating_point() else x
    twin = model.with_module(copy.deepcopy(model.module).double())
    parameters, sample = dict(twin.module.named_parameters()), mapped(wide, sample)
    losses = []
    with torch.no_grad():
        for step in (_STEP, -2 * _STEP):
            for name, d in direction.items():
                parameters[name].add_(d, alpha=step)
            losses.append(twin.losses(twin.forward(sample), label).sum())
    return (losses[0] - losses[1]) / (2 * _STEP)
