"""The one door to scikit-activeml, which may be missing: its base classes, and classifiers in both
directions.
"""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet, NeuralNetClassifier

from skdal.adapters import is_net, predict_proba
from skdal.exceptions import (
    InvalidLabelsError,
    MissingExtraError,
    NotFittedError,
    UnsupportedEstimatorError,
)
from skdal.utils import is_frame, named_like, take_rows

try:
    from skactiveml.base import SingleAnnotatorPoolQueryStrategy, SkactivemlClassifier
    from skactiveml.classifier import SklearnClassifier, SkorchClassifier
    from skactiveml.utils import check_equal_missing_label, is_labeled
except ImportError as error:
    _WHY_MISSING = error
    SingleAnnotatorPoolQueryStrategy = SkactivemlClassifier = (
        BaseEstimator  # stand-ins that are never used
    )
    SklearnClassifier = SkorchClassifier = check_equal_missing_label = is_labeled = None


def require_activeml(name):
    """Raise if scikit-activeml is not installed, which `name` needs."""
    if SklearnClassifier is None:
        raise MissingExtraError(
            f"{name} needs scikit-activeml, which is not installed: pip install skdal[activeml]"
        ) from _WHY_MISSING


class TrainedClassifier(SkactivemlClassifier):
    """A trained classifier of ours as scikit-activeml sees it; it is never trained.

    Parameters
    ----------
    reader : Reader
        Of the trained classifier.
    pool : data
        Its kind is what the classifier gets rows in.
    missing_label : scalar, str or None
        That of the strategy.
    """

    def __init__(self, reader, pool, missing_label):
        super().__init__(missing_label=missing_label)
        self.reader = reader
        self.pool = pool
        classifier = reader.classifier
        n_classes = predict_proba(classifier, take_rows(pool, slice(0, 2))).shape[1]
        self.classes_ = (
            np.arange(n_classes)
            if is_net(classifier)
            else np.asarray(classifier.classes_)
        )
        self.cost_matrix_ = 1 - np.eye(n_classes)

    def fit(self, X, y, sample_weight=None):
        """Refuse: a query is to read the classifier as it was trained."""
        raise UnsupportedEstimatorError(
            "the query strategy trains the classifier anew, and a net would lose its warm "
            "weights. Use a strategy that reads the classifier as it is; those that need "
            "models of their own take them through query_params=."
        )

    partial_fit = fit

    def __sklearn_clone__(self):
        return self.fit(None, None)  # whoever clones is about to train

    def predict_proba(self, X, return_embeddings=False):
        """Return class probabilities (n, K), with `return_embeddings` also the net's last hidden
        layer (n, d).
        """
        if is_frame(self.pool):  # a classifier trained on a frame knows columns by name
            X = named_like(X, self.pool, "the samples", "those of the pool")
        proba = self.reader.proba(X)
        return (proba, self.reader.hidden(X)) if return_embeddings else proba

    def predict(self, X, return_embeddings=False):
        """Return the most probable class of each sample (n,), with `return_embeddings` also the
        last hidden layer.
        """
        found = self.predict_proba(X, return_embeddings)
        proba, *embeddings = found if return_embeddings else (found,)
        labels = self.classes_[proba.argmax(axis=1)]
        return (labels, *embeddings) if return_embeddings else labels


def opened(clf):
    """Return a classifier of ours from one of scikit-activeml.

    Parameters
    ----------
    clf : SkactivemlClassifier or classifier
        Trained. SklearnClassifier and SkorchClassifier are opened, anything else is left as it is.

    Returns
    -------
    classifier : estimator
    dtype : dtype or None
        That samples are to be cast to.
    encode : callable
        From labels as the strategy has them to labels as `classifier` has them.
    """
    if isinstance(clf, SkorchClassifier):
        return (
            _opened_net(clf),
            clf.sample_dtype,
            lambda labels: _positions(labels, clf.classes_),
        )
    if isinstance(clf, SklearnClassifier):
        if not vars(clf).get("is_fitted_", True):
            raise NotFittedError(
                f"the {type(clf.estimator).__name__} in the SklearnClassifier could not be "
                "trained, as its fit warned, so there is nothing to read. Fit it on labels "
                "that its estimator takes; those of nets are integers, so give y an integer "
                "type and missing_label=-1."
            )
        clf = vars(clf).get("estimator_", clf.estimator)
    return clf, None, lambda labels: labels


class _Net(NeuralNetClassifier):
    """The NeuralNet of a SkorchClassifier, seen as a classifier: same module, same criterion."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return NeuralNet.get_loss(
            self, y_pred, y_true, *args, **kwargs
        )  # NLLLoss gets log-probabilities here


def _opened_net(clf):
    if not hasattr(clf, "neural_net_") or not hasattr(clf, "classes_"):
        raise NotFittedError(
            "the SkorchClassifier is not fitted yet. Train it on the labeled set first: "
            "clf.fit(X, y), and with warm_start=True in neural_net_param_dict, or "
            "partial_fit, in every later round."
        )
    position, transform = _first_output(clf)
    if position != 0:
        raise UnsupportedEstimatorError(
            f"the SkorchClassifier takes probabilities from output {position} of its module; "
            "skdal reads the first. Let forward return the logits first, and name index 0 "
            "first in forward_outputs."
        )
    net = object.__new__(_Net)
    net.__dict__.update(
        vars(clf.neural_net_),
        classes=list(range(len(clf.classes_))),
        predict_nonlinearity=transform,
    )
    return net


def _first_output(clf):
    """Return (index, transform) of the module's output that gives probabilities, as
    SkorchClassifier documents it.
    """
    if clf.forward_outputs is not None:
        return next(iter(clf.forward_outputs.values()))
    criterion = (
        clf.criterion if isinstance(clf.criterion, type) else type(clf.criterion)
    )
    return 0, {
        torch.nn.CrossEntropyLoss: torch.nn.Softmax(dim=-1),
        torch.nn.NLLLoss: torch.exp,
    }.get(criterion)


def _positions(labels, classes):
    position = {label: k for k, label in enumerate(np.asarray(classes).tolist())}
    unknown = sorted({str(label) for label in labels.tolist() if label not in position})
    if unknown:
        raise InvalidLabelsError(
            f"labels {unknown[:5]} are none of the classes that the SkorchClassifier was "
            f"trained on ({list(position)[:10]}). Fit it on these labels first, or name all "
            "classes in classes=."
        )
    return np.array([position[label] for label in labels.tolist()], dtype=np.int64)
