"""Confidence, margin and entropy against three lines of numpy; random against chance."""

import numpy as np
import pytest
from common import POOL, X, make_net, make_sampler, trained_net, y
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

REFERENCES = {
    "confidence": lambda p: 1 - p.max(1),
    "margin": lambda p: np.sort(p)[:, -2] - np.sort(p)[:, -1],
    "entropy": lambda p: -(p * np.log(np.where(p > 0, p, 1))).sum(1),
}
CLASSIFIERS = {
    "net": lambda: FrozenEstimator(trained_net()),
    "net in a pipeline": lambda: make_pipeline(StandardScaler(), make_net()),
    "logistic": LogisticRegression,
    "tree (zeros and ties)": lambda: DecisionTreeClassifier(max_depth=2),
    "pipeline": lambda: make_pipeline(StandardScaler(), GaussianNB()),
    "calibrated": lambda: CalibratedClassifierCV(LinearSVC()),
}


@pytest.mark.parametrize("key", REFERENCES)
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_scores(key, classifier):
    sampler = make_sampler(key, CLASSIFIERS[classifier]()).fit(X, y)
    expected = REFERENCES[key](
        sampler.estimator_.predict_proba(POOL).astype(np.float64)
    )
    np.testing.assert_allclose(
        sampler.score_samples(POOL), expected, rtol=1e-6, atol=1e-12
    )
    assert (
        sampler.query(POOL, 10).tolist()
        == np.argsort(-sampler.score_samples(POOL), kind="stable")[:10].tolist()
    )


@pytest.mark.parametrize("key", REFERENCES)
def test_two_classes_rank_alike(key):
    sampler = make_sampler(key, LogisticRegression()).fit(X, y == 1)
    distance = np.abs(sampler.predict_proba(POOL)[:, 0] - 0.5)
    assert (
        sampler.query(POOL, len(POOL)).tolist()
        == np.argsort(distance, kind="stable").tolist()
    )


@pytest.mark.parametrize("key", REFERENCES)
@pytest.mark.parametrize(
    "labels",
    [np.array(["setosa", "versicolor", "virginica"])[y], y * 10 - 7, y.astype(float)],
)
def test_any_labels_of_the_classifier(key, labels):
    expected = make_sampler(key, LogisticRegression()).fit(X, y).query(POOL, 8)
    sampler = make_sampler(key, LogisticRegression()).fit(X, labels)
    assert sampler.query(POOL, 8).tolist() == expected.tolist()
    assert set(sampler.predict(POOL)) <= set(labels)


def test_random_is_uniform_without_replacement():
    sampler = make_sampler("random", random_state=np.random.RandomState(0))
    net, counts = FrozenEstimator(trained_net()), np.zeros(10)
    for _ in range(2000):
        counts[sampler(net, POOL[:10], 4)] += 1  # an index twice would count once
    assert counts.sum() == 8000
    assert (np.abs(counts - 800) < 5 * np.sqrt(800 * 0.6)).all()


def test_random_is_in_random_order():
    sampler = make_sampler("random", random_state=np.random.RandomState(0))
    firsts = [
        sampler(FrozenEstimator(trained_net()), POOL[:3], 3)[0] for _ in range(20)
    ]
    assert set(firsts) == {0, 1, 2}


@pytest.mark.parametrize("n_labeled, same", [(30, True), (29, False)])
def test_random_draws_from_the_seed_and_the_number_of_labels(n_labeled, same):
    net, sampler = trained_net(), make_sampler("random")
    first = sampler(net, POOL, 20, X_labeled=X, y_labeled=y)
    second = sampler(net, POOL, 20, X_labeled=X[:n_labeled], y_labeled=y[:n_labeled])
    assert (first.tolist() == second.tolist()) == same


def test_random_without_a_seed_draws_anew():
    net = trained_net()
    assert (
        len(
            {
                tuple(make_sampler("random", random_state=None)(net, POOL, 20))
                for _ in range(3)
            }
        )
        == 3
    )
