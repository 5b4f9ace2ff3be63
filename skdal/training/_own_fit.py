"""Nets with a `fit` of their own, which does something before it calls skorch's, such as taking
weights of samples.
"""

from skdal.adapters import prepare_optimizers
from skdal.exceptions import InvalidParameterError


def has_own_fit(net):
    """Tell whether the class of a net overrides skorch's `fit`."""
    owner = next(parent for parent in type(net).__mro__ if "fit" in vars(parent))
    return owner.__module__.partition(".")[0] != "skorch"


def continue_by_own_fit(net, X, y, fit_params):
    """Train a net on from its current weights by its own `fit`, as skorch's users do with
    `warm_start=True`.
    """
    own = net.warm_start
    vars(net)["warm_start"] = True
    try:
        net.fit(X, y, **fit_params)
    finally:
        vars(net)["warm_start"] = own


class Kept:
    """The module and the optimizers with which a net is to train on.

    A `fit` of its own may set parameters of the module, such as the number of inputs, for which
    skorch makes a new module each time, with a new optimizer.

    Parameters
    ----------
    net : NeuralNetClassifier
        Initialized.

    Attributes
    ----------
    rows : list of dict
        Of the history, with which the training begins.
    """

    def __init__(self, net):
        self.rows = list(net.history_)
        names = getattr(net, "_optimizers", ["optimizer"])
        self._module = net.module_
        self._optimizers = {
            f"{name}_": vars(net)[f"{name}_"]
            for name in names
            if f"{name}_" in vars(net)
        }

    def put_back(self, net, reset_optimizer):
        """Give a net its module back, if it has another one, and an optimizer of it.

        Raises
        ------
        InvalidParameterError
            A callback has made the other module, or it is not for the same weights.
        """
        if net.module_ is self._module:
            return
        if not has_own_fit(net):
            raise InvalidParameterError(
                "a callback of the net re-initialized its module at the start of a training "
                "that was to continue from the current weights. Let it set parameters only "
                "where they change, or pass warm_start=False."
            )
        if _shapes(net.module_) != _shapes(self._module):
            raise InvalidParameterError(
                f"the fit of {type(net).__name__} makes a module with other parameters than "
                "the one with whose weights the training was to continue. Let it keep its "
                "parameters, or pass warm_start=False."
            )
        vars(net).update(self._optimizers, module_=self._module)  # skorch guards them
        net.history_ = type(net.history_)(self.rows)
        if reset_optimizer:
            net.initialize_optimizer()
            prepare_optimizers(net)


def _shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
