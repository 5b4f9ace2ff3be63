"""Names of a net's outputs."""

from collections import Counter

import numpy as np

from skdal.adapters import open_net
from skdal.exceptions import InvalidParameterError

_LISTED = 20  # names in a message


def checked_names(classes):
    """Return the names of classes without spaces around them, after checking that each has one of
    its own.
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        raise InvalidParameterError(
            f"classes must be a sequence of names, such as ['cat', 'dog']; got {classes!r}."
        )
    names = [name.strip() for name in classes]
    if len(names) < 2 or not all(names):
        fault = "one of them is empty" if len(names) > 1 else "there is one"
        raise InvalidParameterError(
            f"--classes must be names of two classes at least, as in --classes cat,dog; {fault}: "
            f"{listed(names)}."
        )
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise InvalidParameterError(
            f"--classes has names more than once: {listed(twice)}. Give each output of the net a "
            "name of its own."
        )
    return names


def check_number(classes, net, some):
    """Raise if there are not as many classes as a net has outputs, which some samples tell."""
    if classes is None:
        return
    n_outputs = open_net(net).n_outputs(some)
    if len(classes) != n_outputs:
        raise InvalidParameterError(
            f"--classes has {len(classes)} names ({listed(classes)}), and the net has "
            f"{n_outputs} outputs; name each of them, in their order."
        )


def with_names(columns, classes):
    """Return the columns (n,) of picks with the predicted label by name; None stays None."""
    if classes is None:
        return columns
    names = [None if label is None else classes[label] for label in columns["label"]]
    return columns | {"label": np.array(names, dtype=object)}


def listed(names):
    """Return names for a message, which holds so many of them."""
    more = f", ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more
