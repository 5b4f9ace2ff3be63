"""Who is asking: a trained classifier with its labeled set, from the forms that callers have."""

import inspect
import sys
from typing import Any, NamedTuple

from skdal.adapters._kinds import check_fitted
from skdal.exceptions import MissingLabeledDataError
from skdal.utils import count_rows


class Trained(NamedTuple):
    """A trained classifier and the labeled set it was trained on.

    Attributes
    ----------
    classifier : estimator
        Net, scikit-learn classifier, Pipeline or FrozenEstimator.
    X, y : data or None
        The labeled set; y is None where X is a Dataset that holds the labels.
    """

    classifier: Any
    X: Any = None
    y: Any = None

    @property
    def n_labeled(self):
        """Size of the labeled set, 0 where none is known."""
        return 0 if self.X is None else count_rows(self.X)

    def labeled_set(self, asker):
        """Return (X, y), or raise an error that says how `asker` can be given them."""
        if self.X is None:
            raise MissingLabeledDataError(
                f"{asker} needs the labeled set, and none is known. Call sampler.fit(X, y) "
                "first, pass X_labeled= and y_labeled=, or use a learner that keeps its "
                "X_training and y_training (skdal.ActiveLearner)."
            )
        return self.X, self.y


def resolve(classifier, X_labeled=None, y_labeled=None):
    """Return the `Trained` of a modAL learner, a fitted sampler, or a fitted classifier.

    Parameters
    ----------
    classifier : object
        What modAL's query-strategy signature passes as its first argument.
    X_labeled, y_labeled : data, optional
        The labeled set; they take precedence over what a learner or sampler holds.
    """
    held = None, None
    if hasattr(classifier, "query_strategy") and hasattr(
        classifier, "estimator"
    ):  # a modAL learner
        held = (
            getattr(classifier, "X_training", None),
            getattr(classifier, "y_training", None),
        )
        classifier = classifier.estimator
    elif hasattr(classifier, "estimator_") and hasattr(
        classifier, "query"
    ):  # a fitted sampler
        held = classifier.X_labeled_, classifier.y_labeled_
        classifier = classifier.estimator_
    check_fitted(classifier)
    return Trained(classifier, *(held if X_labeled is None else (X_labeled, y_labeled)))


def wants_scores(classifier):
    """Tell whether `classifier` is a modAL learner that unpacks (indices, scores).

    modAL 0.4.2.1 does: given bare indices it runs the strategy twice, and misreads two of them.
    """
    modal = sys.modules.get("modAL.models.base")
    if modal is None or not isinstance(classifier, modal.BaseLearner):
        return False
    return "return_metrics" in inspect.signature(type(classifier).query).parameters
