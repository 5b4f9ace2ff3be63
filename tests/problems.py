"""A case of a net with its samples, labels and direction, and what the reference gives for it."""

from functools import cached_property

import torch
from reference import reference


class Problem:
    """A case's net, samples, labels and a random direction, with the reference for own and for given labels."""

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
