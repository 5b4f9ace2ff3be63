"""Samplers inside scikit-learn, and scikit-learn's estimators inside samplers."""

import numpy as np
import pytest
from common import (
    POOL,
    PROMISES,
    POOL_y,
    Untrainable,
    X,
    make_net,
    make_sampler,
    snapshot,
    trained_net,
    weights,
    y,
)
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

pytestmark = pytest.mark.contract
every = pytest.mark.parametrize("key", PROMISES)


@pytest.mark.parametrize(
    "key, name", [("dynamical", "gamma"), ("pool_subset", "sampler__gamma")]
)
def test_grid_search_over_gamma(key, name):
    search = GridSearchCV(
        make_sampler(key, make_net()),
        {name: [0, 2.0, np.inf]},
        cv=2,
        scoring="accuracy",
    ).fit(X, y)
    assert search.best_estimator_.get_params()[name] == search.best_params_[name]
    assert search.best_estimator_.query(POOL, 3).shape == (3,)
    assert search.cv_results_["mean_test_score"].shape == (3,)


@every
def test_grid_search_over_the_net(key):
    search = GridSearchCV(
        make_sampler(key, make_net()), {"estimator__lr": [0.1, 0.0]}, cv=2
    ).fit(X, y)
    assert search.best_estimator_.estimator_.lr == search.best_params_["estimator__lr"]


@every
def test_cross_validation(key):
    assert np.isfinite(cross_val_score(make_sampler(key, make_net()), X, y, cv=3)).all()


@every
def test_last_in_a_pipeline(key):
    pipeline = make_pipeline(StandardScaler(), make_sampler(key, make_net())).fit(X, y)
    assert pipeline.predict(POOL).shape == (len(POOL),)
    assert pipeline.score(POOL, POOL_y) == (pipeline.predict(POOL) == POOL_y).mean()


@every
def test_a_pipeline_inside_scores_what_its_net_gets(key):
    scaler = FunctionTransformer(lambda rows: 3 * rows - 1)
    net = trained_net()
    pipeline = Pipeline([("scale", scaler), ("net", net)])
    inside = make_sampler(key)(pipeline, POOL, 9, X_labeled=X, y_labeled=y)
    outside = make_sampler(key)(
        net, scaler.transform(POOL), 9, X_labeled=scaler.transform(X), y_labeled=y
    )
    assert inside.tolist() == outside.tolist()


@every
def test_frozen_nets_are_never_trained(key):
    net = trained_net()
    net.__class__ = Untrainable
    before = snapshot(net)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(X, y).fit(X, y)
    sampler.query(POOL, 4)
    assert sampler.estimator_.estimator is net
    assert snapshot(net) == before


@every
def test_frozen_at_the_end_of_a_pipeline(key):
    net = trained_net()
    sampler = make_sampler(
        key, make_pipeline(StandardScaler(), FrozenEstimator(net))
    ).fit(X, y)
    assert weights(sampler.estimator_[-1].estimator) == weights(net)
    assert sampler.query(POOL, 4).shape == (4,)


@pytest.mark.parametrize(
    "estimator",
    [make_net(), LogisticRegression(), make_pipeline(StandardScaler(), make_net())],
)
def test_it_is_a_classifier_where_its_estimator_is(estimator):
    assert is_classifier(make_sampler("random", estimator))
    assert not is_classifier(make_sampler("random", Ridge()))


def test_methods_are_those_of_the_estimator():
    assert not hasattr(make_sampler("random", Ridge()), "predict_proba")
    assert hasattr(make_sampler("random", LogisticRegression()), "predict_proba")


@every
def test_not_fitted_is_scikit_learns(key):
    with pytest.raises(NotFittedError, match=r"call fit\(X, y\)"):
        make_sampler(key, make_net()).query(POOL)
