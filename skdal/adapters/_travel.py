"""Estimators that travel: light on the way, on another device at the end, known by a digest of what they compute."""

import copy
import hashlib
from typing import Any, NamedTuple

import joblib
import torch
from sklearn.pipeline import Pipeline

from skdal.adapters._kinds import final_estimator, is_net, unfrozen
from skdal.adapters._net import OWN_LENGTH, unwrapped
from skdal.utils import describe


class PackedEstimator(NamedTuple):
    """An estimator on its way: of a net its class and state, since skorch would pickle the module by name alone.

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
        """Return the estimator with its net on a device, where it works in mini-batches of `batch_size`, if given."""
        if self.net_class is None:
            return self.steps
        net = object.__new__(self.net_class)
        net.__dict__.update(self.state, device=device, batch_size=batch_size or self.state["batch_size"])
        net.__dict__[OWN_LENGTH] = batch_size
        net.__dict__.update(module_=net.module_.to(device), criterion_=net.criterion_.to(device))
        return with_final(self.steps, lambda _: net)


def packed(estimator):
    """Return a PackedEstimator."""
    final = final_estimator(estimator)
    if not is_net(final):
        return PackedEstimator(unfrozen(estimator))
    parts = {name: _on_cpu(getattr(final, name)) for name in ("module_", "criterion_")}
    state = {**vars(final), **parts, "callbacks": None, "callbacks_": [], "optimizer_": None, "history_": []}
    return PackedEstimator(with_final(estimator, lambda _: None), type(final), state)


def _on_cpu(module):
    tensors = [*module.parameters(), *module.buffers()]
    return module if all(x.device.type == "cpu" for x in tensors) else copy.deepcopy(module).cpu()


def estimator_digest(estimator):
    """Return a digest of what an estimator computes: modules of a net with code and weights, the state of others."""
    final = final_estimator(estimator)
    if not is_net(final):
        return joblib.hash(unfrozen(estimator))
    return joblib.hash((_net_digest(final), with_final(estimator, lambda _: None)))


def tensors_digest(tensors):
    """Return a digest of named tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        digest.update(repr((name, values.dtype, tuple(values.shape))).encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _net_digest(net):
    return joblib.hash(describe([type(net), unwrapped(net.module_), net.criterion_, net.predict_nonlinearity]))


def with_final(estimator, change):
    """Return a copy of an estimator whose last step is changed."""
    estimator = unfrozen(estimator)
    if not isinstance(estimator, Pipeline):
        return change(estimator)
    pipeline = copy.copy(estimator)
    *before, (name, last) = estimator.steps
    pipeline.steps = [*before, (name, with_final(last, change))]
    return pipeline
