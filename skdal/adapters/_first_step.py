"""What gets X first: an estimator itself, the first step of a Pipeline, or that of the estimators
that one is made of.
"""

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skdal.adapters._kinds import unfrozen


def first_step(estimator):
    """Return what gets X first, and whether it is one of several steps."""
    estimator = unfrozen(estimator)
    is_step = False
    while isinstance(estimator, Pipeline):
        steps = [
            step for _, step in estimator.steps if step not in (None, "passthrough")
        ]
        is_step = is_step or len(steps) > 1
        estimator = unfrozen(steps[0])
    return estimator, is_step


def takes_any_columns(estimator):
    """Tell whether an estimator begins with a ColumnTransformer, which takes columns by name, in
    any order.
    """
    return _begins_with(estimator, ColumnTransformer)


def chooses_by_name(estimator):
    """Tell whether an estimator begins with a step that takes what it needs from a frame, whatever
    else is there.

    That is a ColumnTransformer, a FunctionTransformer, or a transformer that keeps no names of
    columns, as those of one's own may.
    """
    first, is_step = first_step(estimator)
    if is_step and hasattr(first, "transform") and names_of(first) is None:
        return True
    return _begins_with(estimator, (ColumnTransformer, FunctionTransformer))


def names_of(estimator):
    """Return the names of the columns that an estimator was fitted with, None where it does not
    tell.
    """
    names = getattr(first_step(estimator)[0], "feature_names_in_", None)
    return None if names is None else list(names)


def _begins_with(estimator, kinds):
    first, _ = first_step(estimator)
    if isinstance(first, kinds):
        return True
    parts = _parts(first)
    return bool(parts) and all(_begins_with(part, kinds) for part in parts)


def _parts(estimator):
    """Return the estimators that a meta-estimator of scikit-learn is made of, as they were given to
    it.
    """
    if hasattr(getattr(estimator, "estimator", None), "fit"):
        return [estimator.estimator]
    pairs = getattr(estimator, "estimators", None)
    is_named = isinstance(pairs, list) and all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in pairs
    )
    if not is_named:
        return []
    return [part for _, part in pairs if hasattr(part, "fit")]
