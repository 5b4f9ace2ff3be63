"""Inner products of gradients with one of them in memory: forward-mode derivatives along it."""

import logging

import torch
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from skdal.gradients._backward import differentiate
from skdal.gradients._ladder import UNTRACEABLE, Ladder, values_of
from skdal.gradients._loop import gradient_entries
from skdal.gradients._selfcheck import tolerance_of
from skdal.utils import frozen, swapped

logger = logging.getLogger("skdal")


class Products:
    """Inner products of the gradients of values.

    Parameters
    ----------
    model : object
        With `module` and `forward`.
    parameters : dict of str to Parameter
        What the gradients are taken by.
    values : callable
        (outputs (n, K), labels (n,) or None) -> (n, m), each row of the sample's own.
    """

    def __init__(self, model, parameters, values):
        self._model = model
        self._parameters = parameters
        self._values = values
        self._checked_way = None
        self._along = Ladder(self._ways(), UNTRACEABLE, _tell)

    def _ways(self):
        parts = self._model.module.modules()
        if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
            # The parameters of a scripted part cannot be swapped.
            return [self._one_by_one]
        checked = [
            self._checked(way)
            for way in (self._by_forward_mode, self._by_two_backwards)
        ]
        return [*checked, self._one_by_one]

    def gradients(self, batch):
        """Yield, by sample, an iterator over its values' gradients, dicts by name."""
        for i in range(len(batch)):
            sample = batch.sample(i)
            outputs = self._model.forward(sample.inputs)
            row = self._values(outputs, sample.labels)[0]
            yield (
                self._shaped(gradient_entries(value, self._parameters)) for value in row
            )

    def along(self, direction, batch):
        """Return the derivatives (n, m) of all values along a direction, a dict by name."""
        return self._along(direction, batch)

    def _checked(self, way):
        """Return a way whose first result is compared with a sample's gradients.

        Hooks of a module on the gradients of its tensors, for one, change those alone.
        """

        def run(direction, batch):
            derivatives = way(direction, batch)
            if self._checked_way != way:
                self._check(derivatives, direction, batch)
                self._checked_way = way
            return derivatives

        return run

    def _check(self, derivatives, direction, batch):
        index = int(derivatives.abs().amax(1).argmax())
        (gradients,) = self.gradients(batch.sample(index))
        gradients = torch.stack([_flat(gradient) for gradient in gradients])
        along = _flat(direction)
        dtypes = {parameter.dtype for parameter in self._parameters.values()}
        tolerance = tolerance_of(dtypes, derivatives.is_cuda)
        allowed = tolerance * gradients.norm(dim=1) * along.norm()
        error = derivatives[index] - gradients @ along
        if (error.abs() > allowed).any():
            raise ValueError("it does not give what plain gradients give")

    def _by_forward_mode(self, direction, batch):
        point = values_of(self._parameters)

        def values_at(point):
            return self._values_at(point, batch)

        with frozen(self._model.module), torch.no_grad():
            _, derivatives = jvp(values_at, (point,), (direction,))
        return derivatives

    def _by_two_backwards(self, direction, batch):
        """Differentiate J'u, which is linear in u, by u."""
        point = values_of(self._parameters)
        for value in point.values():
            value.requires_grad_()
        values = self._values_at(point, batch)
        u = torch.zeros_like(values, requires_grad=True)
        gradients = differentiate(
            values, list(point.values()), u, create_graph=True, allow_unused=True
        )
        products = [
            (gradient * v).sum()
            for gradient, v in zip(gradients, direction.values())
            if gradient is not None
        ]
        (derivatives,) = differentiate(sum(products), [u])
        return derivatives

    def _one_by_one(self, direction, batch):
        along = _flat(direction)
        rows = [
            [_flat(gradient) @ along for gradient in row]
            for row in self.gradients(batch)
        ]
        return torch.tensor(rows, dtype=along.dtype, device=along.device)

    def _values_at(self, point, batch):
        """Return the values (n, m) with other tensors in place of the parameters."""
        with (
            swapped(self._model.module, self._parameters, point),
            sdpa_kernel(SDPBackend.MATH),
        ):
            return self._values(self._model.forward(batch.inputs), batch.labels)

    def _shaped(self, entries):
        sizes = [p.numel() for p in self._parameters.values()]
        parts = zip(self._parameters.items(), entries.split(sizes))
        return {name: part.view_as(p) for (name, p), part in parts}


def _tell(why):
    logger.info(
        "derivatives of the module along a direction are taken another way: %s", why
    )


def _flat(gradient):
    return torch.cat([part.flatten() for part in gradient.values()])
