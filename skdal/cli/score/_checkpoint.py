"""A net with the weights of a file."""

import torch

from skdal.adapters import check_net, final_estimator
from skdal.cli.score._named_object import named_function
from skdal.exceptions import InvalidDataError


def load_net(net_factory, checkpoint):
    """Return the net of a factory with the weights of a checkpoint.

    Raises
    ------
    InvalidParameterError
        There is no such factory, or it gives no net.
    InvalidDataError
        There is no such checkpoint, or its weights are not those of the net.
    """
    net = named_function(net_factory)()
    check_net(net)
    final = final_estimator(net)
    if not getattr(final, "initialized_", False):
        final.initialize()
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state) if isinstance(state, dict) else state
        final.module_.load_state_dict(state)
    except Exception as error:  # torch's own errors are of many kinds
        raise InvalidDataError(
            f"{checkpoint} cannot be loaded into the net of {net_factory}: {error}. A state "
            "dict is expected, as torch.save(net.module_.state_dict(), file) or "
            "net.save_params(f_params=file) write it."
        ) from error
    return net
