"""Our samplers in scikit-activeml's loops."""

import numpy as np
import pytest
import torch
from common import (
    POOL,
    PROMISES,
    Mlp,
    POOL_y,
    X,
    assert_same,
    keys,
    make_net,
    make_sampler,
    snapshot,
    weights,
    y,
)
from needs import needs
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skdal import DynamicALSampler
from skdal.base import BaseSampler, ScoreSampler
from skdal.exceptions import (
    InvalidLabelsError,
    InvalidParameterError,
    NotFittedError,
    UnsupportedEstimatorError,
)
from skdal.interop import SkactivemlStrategy
from skdal.samplers import (
    ALBLSampler,
    CoresetSampler,
    EntropySampler,
    MarginSampler,
    RandomSampler,
)

needs("skactiveml")

from skactiveml.classifier import (  # noqa: E402
    ParzenWindowClassifier,
    SklearnClassifier,
    SkorchClassifier,
)
from skactiveml.pool import SubSamplingWrapper  # noqa: E402

# labeled and unlabeled samples, mixed
_order = np.random.RandomState(1).permutation(71)
ALL = np.concatenate([X, POOL])[_order]
LABELS = np.concatenate([y, np.full(41, np.nan)])[_order]
TRUTH = np.concatenate([y, POOL_y])[_order]
LABELED, UNLABELED = np.flatnonzero(~np.isnan(LABELS)), np.flatnonzero(np.isnan(LABELS))
SETTINGS = {
    "max_epochs": 2,
    "lr": 0.01,
    "batch_size": 8,
    "train_split": None,
    "verbose": 0,
}


class LogMlp(Mlp):
    """Gives log-probabilities, which NLLLoss takes in scikit-activeml (and not in skorch)."""

    def forward(self, x):
        return super().forward(x).log_softmax(1)


class Two(Mlp):
    """Gives logits and the hidden layer."""

    def forward(self, x):
        hidden = self.body(x.to(self.head.weight.dtype))
        return self.head(hidden), hidden


class Swapped(Two):
    """Gives the hidden layer and logits."""

    def forward(self, x):
        return super().forward(x)[::-1]


def skorch_classifier(module=Mlp, labels=LABELS, **params):
    params = {
        "neural_net_param_dict": SETTINGS,
        "classes": [0, 1, 2],
        "sample_dtype": np.float64,
        **params,
    }
    torch.manual_seed(0)
    return SkorchClassifier(module, random_state=0, **params).fit(ALL, labels)


def twin(clf, module=Mlp, **settings):
    """Return a skorch net of ours with the weights of a SkorchClassifier."""
    net = make_net(module, **settings).initialize()
    net.module_.load_state_dict(clf.neural_net_.module_.state_dict())
    return net


def direct(sampler, classifier, n_instances=4):
    """Return the sampler's own picks, as positions in ALL."""
    labeled = {"X_labeled": ALL[LABELED], "y_labeled": TRUTH[LABELED]}
    return UNLABELED[
        sampler(classifier, ALL[UNLABELED], n_instances, **labeled)
    ].tolist()


NET = make_net().fit(ALL[LABELED], TRUTH[LABELED])
LOGISTIC = LogisticRegression().fit(ALL[LABELED], TRUTH[LABELED])
SKORCH = skorch_classifier()
INTEGERS = np.where(np.isnan(LABELS), -1, LABELS).astype(int)
OURS = {
    "net": NET,
    "frozen": FrozenEstimator(NET),
    "pipeline": make_pipeline(StandardScaler(), make_net()).fit(
        ALL[LABELED], TRUTH[LABELED]
    ),
}
samplers = pytest.mark.parametrize("key", PROMISES)


@samplers
@pytest.mark.parametrize("clf", OURS.values(), ids=OURS)
def test_a_net_of_ours(key, clf):
    found = SkactivemlStrategy(make_sampler(key)).query(ALL, LABELS, clf, batch_size=4)
    assert found.tolist() == direct(make_sampler(key), clf)


@samplers
def test_skorch_classifier(key):
    found = SkactivemlStrategy(make_sampler(key)).query(
        ALL, LABELS, SKORCH, batch_size=4
    )
    assert found.tolist() == direct(make_sampler(key), twin(SKORCH))


@samplers
def test_sklearn_classifier_around_a_net(key):
    clf = SklearnClassifier(make_net(), classes=[0, 1, 2], missing_label=-1).fit(
        ALL, INTEGERS
    )
    found = SkactivemlStrategy(make_sampler(key), missing_label=-1).query(
        ALL, INTEGERS, clf, batch_size=4
    )
    assert found.tolist() == direct(make_sampler(key), clf.estimator_)


@pytest.mark.parametrize(
    "key",
    [key for key, promise in PROMISES.items() if promise.for_classifiers is not None],
)
@pytest.mark.parametrize(
    "clf", [LOGISTIC, SklearnClassifier(LogisticRegression()).fit(ALL, LABELS)]
)
def test_classifiers(key, clf):
    params = PROMISES[key].for_classifiers
    found = SkactivemlStrategy(make_sampler(key, **params)).query(
        ALL, LABELS, clf, batch_size=4
    )
    assert found.tolist() == direct(make_sampler(key, **params), LOGISTIC)


def test_their_own_classifiers():
    clf = ParzenWindowClassifier(classes=[0, 1, 2]).fit(ALL, LABELS)
    found = SkactivemlStrategy(EntropySampler()).query(ALL, LABELS, clf, batch_size=4)
    assert found.tolist() == direct(EntropySampler(), clf)


def test_an_estimator_that_was_trained_before_it_was_wrapped():
    found = SkactivemlStrategy(MarginSampler()).query(
        ALL, LABELS, SklearnClassifier(LOGISTIC), batch_size=4
    )
    assert found.tolist() == direct(MarginSampler(), LOGISTIC)


WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
WAYS = {
    "log-probabilities": ({"module": LogMlp, "criterion": nn.NLLLoss}, {}),
    "weights": (
        {"neural_net_param_dict": {**SETTINGS, "criterion__weight": WEIGHTS}},
        {"criterion__weight": WEIGHTS},
    ),
    "a criterion": (
        {"criterion": nn.CrossEntropyLoss(label_smoothing=0.1)},
        {"criterion__label_smoothing": 0.1},
    ),
    "two outputs": (
        {
            "module": Two,
            "forward_outputs": {"proba": (0, nn.Softmax(dim=-1)), "hidden": (1, None)},
        },
        {},
    ),
}


@pytest.mark.parametrize("theirs, ours", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "key", ["dynamical", "egl", "entropy_gradient", "badge", "margin"]
)
def test_ways_to_define_a_skorch_classifier(theirs, ours, key):
    clf = skorch_classifier(**theirs)
    strategy = SkactivemlStrategy(make_sampler(key))
    found, utilities = strategy.query(
        ALL, LABELS, clf, batch_size=4, return_utilities=True
    )
    assert found.tolist() == direct(make_sampler(key), twin(clf, **ours))
    sampler = make_sampler(key, FrozenEstimator(twin(clf, **ours)))
    if isinstance(sampler, ScoreSampler):
        expected = sampler.fit(ALL[LABELED], TRUTH[LABELED]).score_samples(
            ALL[UNLABELED]
        )
        np.testing.assert_allclose(
            utilities[0, UNLABELED], expected, rtol=1e-9, atol=1e-12
        )


def test_samples_are_cast_as_the_skorch_classifier_casts_them():
    clf = skorch_classifier(module=lambda: nn.Linear(4, 3), sample_dtype=np.float32)
    for key in ("dynamical", "margin", "coreset"):
        assert (
            len(
                SkactivemlStrategy(make_sampler(key)).query(
                    ALL, LABELS, clf, batch_size=4
                )
            )
            == 4
        )


NAMES = {
    "strings": (np.array(["ant", "bee", "cat"]), ""),
    "objects": (np.array(["a", "b", "c"], dtype=object), None),
}


@pytest.mark.parametrize("names, missing_label", NAMES.values(), ids=NAMES)
def test_labels_that_are_names(names, missing_label):
    named = np.where(np.isnan(LABELS), missing_label, names[TRUTH])
    clf = skorch_classifier(
        labels=named, classes=names.tolist(), missing_label=missing_label
    )
    assert weights(SKORCH.neural_net_) == weights(clf.neural_net_)
    found = SkactivemlStrategy(make_sampler("dynamical"), missing_label).query(
        ALL, named, clf, batch_size=4
    )
    assert found.tolist() == direct(make_sampler("dynamical"), twin(SKORCH))


# --- their contract -------------------------------------------------------------------------------


@samplers
def test_utilities(key):
    found, utilities = SkactivemlStrategy(make_sampler(key)).query(
        ALL, LABELS, SKORCH, batch_size=4, return_utilities=True
    )
    assert (len(set(found.tolist())), utilities.shape) == (4, (4, 71))
    for i, row in enumerate(utilities):
        assert sorted(np.flatnonzero(np.isnan(row))) == sorted([*LABELED, *found[:i]])
        if PROMISES[key].scores != "none":
            assert np.nanargmax(row) == found[i] or row[found[i]] == np.nanmax(row)


def test_utilities_of_scores():
    _, utilities = SkactivemlStrategy(EntropySampler()).query(
        ALL, LABELS, LOGISTIC, batch_size=2, return_utilities=True
    )
    scores = (
        EntropySampler(FrozenEstimator(LOGISTIC))
        .fit(ALL[LABELED], TRUTH[LABELED])
        .score_samples(ALL[UNLABELED])
    )
    np.testing.assert_array_equal(utilities[0, UNLABELED], scores)


@pytest.mark.parametrize("key", ["dynamical", "margin", "coreset", "badge", "random"])
def test_candidates(key):
    strategy = SkactivemlStrategy(make_sampler(key))

    def query(candidates):
        return strategy.query(
            ALL,
            LABELS,
            SKORCH,
            candidates=candidates,
            batch_size=4,
            return_utilities=True,
        )

    found, utilities = query(None)
    again, same = query(UNLABELED)
    assert again.tolist() == found.tolist()
    np.testing.assert_array_equal(same, utilities)
    rows, of_rows = query(ALL[UNLABELED])
    assert UNLABELED[rows].tolist() == found.tolist()
    np.testing.assert_array_equal(of_rows, utilities[:, UNLABELED])
    some, of_some = query(UNLABELED[5:15])
    assert set(some) <= set(UNLABELED[5:15])
    assert of_some.shape == (4, 71)
    assert np.isfinite(of_some[0]).sum() == 10
    if key in ("dynamical", "margin"):
        np.testing.assert_allclose(
            of_some[0, UNLABELED[5:15]], utilities[0, UNLABELED[5:15]]
        )


def test_fewer_candidates_than_asked_for():
    with pytest.warns(UserWarning, match="batch_size=42"):
        found = SkactivemlStrategy(MarginSampler()).query(
            ALL, LABELS, LOGISTIC, batch_size=42
        )
    assert sorted(found) == UNLABELED.tolist()


def test_chance():
    def query(**params):
        return SkactivemlStrategy(RandomSampler(), **params).query(
            ALL, LABELS, LOGISTIC, batch_size=9
        )

    assert (
        query(random_state=0).tolist()
        == query(random_state=0).tolist()
        != query(random_state=1).tolist()
    )
    assert query().tolist() != query().tolist()
    strategy = SkactivemlStrategy(
        RandomSampler(), random_state=np.random.RandomState(0)
    )
    first, again = (
        strategy.query(ALL, LABELS, LOGISTIC, batch_size=9).tolist() for _ in range(2)
    )
    assert first == again  # a RandomState does not advance, by their rules


def test_the_classifier_stays_as_it_is():
    clf = skorch_classifier()
    clf.neural_net_.module_.train()
    before, attributes = snapshot(clf.neural_net_), sorted(vars(clf))
    for key in keys():
        SkactivemlStrategy(make_sampler(key)).query(
            ALL, LABELS, clf, batch_size=3, return_utilities=True
        )
    assert_same(snapshot(clf.neural_net_), before)
    assert sorted(vars(clf)) == attributes


def test_their_wrapper_around_ours():
    wrapper = SubSamplingWrapper(
        SkactivemlStrategy(DynamicALSampler()), max_candidates=20, random_state=0
    )
    found, utilities = wrapper.query(
        ALL, LABELS, clf=SKORCH, batch_size=4, return_utilities=True
    )
    assert set(found) <= set(UNLABELED)
    assert (len(set(found)), utilities.shape) == (4, (4, 71))


def test_rounds_with_warm_weights():
    labels = LABELS.copy()
    clf = skorch_classifier(neural_net_param_dict={**SETTINGS, "warm_start": True})
    strategy, module = (
        SkactivemlStrategy(make_sampler("dynamical")),
        clf.neural_net_.module_,
    )
    for _ in range(3):
        found = strategy.query(ALL, labels, clf, batch_size=5)
        assert np.isnan(labels[found]).all()
        labels[found] = TRUTH[found]
        clf.fit(ALL, labels)
    assert clf.neural_net_.module_ is module
    assert np.isnan(labels).sum() == 41 - 15


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_a_sampler_that_learns_from_the_answers(per):
    labels, strategy = (
        LABELS.copy(),
        SkactivemlStrategy(ALBLSampler(per=per, random_state=0)),
    )
    for n_rounds in (1, 2, 3, 4):
        found = strategy.query(ALL, labels, SKORCH, batch_size=5)
        labels[found] = TRUTH[found]
        assert len(strategy.sampler_.history_) == n_rounds
    assert [turn["reward"] is None for turn in strategy.sampler_.history_] == [
        True,
        False,
        False,
        False,
    ]


class Records(BaseSampler):
    """Picks from the end of the pool and keeps what it got as the labeled set."""

    def _select(self, trained, X, n_instances, rng):
        self.seen_ = trained.X, trained.y
        return np.arange(len(X))[: -n_instances - 1 : -1], np.full(n_instances, np.nan)


def test_new_labels_come_last_and_in_the_order_of_the_picks():
    labels, given = LABELS.copy(), Records()
    strategy = SkactivemlStrategy(given)
    first = strategy.query(ALL, labels, LOGISTIC, batch_size=5)
    assert first.tolist() == UNLABELED[:-6:-1].tolist()
    labels[first] = TRUTH[first]
    strategy.query(ALL, labels, LOGISTIC, batch_size=5)
    order = [*LABELED, *first]
    np.testing.assert_array_equal(strategy.sampler_.seen_[0], ALL[order])
    np.testing.assert_array_equal(strategy.sampler_.seen_[1], TRUTH[order])
    assert not hasattr(given, "seen_")  # a clone was asked


def test_the_first_labels():
    nothing = np.full(71, np.nan)
    assert (
        len(
            SkactivemlStrategy(MarginSampler()).query(
                ALL, nothing, LOGISTIC, batch_size=3
            )
        )
        == 3
    )
    assert (
        len(
            SkactivemlStrategy(CoresetSampler()).query(
                ALL, nothing, SKORCH, batch_size=3
            )
        )
        == 3
    )
    with pytest.raises(ValueError, match="labeled set is empty"):
        SkactivemlStrategy(DynamicALSampler()).query(ALL, nothing, SKORCH)


def test_clone_and_parameters():
    strategy = SkactivemlStrategy(MarginSampler(), missing_label=-1, random_state=3)
    strategy.query(ALL, INTEGERS, LOGISTIC)
    assert clone(strategy).get_params(deep=False) | {"sampler": 0} == {
        "sampler": 0,
        "missing_label": -1,
        "random_state": 3,
    }
    assert not hasattr(clone(strategy), "sampler_")
    assert not hasattr(strategy.sampler, "n_fits_")
    strategy.set_params(sampler=EntropySampler()).query(ALL, INTEGERS, LOGISTIC)
    assert isinstance(strategy.sampler_, EntropySampler)


def unfitted():
    return SkorchClassifier(Mlp, classes=[0, 1, 2])


def spoiled():
    with pytest.warns(UserWarning, match="could not be fitted"):
        return SklearnClassifier(make_net(), classes=[0, 1, 2]).fit(ALL, LABELS)


def swapped():
    outputs = {"proba": (1, nn.Softmax(dim=-1)), "hidden": (0, None)}
    return skorch_classifier(Swapped, forward_outputs=outputs)


FAULTS = {
    "fit_clf": (
        lambda: SKORCH,
        {"fit_clf": True},
        InvalidParameterError,
        "fit_clf must be False.*throw away",
    ),
    "fit_clf no boolean": (
        lambda: SKORCH,
        {"fit_clf": "no"},
        TypeError,
        "fit_clf must be False; got 'no'",
    ),
    "unfitted": (unfitted, {}, NotFittedError, "SkorchClassifier is not fitted yet"),
    "unfitted inside": (
        lambda: SklearnClassifier(LogisticRegression()),
        {},
        NotFittedError,
        "not fitted yet",
    ),
    "bare and unfitted": (LogisticRegression, {}, NotFittedError, "not fitted yet"),
    "fit failed": (
        spoiled,
        {},
        NotFittedError,
        "could not be trained.*missing_label=-1",
    ),
    "no classifier": (lambda: "clf", {}, UnsupportedEstimatorError, "got str"),
    "hidden first": (swapped, {}, UnsupportedEstimatorError, "output 1 of its module"),
    "another missing label": (
        lambda: SklearnClassifier(LogisticRegression(), missing_label=-1).fit(
            ALL, INTEGERS
        ),
        {},
        ValueError,
        "must be equal",
    ),
    "new labels": (
        lambda: skorch_classifier(
            labels=np.where(LABELS == 2, np.nan, LABELS),
            classes=None,
            module=lambda: Mlp(4, 2),
        ),
        {},
        InvalidLabelsError,
        "labels .'2.0'. are none of the classes",
    ),
    "batch_size": (lambda: SKORCH, {"batch_size": 0}, ValueError, "batch_size"),
    "candidates": (lambda: SKORCH, {"candidates": [99]}, ValueError, "indices"),
}


@pytest.mark.parametrize("make, params, error, message", FAULTS.values(), ids=FAULTS)
def test_faults(make, params, error, message):
    with pytest.raises(error, match=message):
        SkactivemlStrategy(MarginSampler()).query(ALL, LABELS, make(), **params)


@pytest.mark.parametrize("sampler", [None, MarginSampler, "margin"])
def test_a_sampler_that_is_none(sampler):
    with pytest.raises(InvalidParameterError, match="sampler must be a sampler"):
        SkactivemlStrategy(sampler).query(ALL, LABELS, LOGISTIC)


def test_a_sampler_that_does_not_take_the_classifier():
    with pytest.raises(UnsupportedEstimatorError, match="NeuralNetClassifier"):
        SkactivemlStrategy(DynamicALSampler()).query(ALL, LABELS, LOGISTIC)
