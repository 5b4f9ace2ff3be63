"""Inner products of gradients without any of them in memory but one: forward-mode derivatives along it."""

import logging

import torch
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from skdal.exceptions import SkdalError
from skdal.gradients._backward import differentiate
from skdal.gradients._factors import gradient_entries
from skdal.gradients._functorch import UNTRACEABLE
from skdal.gradients._loop import cut
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._selfcheck import tolerance_of
from skdal.gradients._tape import tensors_in
from skdal.utils import frozen, reason, swapped

logger = logging.getLogger("skdal")


class Products:
    """Inner products of the gradients of values.

    Parameters
    ----------
    model : object
        With `module` and `forward`.
    parameters : dict of str to Parameter
    values : callable
        (outputs (n, K), labels (n,) or None) -> (n, m), each row of the sample's own.
    """

    def __init__(self, model, parameters, values):
        self._model, self._parameters, self._values = model, parameters, values
        self._ways, self._checked = (
            [self._forward, self._twice_backward, self._one_by_one],
            None,
        )
        if any(
            isinstance(part, torch.jit.ScriptModule) for part in model.module.modules()
        ):
            self._ways = [self._one_by_one]  # its parameters cannot be swapped

    def gradients(self, inputs, labels):
        """Yield, by sample, an iterator over its values' gradients, dicts of parameter name to tensor."""
        n = len(tensors_in(inputs)[0])
        for i in range(n):
            outputs = self._model.forward(cut(inputs, slice(i, i + 1), n))
            row = self._values(outputs, None if labels is None else labels[i : i + 1])[
                0
            ]
            yield (
                self._shaped(gradient_entries(value, self._parameters)) for value in row
            )

    def along(self, direction, inputs, labels):
        """Return the derivatives (n, m) of all values of a mini-batch along a direction, a dict by name."""
        while len(self._ways) > 1:
            try:
                found = self._ways[0](direction, inputs, labels)
                self._check_first(found, direction, inputs, labels)
                return found
            except UNTRACEABLE as error:
                if is_out_of_memory(error) or isinstance(error, SkdalError):
                    raise
                logger.info(
                    "derivatives of the module along a direction are taken another way: %s",
                    reason(error),
                )
                self._ways.pop(0)
        return self._ways[0](direction, inputs, labels)

    def _check_first(self, found, direction, inputs, labels):
        """Raise ValueError if the first that a way gives is not what a sample's gradients give.

        Hooks of a module on the gradients of its tensors, for one, change those alone.
        """
        if self._checked == self._ways[0]:
            return
        n, i = len(found), int(found.abs().amax(1).argmax())
        row = slice(i, i + 1)
        (gradients,) = self.gradients(
            cut(inputs, row, n), None if labels is None else labels[row]
        )
        gradients, along = (
            torch.stack([_flat(gradient) for gradient in gradients]),
            _flat(direction),
        )
        tolerance = tolerance_of(
            {p.dtype for p in self._parameters.values()}, found.is_cuda
        )
        if (
            (found[i] - gradients @ along).abs()
            > tolerance * gradients.norm(dim=1) * along.norm()
        ).any():
            raise ValueError("it does not give what plain gradients give")
        self._checked = self._ways[0]

    def _forward(self, direction, inputs, labels):
        held = {name: p.detach() for name, p in self._parameters.items()}
        with frozen(self._model.module), torch.no_grad():
            return jvp(
                lambda values: self._run(values, inputs, labels), (held,), (direction,)
            )[1]

    def _twice_backward(self, direction, inputs, labels):
        """Differentiate J'u, which is linear in u, by u."""
        held = {
            name: p.detach().requires_grad_() for name, p in self._parameters.items()
        }
        values = self._run(held, inputs, labels)
        u = torch.zeros_like(values, requires_grad=True)
        back = differentiate(
            values, list(held.values()), u, create_graph=True, allow_unused=True
        )
        product = sum(
            (g * v).sum() for g, v in zip(back, direction.values()) if g is not None
        )
        return differentiate(product, u)[0]

    def _one_by_one(self, direction, inputs, labels):
        along = _flat(direction)
        rows = [
            [_flat(gradient) @ along for gradient in row]
            for row in self.gradients(inputs, labels)
        ]
        return torch.tensor(rows, dtype=along.dtype, device=along.device)

    def _run(self, held, inputs, labels):
        with (
            swapped(self._model.module, self._parameters, held),
            sdpa_kernel(SDPBackend.MATH),
        ):
            return self._values(self._model.forward(inputs), labels)

    def _shaped(self, entries):
        parts = entries.split([p.numel() for p in self._parameters.values()])
        return {
            name: part.view_as(p)
            for part, (name, p) in zip(parts, self._parameters.items())
        }


def _flat(gradient):
    return torch.cat([part.flatten() for part in gradient.values()])
