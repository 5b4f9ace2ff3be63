"""What an estimator is: a net, a classifier, frozen, the end of a Pipeline; trained or not."""

import warnings
from functools import partial

from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from skdal.exceptions import NotFittedError, UnsupportedEstimatorError


def unfrozen(estimator):
    """Return what a FrozenEstimator holds, anything else as it is."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def final_estimator(estimator):
    """Return the last step of a Pipeline, anything else as it is; frozen ones opened."""
    estimator = unfrozen(estimator)
    while isinstance(estimator, Pipeline):
        estimator = unfrozen(estimator.steps[-1][1])
    return estimator


def transform_rows(estimator, X):
    """Return X as the final estimator gets it: through the earlier steps of a Pipeline."""
    estimator = unfrozen(estimator)
    while isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = unfrozen(estimator.steps[-1][1])
    return X


def is_net(estimator):
    """Tell whether `estimator` is, or ends in, a skorch net.

    Raises
    ------
    UnsupportedEstimatorError
        A net of a kind that has no class probabilities and per-class outputs.
    """
    final = final_estimator(estimator)
    if not isinstance(final, NeuralNet):
        return False
    if isinstance(final, NeuralNetBinaryClassifier):
        raise UnsupportedEstimatorError(
            "NeuralNetBinaryClassifier has one output; skdal needs one output a class. Use NeuralNetClassifier "
            "with a module of two outputs and CrossEntropyLoss."
        )
    if not isinstance(final, NeuralNetClassifier):
        raise UnsupportedEstimatorError(
            f"{type(final).__name__} is a skorch net but no classifier; skdal works with NeuralNetClassifier."
        )
    return True


def check_fitted(estimator):
    """Raise unless `estimator` can predict.

    Raises
    ------
    UnsupportedEstimatorError
        It is no classifier.
    NotFittedError
        It is not trained (a net: not initialized).
    """
    final = final_estimator(estimator)
    if not is_net(estimator) and not (is_classifier(final) or hasattr(final, "predict_proba")):
        raise UnsupportedEstimatorError(
            f"expected a skorch NeuralNetClassifier, a scikit-learn classifier, a Pipeline that ends in one, a fitted "
            f"sampler or a modAL learner; got {type(estimator).__name__}."
        )
    try:
        check_is_fitted(final)
    except SklearnNotFittedError as error:
        raise NotFittedError(
            f"{type(final).__name__} is not fitted yet. Train it on the labeled set first: call its fit, "
            "or the sampler's fit, or the learner's fit or teach."
        ) from error


def warn_of_held_out_labels(estimator):
    """Warn if a net's `train_split` keeps paid labels out of training."""
    net = final_estimator(estimator)
    split = getattr(net, "train_split", None)
    predefined = isinstance(split, partial) and "valid_ds" in split.keywords
    if isinstance(net, NeuralNet) and split is not None and not predefined:
        warnings.warn(
            f"the net's train_split={split!r:.60} holds a part of the labeled set out of training, but scores use all "
            "of it. Pass train_split=None to train on every label, or skorch.helper.predefined_split(dataset).",
            UserWarning,
            stacklevel=3,
        )
