"""Estimators that travel: light on the way, on another device at the end, known by a digest of what
they compute.
"""

import copy
from typing import Any, NamedTuple

import joblib
import torch
from sklearn.pipeline import Pipeline
from skorch.hf import AccelerateMixin

from skdal.adapters._accelerate import OneProcess
from skdal.adapters._kinds import final_estimator, is_net, unfrozen
from skdal.adapters._net import OWN_LENGTH
from skdal.utils import describe, digest, unwrapped

_PARTS = ("module_", "criterion_")


class PackedEstimator(NamedTuple):
    """An estimator on its way: of a net its class and state, since skorch would pickle the module
    by name alone.

    Attributes
    ----------
    steps : estimator
        With None for its last step where that is a net.
    net_class : type or None
    state : dict or None
        Of a net, without what only training needs; the module is on the CPU.
    """

    steps: Any
    net_class: Any = None
    state: Any = None

    def on(self, device, batch_size=None):
        """Return the estimator with its net on a device, where it works in mini-batches of
        `batch_size`, if given.
        """
        if self.net_class is None:
            return self.steps
        net = object.__new__(self.net_class)
        net.__dict__.update(self.state, device=device)
        if batch_size is not None:
            net.__dict__.update(
                batch_size=batch_size, iterator_valid__batch_size=batch_size
            )
        net.__dict__[OWN_LENGTH] = batch_size
        for name in _PARTS:
            if isinstance(net.__dict__[name], torch.nn.Module):
                net.__dict__[name].to(device)
        return with_final(self.steps, lambda _: net)


def packed(estimator):
    """Return a PackedEstimator."""
    final = final_estimator(estimator)
    if not is_net(final):
        return PackedEstimator(unfrozen(estimator))
    state = {**vars(final), "callbacks_": [], "optimizer_": None, "history_": []}
    for name in _PARTS:
        state[name] = _on_cpu(state[name])
    for name in state:
        if name == "callbacks" or name.startswith(
            "callbacks__"
        ):  # a sink for the log may be a method of anything
            state[name] = None
    if isinstance(final, AccelerateMixin):
        state["accelerator"] = OneProcess()
    return PackedEstimator(with_final(estimator, lambda _: None), type(final), state)


def _on_cpu(module):
    if not isinstance(
        module, torch.nn.Module
    ):  # a criterion may be a function, or None once a net was trimmed
        return module
    tensors = [*module.parameters(), *module.buffers()]
    return (
        module
        if all(x.device.type == "cpu" for x in tensors)
        else copy.deepcopy(module).cpu()
    )


def estimator_digest(estimator):
    """Return a digest of what an estimator computes: modules of a net with code and weights, the
    state of others.
    """
    final = final_estimator(estimator)
    if not is_net(final):
        return joblib.hash(unfrozen(estimator))
    return joblib.hash((_net_digest(final), with_final(estimator, lambda _: None)))


def tensors_digest(tensors):
    """Return a digest of named tensors."""
    return digest(_bytes_of(tensors))


def _bytes_of(tensors):
    """Yield the name and kind of each tensor, and its values: one at a time, as they may come from
    a GPU.
    """
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        yield repr((name, values.dtype, tuple(values.shape))).encode()
        yield values.reshape(-1).view(torch.uint8).numpy()


def _net_digest(net):
    return joblib.hash(
        describe(
            [
                type(net),
                unwrapped(net.module_),
                net.criterion_,
                net.predict_nonlinearity,
            ]
        )
    )


def with_final(estimator, change):
    """Return a copy of an estimator whose last step is changed."""
    estimator = unfrozen(estimator)
    if not isinstance(estimator, Pipeline):
        return change(estimator)
    pipeline = copy.copy(estimator)
    *before, (name, last) = estimator.steps
    pipeline.steps = [*before, (name, with_final(last, change))]
    return pipeline
