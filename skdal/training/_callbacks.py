"""The callbacks of a net, as a training begins and after it."""

from contextlib import contextmanager

from skorch.callbacks import Initializer, LoadInitState

from skdal.training._undo import set_vars


@contextmanager
def with_callbacks(net, first, last):
    """Run a block in which a net has two more callbacks, before and behind those of its user.

    They are there once the net initializes its callbacks; `net.callbacks` and `net.callbacks_` are without them
    afterwards.
    """
    callbacks = net.callbacks
    own = [] if callbacks is None or callbacks == "disable" else list(callbacks)
    switches = [f"callbacks__{name}" for name, _ in net.get_default_callbacks()] if callbacks == "disable" else []
    found = {name: vars(net)[name] for name in switches if name in vars(net)}
    net.callbacks = [("skdal_first", first), *own, ("skdal_last", last)]
    vars(net).update(dict.fromkeys(switches))  # None: skorch leaves the callback of that name out
    try:
        yield
    finally:
        net.callbacks = callbacks
        for name in switches:
            vars(net).pop(name, None)
        vars(net).update(found)
        if hasattr(net, "callbacks_"):
            net.callbacks_ = [pair for pair in net.callbacks_ if pair[1] is not first and pair[1] is not last]


@contextmanager
def keepers_kept(net):
    """Run a block that initializes callbacks; those with `keeps_state_over_rounds = True` are as found afterwards."""
    kept = [(name, cb, dict(vars(cb))) for name, cb in getattr(net, "callbacks_", []) if _keeps_state(cb)]
    try:
        yield
    finally:
        for _, callback, state in kept:
            set_vars(callback, state)
        by_name = {name: callback for name, callback, _ in kept}
        if hasattr(net, "callbacks_"):
            net.callbacks_ = [(name, by_name.get(name, callback)) for name, callback in net.callbacks_]


def _keeps_state(callback):
    return getattr(callback, "keeps_state_over_rounds", False)


@contextmanager
def begin_again(net, is_trained):
    """Give the callbacks of a net that trains on the state of a beginning, as skorch's `fit` does, for the block.

    Best scores, counters and schedules of the round before are gone. Callbacks that make the weights that a net
    starts from have done so if it `is_trained`: an Initializer sits the round out. A LoadInitState that has loaded
    does not load again.
    """
    loaded = {name: callback.did_load_ for name, callback in net.callbacks_ if isinstance(callback, LoadInitState)}
    net.initialize_callbacks()
    for name, callback in net.callbacks_:
        if name in loaded:
            callback.did_load_ = loaded[name]
    callbacks = net.callbacks_
    if is_trained:
        net.callbacks_ = [pair for pair in callbacks if not isinstance(pair[1], Initializer)]
    yield
    net.callbacks_ = callbacks
