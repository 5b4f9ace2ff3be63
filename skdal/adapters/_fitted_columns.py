"""Frames and an estimator that was fitted with one: what it gets, and what it predicts on."""

from skorch import NeuralNet

from skdal.adapters._first_step import (
    chooses_by_name,
    first_step,
    names_of,
    takes_any_columns,
)
from skdal.adapters._frames import in_order
from skdal.exceptions import InvalidDataError
from skdal.utils import has_names, is_frame, library_of

_MOST_NAMED = 5  # columns of a kind, as scikit-learn names them


def as_fitted(X, estimator, name="X"):
    """Return X with the columns that an estimator was fitted with, in their order.

    Parameters
    ----------
    X : data
        Only a frame, whose columns have names, may come in another order.
    estimator : estimator
        One that does not tell what it was fitted with, and one that begins with a
        ColumnTransformer, gets X as it is.
    name : str
        What X is called in a message.

    Raises
    ------
    InvalidDataError
        Columns are missing or new.
    """
    wanted = names_of(estimator)
    if wanted is None or not _has_order(X) or takes_any_columns(estimator):
        return X
    of = f"the frame that {type(first_step(estimator)[0]).__name__} was fitted with"
    return in_order(X, wanted, estimator, (name, of))


def to_predict_on(X, estimator, X_labeled=None):
    """Return X as an estimator can predict on it.

    scikit-learn's estimators refuse a frame whose columns are others than those of their fit, or in
    another order, and so they do here, whatever they are wrapped in. Where the first step would not
    look, such as a FunctionTransformer, and where columns go by name, as in a bare net, they are
    put in order.

    Parameters
    ----------
    X : data
    estimator : estimator
        Fitted.
    X_labeled : data, optional
        Its labeled set, which tells the columns if the estimator does not.

    Raises
    ------
    InvalidDataError
        The columns are others, or in another order.
    """
    wanted = names_of(estimator)
    if wanted is None and X_labeled is not None and has_names(X_labeled):
        wanted = library_of(X_labeled).columns(X_labeled)
    if wanted is None or not _has_order(X) or takes_any_columns(estimator):
        return X
    if chooses_by_name(estimator) or isinstance(first_step(estimator)[0], NeuralNet):
        return in_order(X, wanted, estimator, ("X", "the labeled set"))
    _refuse_others(library_of(X).columns(X), wanted)
    return X


def _has_order(X):
    """Tell whether the columns of X have names and an order; items of a datasets.Dataset are dicts,
    without one.
    """
    return is_frame(X) and has_names(X) and library_of(X).name != "datasets"


def _refuse_others(found, wanted):
    """Raise in scikit-learn's words if columns are not the wanted ones in their order."""
    if found == wanted:
        return
    new, missing = (sorted(map(str, part)) for part in _differences(found, wanted))
    parts = ["The feature names should match those that were passed during fit."]
    if new:
        parts += ["Feature names unseen at fit time:", *_listed(new)]
    if missing:
        parts += ["Feature names seen at fit time, yet now missing:", *_listed(missing)]
    if not new and not missing:
        parts.append("Feature names must be in the same order as they were in fit.")
    shown = repr(wanted[:20]) if len(wanted) <= 20 else "list(names)"
    parts.append(
        f"Pass X[{shown}], with the columns of the fit in their order (feature_names_in_); of "
        "a pyarrow Table it is X.select of the same. Queries put columns in order by "
        "themselves."
    )
    raise InvalidDataError("\n".join(parts))


def _differences(found, wanted):
    return set(found) - set(wanted), set(wanted) - set(found)


def _listed(names):
    more = ["- ..."] if len(names) > _MOST_NAMED else []
    return [f"- {name}" for name in names[:_MOST_NAMED]] + more
