"""The sampler of a key and parameters."""

from sklearn.frozen import FrozenEstimator

from skdal.exceptions import InvalidParameterError
from skdal.samplers import SAMPLERS
from skdal.utils import check_known

# Those of training, which a command does not do, and those that have options of their own.
_NOT_GIVEN = ("estimator", "warm_start", "reset_optimizer", "verbose", "executor")


def make_sampler(key, net, params):
    """Return a sampler on a net that stays as it is.

    Parameters
    ----------
    key : str
        Of `SAMPLERS`.
    net : estimator
    params : dict
        Parameters of the sampler by name.

    Raises
    ------
    InvalidParameterError
        There is no such sampler, or it has no such parameter.
    """
    sampler = SAMPLERS[check_known("sampler", key, SAMPLERS)]()
    known = sampler.get_params(deep=False)
    allowed = [name for name in known if name not in _NOT_GIVEN]
    for name in params:
        if name == "batch_size" and name not in known:
            raise InvalidParameterError(
                f"--sampler {key} takes no --batch-size: the net decides it. Let --net-factory return a net with "
                "iterator_valid__batch_size."
            )
        if name not in ("verbose", "executor"):
            check_known(f"parameter of --sampler {key}", name, allowed)
    return sampler.set_params(estimator=FrozenEstimator(net), **params)
