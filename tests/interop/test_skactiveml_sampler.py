"""scikit-activeml's strategies in our loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from common import (
    POOL,
    POOL_y,
    X,
    assert_same,
    global_rng,
    make_net,
    snapshot,
    trained_net,
    y,
)
from needs import needs
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch.utils.data import TensorDataset

from skdal import ActiveLearner
from skdal.adapters import last_hidden
from skdal.exceptions import (
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
    MissingLabeledDataError,
    UnsupportedEstimatorError,
)
from skdal.interop import Reader, SkactivemlSampler, TrainedClassifier
from skdal.samplers import (
    ConfidenceSampler,
    CoresetSampler,
    EntropySampler,
    MarginSampler,
)

needs("skactiveml")

from skactiveml import pool as theirs  # noqa: E402
from skactiveml.classifier import ParzenWindowClassifier, SklearnClassifier  # noqa: E402

METHODS = {
    "least_confident": ConfidenceSampler,
    "margin_sampling": MarginSampler,
    "entropy": EntropySampler,
}
CLASSIFIERS = {
    "net": trained_net(),
    "pipeline": make_pipeline(StandardScaler(), make_net()).fit(X, y),
    "classifier": LogisticRegression().fit(X, y),
}
classifiers = pytest.mark.parametrize(
    "classifier", CLASSIFIERS.values(), ids=CLASSIFIERS
)


def features(classifier, X):
    return X


def ask(strategy, classifier, n_instances=5, pool=POOL, labeled=(X, y), **params):
    sampler = SkactivemlSampler(strategy=strategy, **params)
    return sampler(
        classifier, pool, n_instances, X_labeled=labeled[0], y_labeled=labeled[1]
    )


@pytest.mark.parametrize("method, sampler", METHODS.items())
@classifiers
@pytest.mark.parametrize("n_instances", [1, 2, 7, 41])
def test_uncertainty_is_ours(method, sampler, classifier, n_instances):
    found = ask(theirs.UncertaintySampling(method=method), classifier, n_instances)
    assert found.tolist() == sampler()(classifier, POOL, n_instances).tolist()


@classifiers
def test_coreset_is_ours_on_the_samples_themselves(classifier):
    ours = CoresetSampler(embedding=features)(
        classifier, POOL, 10, X_labeled=X, y_labeled=y
    )
    assert ask(theirs.CoreSet(), classifier, 10).tolist() == ours.tolist()


def test_scores_are_utilities_at_the_moment_of_picking():
    estimator = FrozenEstimator(CLASSIFIERS["net"])
    entropy = SkactivemlSampler(
        estimator, strategy=theirs.UncertaintySampling(method="entropy")
    ).fit(X, y)
    expected = EntropySampler(estimator).fit(X, y).query(POOL, 5, return_scores=True)
    for found, ours in zip(entropy.query(POOL, 5, return_scores=True), expected):
        np.testing.assert_allclose(found, ours, rtol=1e-12)
    coreset = SkactivemlSampler(estimator, strategy=theirs.CoreSet()).fit(X, y)
    ours = CoresetSampler(estimator, embedding=features).fit(X, y)
    distances = [
        sampler.query(POOL, 5, return_scores=True)[1] for sampler in (coreset, ours)
    ]
    np.testing.assert_allclose(*distances, rtol=1e-6)


READS_WHAT_IT_GETS = {
    "RandomSampling": theirs.RandomSampling(),
    "UncertaintySampling": theirs.UncertaintySampling(),
    "GreedySamplingX": theirs.GreedySamplingX(),
    "Clue": theirs.Clue(),
    "DropQuery": theirs.DropQuery(),
    "CoreSet": theirs.CoreSet(),
    "TypiClust": theirs.TypiClust(),
    "Badge": theirs.Badge(),
    "ProbCover": theirs.ProbCover(),
    "ContrastiveAL": theirs.ContrastiveAL(),
    "Falcun": theirs.Falcun(),
    "MaxHerding": theirs.MaxHerding(),
    "SubSamplingWrapper": theirs.SubSamplingWrapper(
        theirs.UncertaintySampling(), max_candidates=20
    ),
}
reading = pytest.mark.parametrize(
    "strategy", READS_WHAT_IT_GETS.values(), ids=READS_WHAT_IT_GETS
)


@reading
def test_every_strategy_that_reads_a_classifier_or_the_samples(strategy):
    net = trained_net()
    net.module_.train()
    before, rng = snapshot(net), global_rng()
    found, again = (ask(strategy, net, random_state=0) for _ in range(2))
    assert len(set(found.tolist())) == 5
    assert found.tolist() == again.tolist()
    assert_same(snapshot(net), before)
    assert_same(global_rng(), rng)
    assert not [
        name for name in vars(strategy) if name.endswith("_")
    ]  # a clone was asked


@reading
def test_rounds_in_our_learner(strategy):
    learner = ActiveLearner(
        make_net(), SkactivemlSampler(strategy=strategy, random_state=0), X, y
    )
    for n_labeled in (35, 40):
        indices, samples = learner.query(POOL, n_instances=5)
        learner.teach(samples, POOL_y[indices])
        assert len(learner.X_training) == n_labeled


def test_chance_is_the_strategys_own_or_the_samplers():
    seeded, free = theirs.RandomSampling(random_state=0), theirs.RandomSampling()
    net = CLASSIFIERS["net"]
    assert (
        ask(seeded, net, random_state=1).tolist()
        == ask(seeded, net, random_state=2).tolist()
    )
    assert (
        ask(free, net, random_state=1).tolist()
        != ask(free, net, random_state=2).tolist()
    )
    assert ask(free, net).tolist() != ask(free, net).tolist()


def test_embeddings_are_the_last_hidden_layer():
    class Nearest(theirs.Badge):
        def query(
            self,
            X,
            y,
            clf,
            fit_clf=True,
            candidates=None,
            batch_size=1,
            return_utilities=False,
        ):
            proba, found = clf.predict_proba(X[len(y) - 41 :], return_embeddings=True)
            np.testing.assert_array_equal(
                found, last_hidden(CLASSIFIERS["net"], POOL).numpy()
            )
            assert (fit_clf, proba.shape) == (False, (41, 3))
            assert clf.predict(X).tolist() == CLASSIFIERS["net"].predict(X).tolist()
            return np.arange(batch_size) + 30, np.tile(np.arange(71.0), (batch_size, 1))

    assert ask(Nearest(), CLASSIFIERS["net"], 2).tolist() == [0, 1]


EMBEDDED = {
    "Badge": theirs.Badge(clf_embedding_flag_name="return_embeddings", random_state=0),
    "Clue": theirs.Clue(predict_dict={"return_embeddings": True}, random_state=0),
    "ContrastiveAL": theirs.ContrastiveAL(
        clf_embedding_flag_name="return_embeddings", random_state=0
    ),
    "DropQuery": theirs.DropQuery(
        clf_embedding_flag_name="return_embeddings", random_state=0
    ),
}


@pytest.mark.parametrize("key", EMBEDDED)
def test_strategies_that_ask_for_embeddings(key):
    found = ask(EMBEDDED[key], CLASSIFIERS["net"], 7).tolist()
    assert len(set(found)) == 7
    assert (
        found
        != ask(type(EMBEDDED[key])(random_state=0), CLASSIFIERS["net"], 7).tolist()
    )


def test_more_arguments_of_query():
    committee = [
        SklearnClassifier(LogisticRegression(C=c), classes=[0, 1, 2])
        for c in (0.1, 1, 10)
    ]
    found = ask(
        theirs.QueryByCommittee(random_state=0),
        CLASSIFIERS["net"],
        query_params={"ensemble": committee},
    )
    everything, labels = (
        np.concatenate([X, POOL]),
        np.concatenate([y, np.full(41, np.nan)]),
    )
    direct = theirs.QueryByCommittee(random_state=0).query(
        everything, labels, committee, batch_size=5
    )
    assert found.tolist() == (direct - 30).tolist()
    discriminator = ParzenWindowClassifier(classes=[0, 1], random_state=0)
    assert (
        len(
            ask(
                theirs.DiscriminativeAL(),
                CLASSIFIERS["net"],
                query_params={"discriminator": discriminator},
            )
        )
        == 5
    )


def test_nothing_of_one_round_is_left_in_the_next():
    """ProbCover keeps distances by the order of samples, and a pick moves from the pool to the
    labeled set."""
    net, sampler = (
        CLASSIFIERS["net"],
        SkactivemlSampler(strategy=theirs.ProbCover(random_state=0)),
    )
    picks = sampler(net, POOL, 3, X_labeled=X, y_labeled=y)
    rest = np.delete(POOL, picks, axis=0)
    labeled = np.concatenate([X, POOL[picks]]), np.concatenate([y, POOL_y[picks]])
    second = sampler(net, rest, 3, X_labeled=labeled[0], y_labeled=labeled[1])
    assert (
        second.tolist()
        == ask(theirs.ProbCover(random_state=0), net, 3, rest, labeled).tolist()
    )
    assert (
        clone(sampler).get_params()["strategy"].get_params()
        == sampler.strategy.get_params()
    )


NAMES = np.array(["ant", "bee", "cat"])
LABELS = {
    "strings": (NAMES, None),
    "strings with a string": (NAMES, "?"),
    "integers from 0": (np.arange(3), -1),
    "objects": (NAMES.astype(object), None),
    "integers from 5": (np.arange(5, 8), np.nan),
}


@pytest.mark.parametrize("names, missing_label", LABELS.values(), ids=LABELS)
def test_labels(names, missing_label):
    classifier, labeled = LogisticRegression().fit(X, names[y]), (X, names[y])
    for strategy in (
        theirs.UncertaintySampling(missing_label=missing_label),
        theirs.TypiClust(missing_label=missing_label, random_state=0),
    ):
        assert len(set(ask(strategy, classifier, labeled=labeled).tolist())) == 5
    strategy = theirs.UncertaintySampling(missing_label=missing_label)
    ours = ConfidenceSampler()(classifier, POOL, 5)
    assert ask(strategy, classifier, labeled=labeled).tolist() == ours.tolist()


def test_data_that_becomes_an_array():
    net, expected = (
        CLASSIFIERS["net"],
        ask(theirs.UncertaintySampling(), CLASSIFIERS["net"]),
    )
    tensors = torch.from_numpy(POOL), (torch.from_numpy(X), torch.from_numpy(y))
    assert (
        ask(
            theirs.UncertaintySampling(), net, pool=tensors[0], labeled=tensors[1]
        ).tolist()
        == expected.tolist()
    )


def test_frames(recwarn):
    columns = list("abcd")
    labeled, pool = (
        pd.DataFrame(X, columns=columns),
        pd.DataFrame(POOL, columns=columns),
    )
    classifier = LogisticRegression().fit(labeled, y)
    found = ask(
        theirs.UncertaintySampling(),
        classifier,
        pool=pool,
        labeled=(labeled, pd.Series(y)),
    )
    assert found.tolist() == ConfidenceSampler()(classifier, pool, 5).tolist()
    assert not recwarn.list


def test_without_a_labeled_set():
    for strategy in (
        theirs.UncertaintySampling(),
        theirs.UncertaintySampling(missing_label=None),
    ):
        found = SkactivemlSampler(strategy=strategy)(CLASSIFIERS["net"], POOL, 5)
        assert (
            found.tolist() == ConfidenceSampler()(CLASSIFIERS["net"], POOL, 5).tolist()
        )


def test_a_classifier_without_probabilities():
    classifier = LinearSVC().fit(X, y)
    assert len(ask(theirs.CoreSet(), classifier)) == 5
    with pytest.raises(UnsupportedEstimatorError, match="predict_proba"):
        ask(theirs.UncertaintySampling(), classifier)


def test_classes_that_no_label_has():
    few = y < 2
    net = make_net().fit(X[few], y[few])
    assert TrainedClassifier(Reader(net, "a test"), POOL, np.nan).classes_.tolist() == [
        0,
        1,
        2,
    ]
    found = ask(theirs.UncertaintySampling(), net, labeled=(X[few], y[few]))
    assert found.tolist() == ConfidenceSampler()(net, POOL, 5).tolist()


class Repeats(theirs.RandomSampling):
    def query(self, X, y, candidates=None, batch_size=1, return_utilities=False):
        return np.full(batch_size, 30), np.zeros((batch_size, len(X)))


class PicksLabeled(theirs.RandomSampling):
    def query(self, X, y, candidates=None, batch_size=1, return_utilities=False):
        return np.arange(batch_size), np.zeros((batch_size, len(X)))


class PicksBeyond(theirs.RandomSampling):
    def query(self, X, y, candidates=None, batch_size=1, return_utilities=False):
        return 100 + np.arange(batch_size), np.zeros((batch_size, len(X)))


class Trains(theirs.UncertaintySampling):
    def query(
        self,
        X,
        y,
        clf,
        fit_clf=True,
        candidates=None,
        batch_size=1,
        return_utilities=False,
    ):
        return super().query(
            X, y, clf, True, batch_size=batch_size, return_utilities=return_utilities
        )


FAULTS = {
    "duplicates": (
        Repeats(),
        {},
        InvalidParameterError,
        r"Repeats gave positions more than once, such as \[0\]",
    ),
    "labeled": (
        PicksLabeled(),
        {},
        InvalidParameterError,
        "PicksLabeled gave positions outside of the pool",
    ),
    "trains": (
        Trains(),
        {},
        UnsupportedEstimatorError,
        "trains the classifier anew.*warm weights",
    ),
    "no strategy": (
        MarginSampler(),
        {},
        InvalidParameterError,
        "instance of a SingleAnnotatorPoolQueryStrategy",
    ),
    "a class": (
        theirs.CoreSet,
        {},
        InvalidParameterError,
        "instance of a SingleAnnotatorPoolQueryStrategy",
    ),
    "a committee's": (
        theirs.QueryByCommittee(),
        {},
        InvalidParameterError,
        "needs ensemble.*query_params",
    ),
    "a regressor's": (
        theirs.GreedySamplingTarget(),
        {},
        InvalidParameterError,
        "needs reg",
    ),
    "ours twice": (
        theirs.CoreSet(),
        {"query_params": {"batch_size": 3}},
        InvalidParameterError,
        "query_params must be",
    ),
    "a Dataset": (
        theirs.CoreSet(),
        {"pool": TensorDataset(torch.from_numpy(POOL))},
        InvalidDataError,
        "takes arrays; got TensorDataset",
    ),
    "no labels": (
        theirs.CoreSet(),
        {"labeled": (X, None)},
        MissingLabeledDataError,
        "pass y to fit",
    ),
    "beyond X": (
        PicksBeyond(),
        {},
        InvalidParameterError,
        r"outside of the pool, such as \[70",
    ),
    "strings": (
        theirs.CoreSet(),
        {"labeled": (X, NAMES[y])},
        InvalidLabelsError,
        "missing_label=nan are of different kinds.*missing_label=None",
    ),
    "a label is missing_label": (
        theirs.CoreSet(missing_label=1),
        {},
        InvalidLabelsError,
        "1 is one of the labels",
    ),
}


@pytest.mark.parametrize(
    "strategy, params, error, message", FAULTS.values(), ids=FAULTS
)
def test_faults(strategy, params, error, message):
    with pytest.raises(error, match=message):
        ask(strategy, CLASSIFIERS["classifier"], 2, **params)
