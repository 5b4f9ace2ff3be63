"""The weights that a module instance had when it was passed, from which every cold fit of it
starts.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin

from skdal.adapters import final_estimator, is_frozen, is_net
from skdal.exceptions import InvalidParameterError


class StartingWeights:
    """Copies of the parameters and buffers of a net's module instance.

    skorch trains an instance where it is, so that a second `fit` of the net would go on from
    trained weights. A module class, or an instance that skorch makes anew since there are
    `module__` parameters, needs no copies.

    Parameters
    ----------
    estimator : estimator or None
        The weights of its net, if it has one, are taken now. None: of nothing.
    """

    def __init__(self, estimator: Any) -> None:
        self._module = _instance_of(estimator)
        self._tensors = None
        self._lazy_module = None
        if self._module is None:
            return
        tensors = _tensors_of(self._module)
        if any(
            isinstance(tensor, UninitializedTensorMixin) for tensor in tensors.values()
        ):
            self._lazy_module = copy.deepcopy(self._module)
        else:
            self._tensors = {
                name: (x.detach().clone(), x.requires_grad)
                for name, x in tensors.items()
            }

    def restore(self, estimator: Any) -> Any:
        """Give the module instance of an estimator the weights that it had; one that was not seen
        before has them.
        """
        module = _instance_of(estimator)
        if module is not self._module:
            self.__init__(estimator)
        elif self._lazy_module is not None:
            self._module = copy.deepcopy(self._lazy_module)
            vars(final_estimator(estimator))["module"] = (
                self._module
            )  # skorch guards the setting of modules
        elif module is not None:
            self._put_into(module)

    def give(self, estimator: Any) -> Any:
        """Give a clone of the estimator the weights, too."""
        module = _instance_of(estimator)
        if module is not None and self._tensors is not None:
            self._put_into(module)

    def _put_into(self, module):
        tensors = _tensors_of(module)
        self._check_shapes(tensors)
        with torch.no_grad():
            for name, tensor in tensors.items():
                value, requires_grad = self._tensors[name]
                tensor.copy_(value)
                if tensor.requires_grad != requires_grad:
                    tensor.requires_grad_(requires_grad)

    def _check_shapes(self, tensors):
        shapes = {
            name: tuple(value.shape) for name, (value, _) in self._tensors.items()
        }
        now = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        changed = sorted(
            name
            for name in shapes.keys() | now.keys()
            if shapes.get(name) != now.get(name)
        )
        if changed:
            raise InvalidParameterError(
                "a training from scratch starts from the weights that the module instance had "
                "when it was passed, and its parameters are others since: "
                f"{', '.join(changed[:5])}. Make a new learner of the net, or pass the module "
                "as a class."
            )


def _instance_of(estimator):
    """Return the module instance that skorch trains where it is, None where it makes a new one."""
    if not is_net(estimator) or is_frozen(estimator):
        return None
    net = final_estimator(estimator)
    is_used = isinstance(net.module, nn.Module) and not net.get_params_for("module")
    return net.module if is_used else None


def _tensors_of(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
