"""Nets with a `fit` of their own, which does something before it calls skorch's, such as taking weights of samples."""

from skdal.exceptions import InvalidParameterError


def has_own_fit(net):
    """Tell whether the class of a net overrides skorch's `fit`."""
    owner = next(parent for parent in type(net).__mro__ if "fit" in vars(parent))
    return owner.__module__.partition(".")[0] != "skorch"


def continue_by_own_fit(net, X, y, fit_params):
    """Train a net on from its current weights by its own `fit`, as skorch's users do with `warm_start=True`."""
    own = net.warm_start
    vars(net)["warm_start"] = True
    try:
        net.fit(X, y, **fit_params)
    finally:
        vars(net)["warm_start"] = own


def keep_weights(net, before, reset_optimizer):
    """See that a net that is about to train on has the weights of the module that it had before.

    A `fit` of its own may set parameters of the module, such as the number of inputs, for which skorch makes a new
    module each time. It gets the weights of the old one.

    Parameters
    ----------
    net : NeuralNetClassifier
    before : torch.nn.Module
    reset_optimizer : bool
        Whether the optimizer is a new one anyway.

    Raises
    ------
    InvalidParameterError
        The module is another one, and cannot or may not have these weights.
    """
    if net.module_ is before:
        return
    if not has_own_fit(net):
        raise InvalidParameterError(
            "a callback of the net re-initialized its module at the start of a training that was to continue from the "
            "current weights. Let it set parameters only where they change, or pass warm_start=False."
        )
    if not reset_optimizer:
        raise InvalidParameterError(
            f"the fit of {type(net).__name__} makes a new module, and with it a new optimizer, in a training that was "
            "to continue with reset_optimizer=False. Let it set parameters only where they change, or pass "
            "reset_optimizer=True or warm_start=False."
        )
    try:
        net.module_.load_state_dict(before.state_dict())
    except RuntimeError as error:
        raise InvalidParameterError(
            f"the fit of {type(net).__name__} makes a module that cannot have the weights of the one before, with "
            "which the training was to continue. Let it set parameters only where they change, or pass "
            f"warm_start=False. {error}"
        ) from error
