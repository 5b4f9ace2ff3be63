"""What scikit-learn asks of a meta-estimator: that metadata are routed through it, and the tags of
its estimator.
"""

import copy

from sklearn import get_config
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted

_METHODS = ("fit", "predict", "predict_proba", "score")


def with_tags_of(estimator, tags):
    """Return the tags of a meta-estimator with those of its estimator where they tell what may be
    done with it.
    """
    if estimator is not None:
        own = copy.deepcopy(get_tags(estimator))
        tags.estimator_type = own.estimator_type
        tags.classifier_tags = own.classifier_tags
        tags.target_tags = own.target_tags
        tags.input_tags = own.input_tags
        tags.array_api_support = False
    return tags


def estimator_router(owner):
    """Return the MetadataRouter of a meta-estimator, whose methods pass all metadata on to its
    `estimator`'s.
    """
    mapping = MethodMapping()
    for method in _METHODS:
        mapping.add(caller=method, callee=method)
    return MetadataRouter(owner=type(owner).__name__).add(
        estimator=owner.estimator, method_mapping=mapping
    )


def routed(owner, method, params):
    """Return what of `params` the `estimator` of a meta-estimator gets: without routing all of
    them.

    Raises
    ------
    UnsetMetadataPassedError, TypeError
        scikit-learn's own, where routing is enabled and the estimator has not said that it wants
        them.
    """
    if not params or not routing_is_enabled():
        return params
    return process_routing(owner, method, **params)["estimator"][method]


def routed_to_steps(pipeline, params):
    """Return what of `params` of a Pipeline's `fit` the last step gets, and what the steps before
    it get.
    """
    last = process_routing(pipeline, "fit", **params)[pipeline.steps[-1][0]]["fit"]
    earlier = pipeline[:-1]
    if not len(earlier):
        return last, {}
    wanted = earlier.get_metadata_routing().consumes("fit_transform", params.keys())
    return last, {name: value for name, value in params.items() if name in wanted}


def routing_is_enabled():
    """Tell whether scikit-learn routes metadata."""
    return get_config()["enable_metadata_routing"]


def is_fitted(estimator):
    """Tell whether an estimator is fitted, as scikit-learn sees it."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True
