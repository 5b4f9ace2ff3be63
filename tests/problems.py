"""A case of a net with its samples, labels and direction, and what the reference gives for it."""

from functools import cached_property

import torch
from reference import reference

from skdal.adapters import open_net
from skdal.gradients.parts import GhostBackend, MiniBatch, Question, differentiating


class Problem:
    """A case's net, samples, labels and a random direction, with the reference for own and for
    given labels."""

    def __init__(self, case):
        generator = torch.Generator().manual_seed(1)
        self.case, self.net = case, case.make_net(seed=0)
        self.X = case.make_inputs(case.n, generator)
        self.y = torch.randint(case.K, (case.n,), generator=generator).numpy()
        self.direction = {
            name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for name, p in self.net.module_.named_parameters()
            if p.requires_grad
        }

    @cached_property
    def own(self):
        return reference(self.net, self.X, direction=self.direction)

    @cached_property
    def given(self):
        return reference(self.net, self.X, self.y, self.direction)

    def shares(self):
        """Return every parameter's own (sq_norm, dot), by name, as the ghost backend finds them.

        A layer's parameters are asked for one after the other, so that none hides behind another.
        """
        view = open_net(self.net)
        parameters = {
            name: p
            for name, p in self.net.module_.named_parameters()
            if name in self.direction
        }
        with differentiating(view):
            ((inputs, _),) = view.pool_batches(self.X, None, batch_size=len(self.X))
            batch = MiniBatch(inputs)
            layers = list(self._found(view, batch, parameters).shares)
            found = {}
            for k in range(max(map(len, layers))):
                names = {names[k] for names in layers if k < len(names)}
                some = {name: p for name, p in parameters.items() if name in names}
                found |= self._found(view, batch, some).shares
        return {name: share for (name,), share in found.items()}

    def _found(self, view, batch, parameters):
        return GhostBackend()(view, batch, Question(parameters, self.direction))
