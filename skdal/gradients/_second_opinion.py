"""Who is right where a sample alone has another gradient than in its mini-batch.

Both are plain autograd's, so one of torch's own backward passes may be wrong for a shape, or
the sample lies at a kink (a ReLU at 1e-9) of which the two took different sides by rounding.
Losses alone decide: their difference quotient in float64, along the difference of both
gradients, is what one of the two says, or lies between them at a kink.
"""

import copy
import logging

import torch

from skdal.gradients._memory import is_out_of_memory
from skdal.utils import reason, tree_map

logger = logging.getLogger("skdal")
_STEP = 1e-4


def is_alone_right(model, sample, alone, together):
    """Tell whether losses side with a sample's gradient alone, against the other.

    Parameters
    ----------
    model : object
        Of the pass.
    sample : MiniBatch
        Of one sample, with its label.
    alone, together : dict of str to tensor
        Its two gradients.
    """
    alone = {name: part.double() for name, part in alone.items()}
    together = {name: part.double() for name, part in together.items()}
    difference = {name: alone[name] - together[name] for name in alone}
    squares = [part.square().sum() for part in difference.values()]
    size = sum(squares).sqrt()
    if not size > 0:
        return False
    direction = {name: part / size for name, part in difference.items()}
    try:
        slope = _slope(model, sample, direction)
    except Exception as error:
        # A copy of the module in float64 may raise anything.
        if is_out_of_memory(error):
            raise
        logger.info("the self-check has no second opinion: %s", reason(error))
        return False
    products = [together[name] * part for name, part in direction.items()]
    of_together = sum(product.sum() for product in products)
    # It is 0 if the slope is as together, and 1 if it is as alone.
    return bool((slope - of_together) / size > 0.9)


def _slope(model, sample, direction):
    """Return the difference quotient of a sample's loss along a direction of length one.

    It is central, and taken in float64.
    """
    twin = model.with_module(copy.deepcopy(model.module).double())
    parameters = dict(twin.module.named_parameters())
    inputs = tree_map(_double, sample.inputs)
    losses = []
    with torch.no_grad():
        for step in (_STEP, -2 * _STEP):
            for name, part in direction.items():
                parameters[name].add_(part, alpha=step)
            outputs = twin.forward(inputs)
            losses.append(twin.losses(outputs, sample.labels).sum())
    return (losses[0] - losses[1]) / (2 * _STEP)


def _double(x):
    return x.double() if x.is_floating_point() else x
