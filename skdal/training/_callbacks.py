"""The callbacks of a net, as a training begins and after it."""

from contextlib import contextmanager

from skorch.callbacks import Initializer, LoadInitState

from skdal.training._undo import set_vars

_NAMES = ("skdal_first", "skdal_last")


@contextmanager
def with_callbacks(net, first, last):
    """Run a block in which a net has two more callbacks, before and behind those of its user.

    They are there once the net initializes its callbacks; `net.callbacks` and `net.callbacks_` are
    without them afterwards.
    """
    callbacks = _without_stubs(net.callbacks)
    own = [] if callbacks is None or callbacks == "disable" else list(callbacks)
    switches = (
        [f"callbacks__{name}" for name, _ in net.get_default_callbacks()]
        if callbacks == "disable"
        else []
    )
    found = {name: vars(net)[name] for name in switches if name in vars(net)}
    net.callbacks = [(_NAMES[0], first), *own, (_NAMES[1], last)]
    vars(net).update(
        dict.fromkeys(switches)
    )  # None: skorch leaves the callback of that name out
    try:
        yield
    finally:
        net.callbacks = callbacks
        for name in switches:
            vars(net).pop(name, None)
        vars(net).update(found)
        if hasattr(net, "callbacks_"):
            net.callbacks_ = [
                pair
                for pair in net.callbacks_
                if pair[1] is not first and pair[1] is not last
            ]


def _without_stubs(callbacks):
    """Return the callbacks of a net without what stands for ours in a net that was pickled during a
    training.
    """
    if not isinstance(callbacks, list):
        return callbacks
    return [
        item
        for item in callbacks
        if not (isinstance(item, (tuple, list)) and item[0] in _NAMES)
    ]


class Keepers:
    """The callbacks of a net that declare `keeps_state_over_rounds = True`, with their state.

    skorch initializes all callbacks where a training begins from scratch, and begins again.
    """

    def __init__(self, net):
        callbacks = getattr(net, "callbacks_", [])
        self._kept = {
            name: (callback, dict(vars(callback)))
            for name, callback in callbacks
            if _keeps_state(callback)
        }

    def put_back(self, net):
        """Put them, with their state, in the place of those that skorch initialized."""
        for position, (name, _) in enumerate(net.callbacks_):
            if name in self._kept:
                callback, state = self._kept[name]
                set_vars(callback, state)
                net.callbacks_[position] = name, callback


def _keeps_state(callback):
    return getattr(callback, "keeps_state_over_rounds", False)


@contextmanager
def begin_again(net, is_trained):
    """Give the callbacks of a net that trains on the state of a beginning, as skorch's `fit` does,
    for the block.

    Best scores, counters and schedules of the round before are gone. Callbacks that make the
    weights that a net starts from have done so if it `is_trained`: an Initializer sits the round
    out. A LoadInitState that has loaded does not load again.
    """
    loaded = {
        name: callback.did_load_
        for name, callback in net.callbacks_
        if isinstance(callback, LoadInitState)
    }
    net.initialize_callbacks()
    for name, callback in net.callbacks_:
        if name in loaded:
            callback.did_load_ = loaded[name]
    resting = {}
    if is_trained:
        resting = {
            i: pair
            for i, pair in enumerate(net.callbacks_)
            if isinstance(pair[1], Initializer)
        }
    net.callbacks_ = [pair for i, pair in enumerate(net.callbacks_) if i not in resting]
    yield
    for position, pair in resting.items():
        net.callbacks_.insert(position, pair)
