"""What an estimator is: a net, a classifier, frozen, the end of a Pipeline; trained or not."""

import warnings
from functools import partial

from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

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


def module_of(estimator):
    """Return the module of a net that is initialized, None for any other classifier."""
    return getattr(final_estimator(estimator), "module_", None)


def is_frozen(estimator):
    """Tell whether `estimator` is frozen, or a Pipeline whose last step is."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return isinstance(estimator, FrozenEstimator)


def is_net(estimator):
    """Tell whether `estimator` is, or ends in, a skorch net.

    Raises
    ------
    UnsupportedEstimatorError
        A net of a kind that has no class probabilities and per-class outputs, or one that does not
        look at X.
    """
    final = final_estimator(estimator)
    if not isinstance(final, NeuralNet):
        return False
    if isinstance(final, NeuralNetBinaryClassifier):
        raise UnsupportedEstimatorError(
            "NeuralNetBinaryClassifier has one output; skdal needs one output a class. Use "
            "NeuralNetClassifier with a module of two outputs and CrossEntropyLoss."
        )
    if not isinstance(final, NeuralNetClassifier):
        raise UnsupportedEstimatorError(
            f"{type(final).__name__} is a skorch net but no classifier; skdal works with "
            "NeuralNetClassifier."
        )
    if not callable(final.dataset):
        raise UnsupportedEstimatorError(
            f"the net's dataset is an instance ({type(final.dataset).__name__}), which skorch "
            "takes in place of any X, so the pool would never be looked at. Pass the class, "
            "as in dataset=MyDataset with dataset__... for its arguments; or leave dataset "
            "out and pass the Dataset as X."
        )
    return True


def check_classifier(estimator):
    """Raise unless `estimator` is a classifier, or ends in one.

    Raises
    ------
    UnsupportedEstimatorError
        Names what came and what is allowed.
    """
    final = final_estimator(estimator)
    tagged = hasattr(final, "__sklearn_tags__") and is_classifier(final)
    if not is_net(estimator) and not tagged and not hasattr(final, "predict_proba"):
        raise UnsupportedEstimatorError(
            "expected a skorch NeuralNetClassifier, a scikit-learn classifier or a Pipeline "
            "ending in one (to query also a fitted sampler or a modAL learner); got "
            f"{type(final).__name__}."
        )


def check_net(estimator):
    """Raise unless `estimator` is a skorch classifier, or ends in one.

    Raises
    ------
    UnsupportedEstimatorError
        Names what came and the samplers that work with it.
    """
    if isinstance(estimator, nn.Module):
        raise UnsupportedEstimatorError(
            "a skorch NeuralNetClassifier is needed here; got the torch module "
            f"{type(estimator).__name__}. Wrap it: NeuralNetClassifier(module, "
            "criterion=torch.nn.CrossEntropyLoss, train_split=None).initialize() keeps its "
            "weights."
        )
    if not is_net(estimator):
        raise UnsupportedEstimatorError(
            "a skorch NeuralNetClassifier is needed here, bare or last in a Pipeline; got "
            f"{type(final_estimator(estimator)).__name__}. For scikit-learn classifiers use a "
            "sampler that needs only probabilities: RandomSampler, ConfidenceSampler, "
            "MarginSampler or EntropySampler."
        )


def check_fitted(estimator):
    """Raise unless `estimator` can predict.

    Raises
    ------
    UnsupportedEstimatorError
        It is not a classifier.
    NotFittedError
        It is not trained (a net: not initialized).
    """
    check_classifier(estimator)
    final = final_estimator(estimator)
    try:
        check_is_fitted(final)
    except SklearnNotFittedError as error:
        raise NotFittedError(
            f"{type(final).__name__} is not fitted yet. Train it on the labeled set first: "
            "call its fit, or the sampler's fit, or the learner's fit or teach."
        ) from error


def warn_of_held_out_labels(estimator):
    """Warn if a net's `train_split` keeps paid labels out of training."""
    net = final_estimator(estimator)
    split = getattr(net, "train_split", None)
    predefined = isinstance(split, partial) and "valid_ds" in split.keywords
    if isinstance(net, NeuralNet) and split is not None and not predefined:
        warnings.warn(
            f"the net's train_split={split!r:.60} holds a part of the labeled set out of "
            "training, but scores use all of it. Pass train_split=None to train on every "
            "label, or skorch.helper.predefined_split(dataset).",
            UserWarning,
            stacklevel=3,
        )
