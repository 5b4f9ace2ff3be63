"""Ways to compute the same, the fastest first: torch.func where it can, a loop where not.

A way that fails is left for good, and the log says why. Memory that runs out is not a failure
of a way: the mini-batch is halved instead, see `_memory`.
"""

import warnings

import torch
from torch.func import vmap

from skdal.exceptions import SkdalError
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._uncovered import Uncovered
from skdal.utils import reason

# Entries of gradients that are held at once.
CHUNK_VALUES = 2**24

# What torch.func raises for a module that it cannot trace, or the module where it is traced.
# Other errors, such as those of files, are the module's own.
UNTRACEABLE = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
)


class Ladder:
    """Computes by the first of several ways that does not fail.

    Parameters
    ----------
    ways : list of callable
        Each gives the same for the same arguments.
    failures : tuple of exception classes
        What says that a way fails; what the last way raises is not caught.
    tell : callable
        Is called with the reason, one line, at each step down.
    """

    def __init__(self, ways, failures, tell):
        self._ways = list(ways)
        self._failures = failures
        self._tell = tell

    @property
    def way(self):
        """The way that is taken now."""
        return self._ways[0]

    def __call__(self, *args):
        """Return what the first way gives that does not fail."""
        while len(self._ways) > 1:
            try:
                return self.way(*args)
            except self._failures as error:
                raise_if_foreign(error)
                self._tell(reason(error))
            del self._ways[0]
        return self.way(*args)


def raise_if_foreign(error):
    """Raise an error again that is not a failure of a way: memory ran out, or skdal refuses."""
    if is_out_of_memory(error) or isinstance(error, SkdalError):
        raise error


def per_sample(function, in_dims=0, chunk_size=None):
    """Return a function of samples as one of mini-batches, by torch.func.vmap."""
    mapped = vmap(function, in_dims=in_dims, chunk_size=chunk_size)

    def run(*args):
        with warnings.catch_warnings():
            # torch.func says that some operation is slow; the log of skdal says it, too.
            warnings.filterwarnings("ignore", "There is a performance drop")
            return mapped(*args)

    return run


def samples_held(parameters):
    """Return of how many samples the gradients by some parameters are held at once."""
    n_values = sum(parameter.numel() for parameter in parameters.values())
    return max(1, CHUNK_VALUES // n_values)


def values_of(parameters):
    """Return the values of parameters by name, as functions of torch.func take them."""
    return {name: parameter.detach() for name, parameter in parameters.items()}


def refuse_untraceable(module):
    """Raise if torch.func is known not to trace a part.

    Raises
    ------
    Uncovered
        It is a recurrent or scripted one.
    """
    for name, part in module.named_modules():
        if isinstance(part, (torch.nn.RNNBase, torch.jit.ScriptModule)):
            raise Uncovered({name: f"torch.func cannot trace {type(part).__name__}"})
