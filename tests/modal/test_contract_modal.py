"""Our strategies in modAL's own learners, whichever modAL is imported.

`test_other_modal.py` runs this file under the other release.
"""

import inspect
import warnings
from functools import partial

import modAL.models
import numpy as np
import pytest
import sklearn
from common import (
    FOR_CLASSIFIERS,
    FUNCTIONS,
    POOL,
    PROMISES,
    Mlp,
    POOL_y,
    X,
    make_net,
    make_sampler,
    trained_net,
    y,
)
from lanes import crossed
from modAL.models import ActiveLearner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

import skdal

pytestmark = pytest.mark.contract

TAKES_SCORES = "return_metrics" in inspect.signature(ActiveLearner.query).parameters
TEACHES = parse_version(sklearn.__version__) < parse_version(
    "1.8"
)  # modAL passes force_all_finite, gone since
ESTIMATORS = {
    "net": make_net,
    "net in a pipeline": lambda: make_pipeline(StandardScaler(), make_net()),
    "classifier": LogisticRegression,
}
STRATEGIES = [*FUNCTIONS, *PROMISES]
CASES = [
    (estimator, name)
    for estimator in ESTIMATORS
    for name in STRATEGIES
    if "net" in estimator or name.removesuffix("_sampling") in FOR_CLASSIFIERS
]
cases = pytest.mark.parametrize("estimator, name", CASES)


def seeded(name, estimator="net"):
    """Return a strategy with a seed, an instance anew, since some remember their learner."""
    params = (
        {} if "net" in estimator else FOR_CLASSIFIERS[name.removesuffix("_sampling")]
    )
    return (
        make_sampler(name, **params)
        if name in PROMISES
        else partial(FUNCTIONS[name], random_state=0, **params)
    )


# two picks are what modAL 0.4.2.1 takes for picks and scores
@crossed(
    "n_instances, case",
    [1, 2, 5],
    CASES,
    some_rows=[2],
    some_columns=[("net", "dynamical_sampling")],
)
def test_query(n_instances, case):
    estimator, name = case
    learner = ActiveLearner(ESTIMATORS[estimator](), seeded(name, estimator), X, y)
    indices, samples = learner.query(POOL, n_instances=n_instances)
    expected = seeded(name, estimator)(
        learner.estimator, POOL, n_instances, X_labeled=X, y_labeled=y
    )
    assert indices.tolist() == expected.tolist()
    assert samples.tolist() == POOL[expected].tolist()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_as_they_are(name):
    learner = ActiveLearner(make_net(), FUNCTIONS[name], X, y)
    indices, samples = learner.query(POOL, n_instances=4)
    assert len(set(indices)) == 4
    assert samples.tolist() == POOL[indices].tolist()


@crossed(
    "n_instances, name",
    [1, 2, 5],
    STRATEGIES,
    some_rows=[2],
    some_columns=["dynamical_sampling"],
)
def test_it_runs_once_and_without_a_warning(name, n_instances):
    learner = ActiveLearner(make_net(), seeded(name), X, y)
    seeded(name)(
        learner.estimator, POOL, n_instances, X_labeled=X, y_labeled=y
    )  # once, it may warn of the net
    start = Mlp.forwards
    seeded(name)(learner.estimator, POOL, n_instances, X_labeled=X, y_labeled=y)
    once, start = Mlp.forwards - start, Mlp.forwards
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.query(POOL, n_instances=n_instances)
    assert Mlp.forwards - start == once


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_a_learner_gets_is_by_its_signature(name):
    learner = ActiveLearner(make_net(), seeded(name), X, y)
    result = seeded(name)(learner, POOL, 3)
    assert isinstance(result, tuple) == TAKES_SCORES
    indices, scores = result if TAKES_SCORES else (result, np.zeros(3))
    assert indices.shape == scores.shape == (3,)


def test_parameters_go_through_query():
    learner = ActiveLearner(make_net(), skdal.dynamical_sampling, X[:10], y[:10])
    indices, _ = learner.query(POOL, n_instances=6, gamma=1.0, X_labeled=X, y_labeled=y)
    expected = make_sampler("dynamical", gamma=1.0, batch_size=None)(
        learner.estimator, POOL, 6, X_labeled=X, y_labeled=y
    )
    assert indices.tolist() == expected.tolist()


def test_the_labeled_set_is_the_learners():
    learner = ActiveLearner(make_net(), skdal.dynamical_sampling, X[:20], y[:20])
    learner.X_training, learner.y_training = X, y
    expected = skdal.dynamical_sampling(
        learner.estimator, POOL, 6, X_labeled=X, y_labeled=y
    )
    assert learner.query(POOL, n_instances=6)[0].tolist() == expected.tolist()


@cases
def test_teach(estimator, name):
    learner = ActiveLearner(ESTIMATORS[estimator](), seeded(name, estimator), X, y)
    indices, samples = learner.query(POOL, n_instances=2)
    if (
        not TEACHES
    ):  # modAL itself is broken here: should it ever teach again, this fails
        with pytest.raises(TypeError, match="force_all_finite"):
            learner.teach(samples, POOL_y[indices])
        return
    learner.teach(samples, POOL_y[indices])
    assert learner.X_training.shape == (32, 4)
    assert learner.query(POOL, n_instances=2)[0].shape == (2,)


@pytest.mark.parametrize("name", STRATEGIES)
def test_errors_come_through(name):
    learner = ActiveLearner(make_net(), seeded(name), X, y)
    with pytest.raises(ValueError, match="n_instances must be from 1 to 41"):
        learner.query(POOL, n_instances=42)


if hasattr(modAL.models, "DeepActiveLearner"):  # since 0.4.2

    @pytest.mark.parametrize("name", STRATEGIES)
    def test_deep_learner(name):
        learner = modAL.models.DeepActiveLearner(trained_net(), seeded(name))
        learner.teach(X, y)
        indices, samples, scores = learner.query(
            POOL, n_instances=2, X_labeled=X, y_labeled=y, return_metrics=True
        )
        expected = seeded(name)(learner.estimator, POOL, 2, X_labeled=X, y_labeled=y)
        assert indices.tolist() == expected.tolist()
        assert (samples.shape, scores.shape) == ((2, 4), (2,))

    def test_deep_learner_without_labeled_data():
        learner = modAL.models.DeepActiveLearner(
            trained_net(), skdal.dynamical_sampling
        )
        with pytest.raises(ValueError, match="X_labeled="):
            learner.query(POOL)
