"""The steps of a Pipeline before its last one: what they take, and what they make of it."""

from sklearn.pipeline import Pipeline

from skdal.adapters._fitted_columns import as_fitted
from skdal.adapters._kinds import unfrozen
from skdal.exceptions import InvalidDataError
from skdal.utils import is_torch_dataset


def transform_rows(estimator, X):
    """Return X as the final estimator gets it: through the earlier steps of a Pipeline."""
    estimator = unfrozen(estimator)
    while isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            check_transformable(X)
            X = estimator[:-1].transform(as_fitted(X, estimator))
        estimator = unfrozen(estimator.steps[-1][1])
    return X


def check_transformable(X):
    """Raise if X is a torch Dataset, which the steps of a Pipeline cannot transform."""
    if is_torch_dataset(X):
        raise InvalidDataError(
            "the steps of a Pipeline transform arrays, not a torch Dataset "
            f"({type(X).__name__}). Do the same in the Dataset's own transform and use the net "
            "without Pipeline, or pass arrays (a memmap, a SliceDataset)."
        )
