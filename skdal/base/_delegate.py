"""What a sampler answers for its trained classifier: predictions, classes, features, tags, metadata
routing.
"""

from sklearn.utils.metaestimators import available_if

from skdal.adapters import (
    answering,
    classes_of,
    estimator_router,
    module_of,
    routed,
    to_predict_on,
    with_tags_of,
)
from skdal.utils import exclusive, turns


def _estimator_has(method):
    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class ClassifierDelegate:
    """Mixin of the samplers: the methods that their trained classifier answers."""

    def get_metadata_routing(self):
        """Return the MetadataRouter by which scikit-learn passes metadata through a sampler to its
        estimator.
        """
        return estimator_router(self)

    @available_if(_estimator_has("predict"))
    def predict(self, X, **params):
        """Predict labels with the trained classifier, whose `predict` gets the parameters.

        A frame has the columns of the labeled set in their order, as in scikit-learn.
        """
        return self._of_classifier("predict", X, **params)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X, **params):
        """Predict class probabilities (n_samples, n_classes) with the trained classifier."""
        return self._of_classifier("predict_proba", X, **params)

    @available_if(_estimator_has("score"))
    def score(self, X, y=None, **params):
        """Return the trained classifier's score, for classifiers the accuracy; `sample_weight` is a
        parameter of it.
        """
        return self._of_classifier("score", X, y, **params)

    def _of_classifier(self, method, X, *labels, **params):
        classifier, X_labeled, _ = self._trained()
        params = routed(self, method, params)
        X = to_predict_on(X, classifier, X_labeled)
        with exclusive(), turns(module_of(classifier)):
            return getattr(answering(classifier), method)(X, *labels, **params)

    @property
    def classes_(self):
        """Class labels (K,) of the trained classifier, one for each column of `predict_proba`."""
        trained = self._trained()
        return classes_of(trained.classifier, trained.X)

    @property
    def n_features_in_(self):
        """Number of features that the trained classifier saw, where it tells."""
        return self._trained().classifier.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features that the trained classifier saw, where it tells."""
        return self._trained().classifier.feature_names_in_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        return with_tags_of(self.estimator, super().__sklearn_tags__())
