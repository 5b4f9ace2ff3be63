"""Frames: the columns of the pool are those of the labeled set, and a bare net takes them by
name.
"""

import inspect
from collections.abc import Mapping

from skorch import NeuralNet

from skdal.adapters._first_step import chooses_by_name
from skdal.exceptions import InvalidDataError
from skdal.utils import full_name, has_names, is_frame, library_of, named_like

_CAST = (
    "Where a step of a Pipeline makes the frame, put FunctionTransformer(numpy.asarray, "
    'kw_args={"dtype": "float32"})'
    '.set_output(transform="default") of sklearn.preprocessing before the net.'
)


# --- labeled set and pool -------------------------------------------------------------------------


def aligned(X, X_labeled, estimator=None, names=("the pool", "the labeled set")):
    """Return X with the columns of the labeled set, in their order.

    Columns go by name where both are frames. The columns of an array beside a frame go by position,
    as in scikit-learn. What are not frames is returned as it is; nothing of the caller's is
    changed.

    Parameters
    ----------
    X : data
        The pool, or new samples.
    X_labeled : data or None
        The labeled set; None where it is not known.
    estimator : classifier, optional
        Where it chooses columns by name, as a Pipeline that begins with a ColumnTransformer does, X
        may have columns that the labeled set does not have. They are left out.
    names : tuple of str
        What X and X_labeled are called in messages.

    Raises
    ------
    InvalidDataError
        Columns are missing or new, or their types do not go together; only one of the two is a
        frame, or they are of two libraries.
    """
    if X_labeled is None or not is_frame(X_labeled) and not has_names(X):
        return X
    if not is_frame(X_labeled):
        raise InvalidDataError(
            f"{names[0]} and {names[1]} must be of one kind; got a {full_name(X)}, whose "
            f"columns have names, and {full_name(X_labeled)} without, so nothing says that the "
            f"columns are in the same order. Pass frames for both, or {library_of(X).array} "
            f"for {names[0]}."
        )
    if not is_frame(X):
        return named_like(X, X_labeled, *names)
    if library_of(X) is not library_of(X_labeled):
        raise InvalidDataError(
            f"{names[0]} and {names[1]} must be frames of one library; got a {full_name(X)} and a "
            f"{full_name(X_labeled)}. Convert one of them, such as by to_pandas()."
        )
    X = in_order(X, library_of(X_labeled).columns(X_labeled), estimator, names)
    try:
        library_of(X).check_types(X_labeled, X)
    except (ValueError, TypeError) as error:
        raise InvalidDataError(
            f"the types of {names[0]} do not go with those of {names[1]}: {error}."
        ) from error
    return X


def in_order(X, wanted, estimator, names):
    """Return a frame with the columns `wanted`, a list of names, in this order; see `aligned`."""
    library = library_of(X)
    found = library.columns(X)
    if found == wanted:
        return X
    missing = [column for column in wanted if column not in found]
    new = [column for column in found if column not in wanted]
    is_free = estimator is not None and chooses_by_name(estimator)
    is_unclear = len(set(found)) < len(found) or len(set(wanted)) < len(wanted)
    if is_unclear or missing or new and not is_free:
        raise InvalidDataError(
            f"the columns of {names[0]} are not those of {names[1]}: "
            f"{_difference(found, missing, new)}. Pass {names[0]} with the columns "
            f"{_listed(wanted)}, in any order; there may be more of them where a Pipeline "
            "begins with a ColumnTransformer, which chooses by name."
        )
    return library.select(X, wanted)


def _difference(found, missing, new):
    parts = [
        f"{_listed(columns)} {word}"
        for columns, word in ((missing, "missing"), (new, "new"))
        if columns
    ]
    return (
        " and ".join(parts)
        or f"{_listed(sorted(c for c in set(found) if found.count(c) > 1))} there twice"
    )


def _listed(columns):
    return ", ".join(map(repr, columns[:10])) + (", ..." if len(columns) > 10 else "")


# --- what a bare net takes by name ----------------------------------------------------------------


def check_inputs(X, net=None):
    """Raise if X has names, of columns or of a dict's entries, that the module of a net does not
    take.

    skorch gives each column of a pandas frame, and each entry of a dict, to the argument of that
    name of the module's `forward`. Frames of other libraries it cannot read.

    Parameters
    ----------
    X : data
        As the net gets it, behind the other steps of a Pipeline.
    net : skorch.NeuralNet, optional
        Initialized. None: only what no net takes is refused.

    Raises
    ------
    InvalidDataError
        Says which names the module takes, and how to pass one array.
    """
    if is_frame(X) and library_of(X).name in ("polars", "pyarrow"):
        raise InvalidDataError(
            f"X is a {full_name(X)}, which skorch cannot give to a net. {_as_one_array(X)} {_CAST}"
        )
    if is_frame(X) and (
        strange := [
            name for name in library_of(X).columns(X) if not isinstance(name, str)
        ]
    ):
        raise InvalidDataError(
            f"X is a {full_name(X)} with columns such as {strange[0]!r}; skorch gives each "
            "column to the module's argument of that name, so names must be strings. "
            f"{_as_one_array(X)} {_CAST}"
        )
    names = _names(X)
    if net is None or names is None or type(net).infer is not NeuralNet.infer:
        return
    forward = _signature(net.module_)
    if forward is None or _takes(forward, names):
        return
    is_dict = isinstance(X, Mapping)
    raise InvalidDataError(
        f"X is a {full_name(X)} with the {'keys' if is_dict else 'columns'} {_listed(names)}, "
        "and skorch gives each to the argument of that name of the module's forward, which "
        f"takes {_arguments(forward)}. "
        + (
            "Give the dict these keys, one for each argument."
            if is_dict
            else f"{_as_one_array(X)} {_CAST}"
        )
    )


def _names(X):
    """Return the names by which skorch gives the parts of X to a module, None where it gives X
    itself.
    """
    if isinstance(X, Mapping):
        return list(X)
    is_pandas = is_frame(X) and library_of(X).name == "pandas"
    return library_of(X).columns(X) if is_pandas else None


def _signature(module):
    """Return the signature of a module's forward, None where it cannot be read."""
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):
        return None


def _takes(signature, names):
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError:
        return False
    return True


def _arguments(signature):
    return (
        ", ".join(
            str(p.replace(annotation=p.empty)) for p in signature.parameters.values()
        )
        or "none"
    )


def _as_one_array(X):
    return f'For one argument pass {library_of(X).array}.astype("float32").'
