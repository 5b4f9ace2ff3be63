"""The L2 penalty that a net is trained with: what its optimizer's weight decay adds to the loss of
the labeled set.
"""

import copy
import functools
import inspect
import logging

import numpy as np
import torch

from skdal.adapters._kinds import final_estimator
from skdal.adapters._net import open_net
from skdal.exceptions import UnsupportedEstimatorError
from skdal.utils import count_rows, unwrapped

logger = logging.getLogger("skdal")

# Of torch.optim. Coupled: weight_decay * w is added to the gradient, which is the gradient of an L2
# penalty. Decoupled:
# the weights shrink beside the step, and where training comes to rest is not a minimum of a
# penalised
# loss.
COUPLED = (
    "SGD",
    "ASGD",
    "Adam",
    "Adamax",
    "NAdam",
    "RAdam",
    "Adagrad",
    "Adadelta",
    "RMSprop",
)
DECOUPLED = ("AdamW", "Adafactor", "Muon")
WITHOUT = ("LBFGS", "Rprop", "SparseAdam")

_REMEDY = (
    "A number as penalty= is taken for its L2 factor, and penalty=None says that there is "
    "none."
)


def penalised(estimator, X, y, gradient, penalty, counts=None):
    """Return the summed gradient of a labeled set, with the gradient of the L2 penalty that the net
    is trained with.

    A training minimizes mean loss + decay / 2 ||w||^2, and so the sum of the losses + n decay / 2
    ||w||^2 with n what the mean divides by. n decay w is what is added.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator
        Trained.
    X, y : data
        The labeled set.
    gradient : dict of str to tensor
        By parameter name, as `labeled_gradient` returns it.
    penalty : "auto" or float
        "auto": each parameter's decay is what the net's optimizer has for its group now. A number:
        the decay of all parameters, of a loss that is minimized.
    counts : tensor (K,), optional
        How many samples are of each class, where it is known; None: labels are counted, which reads
        those of a Dataset.

    Returns
    -------
    dict of str to tensor
        `gradient` itself, where nothing is penalised.

    Raises
    ------
    UnsupportedEstimatorError
        The criterion does not tell what its mean divides by.
    """
    view = open_net(estimator)
    net = final_estimator(estimator)
    parameters = {
        name: p for name, p in view.module.named_parameters() if name in gradient
    }
    if penalty == "auto":
        factors = _factors(net, view.module)
    else:
        factors = {id(p): float(penalty) for p in parameters.values()}
    factors = {
        name: factors[id(p)] for name, p in parameters.items() if factors.get(id(p))
    }
    if not factors:
        return gradient
    n = _divisor(net, view, X, y, counts)
    total = dict(gradient)
    for name, factor in factors.items():
        total[name] = gradient[name] + n * factor * parameters[name].detach().to(
            gradient[name]
        )
    return total


def _factors(net, module):
    """Return the factor of the L2 penalty by the id of each parameter that has one, as the net's
    optimizers are now.
    """
    found = {}
    for name in getattr(net, "_optimizers", ["optimizer"]):
        for group in _coupled_groups(getattr(net, f"{name}_", None)):
            decay = float(group["weight_decay"]) + float(
                group.get("lambd", 0)
            )  # lambd: a second one, of ASGD
            sign = (
                -1 if group.get("maximize", False) else 1
            )  # then loss - decay / 2 ||w||^2 is made large
            found |= {id(p): sign * decay for p in group["params"]}
    if any(found.values()) and not any(id(p) in found for p in module.parameters()):
        _say_once(
            "penalty=\"auto\" adds nothing: the net's optimizer has none of its module's "
            f"parameters. {_REMEDY}"
        )
    return found


def _coupled_groups(optimizer):
    """Return the parameter groups of an optimizer whose weight decay is an L2 penalty; say where
    none is known.
    """
    while isinstance(
        getattr(optimizer, "optimizer", None), torch.optim.Optimizer
    ):  # accelerate's wrapper
        optimizer = optimizer.optimizer
    if optimizer is None:
        _say_once(
            'penalty="auto" adds nothing: the net has no optimizer that would tell its weight '
            f"decay. {_REMEDY}"
        )
        return []
    kind = _kind_of(optimizer)
    name = type(optimizer).__name__
    groups = [
        group for group in getattr(optimizer, "param_groups", [{}]) if _may_decay(group)
    ]
    if kind == "without" or not groups:
        return []
    if kind is None:
        _say_once(
            f'penalty="auto" adds nothing: it is not known what the weight decay of {name} does. '
            f"{_REMEDY}"
        )
        return []
    coupled = [
        group
        for group in groups
        if kind == "coupled" and not group.get("decoupled_weight_decay", False)
    ]
    if len(coupled) < len(groups):
        _say_once(
            f'penalty="auto" adds nothing for the decoupled weight decay of {name}: where that '
            f"lets a training come to rest is not a minimum of a penalised loss. {_REMEDY}"
        )
    return coupled


def _may_decay(group):
    """Tell whether a parameter group has weight decay, or does not say."""
    return (
        "weight_decay" not in group
        or bool(group["weight_decay"])
        or bool(group.get("lambd", 0))
    )


def _kind_of(optimizer):
    """Return "coupled", "decoupled" or "without"; None for a class that is unknown, or has a step
    of its own.
    """
    names = dict.fromkeys(COUPLED, "coupled") | dict.fromkeys(DECOUPLED, "decoupled")
    names |= dict.fromkeys(WITHOUT, "without")
    kinds = {
        getattr(torch.optim, name, None): kind for name, kind in names.items()
    }  # old torch has not all of them
    known = next(
        (parent for parent in type(optimizer).__mro__ if parent in kinds), None
    )
    if known is None or inspect.unwrap(type(optimizer).step) is not inspect.unwrap(
        known.step
    ):
        return None
    return kinds[known]


@functools.cache
def _say_once(message):
    logger.warning(message)


def _divisor(net, view, X, y, counts):
    """Return n: training minimizes the sum of the labeled set's losses over n, and the penalty.

    Raises
    ------
    UnsupportedEstimatorError
        The criterion's mean is none.
    """
    criterion = unwrapped(net.criterion_)
    if criterion.reduction == "sum":
        return _n_batches(net, count_rows(X))
    is_plain = isinstance(criterion, (torch.nn.CrossEntropyLoss, torch.nn.NLLLoss))
    if criterion.reduction == "none" or view.overrides_loss and not is_plain:
        return count_rows(
            X
        )  # what a get_loss of one's own makes of it is taken to be the mean over the samples
    if counts is None:
        counts = np.bincount(_labels(view, X, y), minlength=view.n_outputs(X))
    counts = np.asarray(counts.cpu() if isinstance(counts, torch.Tensor) else counts)
    classes = np.flatnonzero(counts)
    device = next(view.module.parameters()).device
    weights = _class_weights(criterion, classes, len(counts), device)
    return float(counts[classes] @ weights)


def _labels(view, X, y):
    labels = view.checked_labels(X, y)
    if labels is not None:
        return labels
    with view.reading():
        return np.concatenate(
            [part.cpu().numpy() for _, part in view.labeled_batches(X)]
        )


def _n_batches(net, n):
    """Return the number of mini-batches of an epoch: each is a sum of losses with one penalty."""
    size = net.get_params_for("iterator_train").get("batch_size", net.batch_size)
    return 1 if size is None or size < 1 else -(-n // size)


def _class_weights(criterion, classes, n_outputs, device):
    """Return what a sample of each class adds to what the criterion's mean divides by: its loss
    over its mean.

    Parameters
    ----------
    criterion : torch.nn.Module
        With the reduction that it is trained with.
    classes : int array (k,)
    n_outputs : int
    device : torch.device

    Returns
    -------
    float64 array (k,)
    """
    mean, each = (copy.deepcopy(criterion).double() for _ in range(2))
    each.reduction = "none"
    outputs = torch.arange(1.0, n_outputs + 1, dtype=torch.float64, device=device)
    outputs = (outputs / outputs.sum())[
        None
    ]  # they pass for logits and for probabilities, and no loss is zero
    weights = []
    for label in torch.as_tensor(classes, device=device):
        loss = float(each(outputs, label[None]).sum())
        weights.append(
            loss / float(mean(outputs, label[None])) if loss else 0.0
        )  # ignored: its mean would be 0 / 0
    if not np.isfinite(weights).all() or min(weights) < 0:
        raise UnsupportedEstimatorError(
            f"the criterion {type(criterion).__name__} does not tell by what its mean divides "
            f"the sum of the losses: for one sample of each class by {weights[:5]}. Pass "
            "penalty=None, which leaves weight decay out."
        )
    return np.array(weights)
