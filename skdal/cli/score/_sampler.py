"""The sampler of a key and parameters."""

from sklearn.frozen import FrozenEstimator

from skdal.exceptions import InvalidParameterError
from skdal.samplers import SAMPLERS
from skdal.utils import check_known

# What nobody chooses here: parameters of training, which a command does not do, and those with
# options of their own.
_NOT_CHOSEN = ("estimator", "warm_start", "reset_optimizer", "verbose", "executor")


def check_params(key, names):
    """Raise InvalidParameterError if there is no such sampler, or it has no parameters of these
    names to choose.
    """
    sampler = SAMPLERS[check_known("sampler", key, SAMPLERS)]()
    known = sampler.get_params(deep=False)
    if "batch_size" in names and "batch_size" not in known:
        raise InvalidParameterError(
            f"--sampler {key} takes no --batch-size: the net decides it. Let --net-factory "
            "return a net with iterator_valid__batch_size."
        )
    allowed = [name for name in known if name not in _NOT_CHOSEN]
    for name in names:
        check_known(f"parameter of --sampler {key}", name, allowed)


def make_sampler(key, net, params):
    """Return a sampler on a net that stays as it is.

    Parameters
    ----------
    key : str
        Of `SAMPLERS`.
    net : estimator
    params : dict
        Parameters of the sampler by name.
    """
    return SAMPLERS[key](FrozenEstimator(net), **params)
