"""Labels that are missing; classes and probabilities have one source; nets of 16 bits; a labeled
set of one class."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from common import POOL, POOL_y, X, make_net, make_sampler, snapshot, trained_net, y
from modAL.models import Committee
from needs import needs
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import Subset, TensorDataset

from skdal import ActiveLearner
from skdal.exceptions import InvalidLabelsError, InvalidParameterError
from skdal.samplers import MarginSampler, PoolSubset, margin_sampling

# --- missing labels -------------------------------------------------------------------------------

ABSENT = y == 2
TEXT = np.array(["cat", "dog", "cow"])[y].astype(object)


def polars_series(values):
    return needs("polars").Series(values)


def without(values, sign=None):
    """Return labels as a list, with a sign where there is none."""
    return [sign if absent else value for value, absent in zip(values.tolist(), ABSENT)]


UNLABELED = {
    "NaN": (np.where(ABSENT, np.nan, y), "nan"),
    "NaN in a list": (without(y, np.nan), "nan"),
    "NaN in a tensor": (torch.tensor(np.where(ABSENT, np.nan, y)), "nan"),
    "NaN in a column": (np.where(ABSENT, np.nan, y)[:, None], "nan"),
    "None": (np.array(without(y), dtype=object), "None"),
    "None in a list": (without(y), "None"),
    "None in a Series": (pd.Series(without(y), dtype=object), "None"),
    "<NA>": (pd.Series(without(y), dtype="Int64"), "nan"),
    "<NA> in objects": (pd.Series(without(y, pd.NA), dtype=object), "<NA>"),
    "null of polars": (polars_series(without(y)), "nan"),
}
NUMBERED = {
    "-1": (np.where(ABSENT, -1, y), "-1"),
    "-1 in a list": (without(y, -1), "-1"),
    "-1 in a tensor": (torch.tensor(np.where(ABSENT, -1, y)), "-1"),
    "-1 in a Series": (pd.Series(without(y, -1)), "-1"),
    "-1.0": (np.where(ABSENT, -1.0, y), "-1"),
    "-1 of polars": (polars_series(without(y, -1)), "-1"),
}
OF_CLASSIFIERS = {
    key: row
    for key, row in UNLABELED.items()
    if "tensor" not in key and "column" not in key
} | {
    "None among text": (np.where(ABSENT, None, TEXT), "None"),
    "None among text in a list": (without(TEXT), "None"),
    "text of pandas": (pd.Series(without(TEXT)), "nan"),
    "text of polars": (polars_series(without(TEXT)), "None"),
}


def remedy(error):
    """Return what an error names: which rows to keep, X and y of these."""
    keep, rest = str(error).partition("labeled = ")[2].split(", then pass ", 1)
    rows, labels = rest.partition(". Of a polars")[0].split(" and ")
    return keep, rows, labels


@pytest.mark.filterwarnings("ignore:A column-vector")
@pytest.mark.parametrize(
    "labels, sign", (UNLABELED | NUMBERED).values(), ids=UNLABELED | NUMBERED
)
@pytest.mark.parametrize(
    "rows", [X, torch.as_tensor(X), {"x": X}], ids=["array", "tensor", "dict"]
)
def test_labels_that_are_missing_are_named_and_left_out(labels, sign, rows):
    learner = ActiveLearner(make_net(), margin_sampling)
    with pytest.raises(
        InvalidLabelsError,
        match=f'^{ABSENT.sum()} of 30 labels came as {sign}.*"no label"',
    ) as caught:
        learner.fit(rows, labels)
    assert "LabelEncoder" not in str(caught.value)
    assert learner.X_training is None
    keep, X_labeled, y_labeled = remedy(caught.value)
    names = {"numpy": np, "pandas": pd, "y": labels}
    names["labeled"] = eval(keep, names)
    kept = {
        k: eval(X_labeled, names | {"X": v})
        for k, v in (rows if isinstance(rows, dict) else {"x": rows}).items()
    }
    learner.fit(kept if isinstance(rows, dict) else kept["x"], eval(y_labeled, names))
    assert np.asarray(learner.y_training).ravel().tolist() == y[~ABSENT].tolist()


@pytest.mark.parametrize("labels, sign", OF_CLASSIFIERS.values(), ids=OF_CLASSIFIERS)
def test_labels_of_classifiers_that_are_missing(labels, sign):
    learner = ActiveLearner(LogisticRegression(), margin_sampling)
    with pytest.raises(
        InvalidLabelsError,
        match=f"^{ABSENT.sum()} of 30 labels came as {sign}.*The classifier said",
    ):
        learner.fit(X, labels)
    with pytest.raises(InvalidLabelsError, match="no label") as caught:
        MarginSampler(LogisticRegression()).fit(X, labels)
    keep, rows, kept = remedy(caught.value)
    names = {"numpy": np, "pandas": pd, "X": X, "y": labels}
    names["labeled"] = eval(keep, names)
    learner.fit(eval(rows, names), eval(kept, names))
    assert len(learner.estimator.classes_) == 2


def test_rows_without_labels_are_left_out_of_polars_frames():
    frame, labels = needs("polars").DataFrame(dict(zip("abcd", X.T))), without(y)
    labeled = pd.notna(np.asarray(labels))
    sampler = MarginSampler(LogisticRegression()).fit(
        frame.filter(labeled), np.asarray(labels)[labeled].tolist()
    )
    assert sampler.X_labeled_.shape == (len(X) - ABSENT.sum(), 4)


def test_labels_in_the_items_of_a_dataset_that_are_missing():
    dataset = TensorDataset(torch.as_tensor(X), torch.tensor(np.where(ABSENT, -1, y)))
    first = np.flatnonzero(ABSENT)[0]
    with pytest.raises(InvalidLabelsError, match=f"sample {first}.*-1.*Subset"):
        MarginSampler(make_net()).fit(dataset)
    MarginSampler(make_net()).fit(
        Subset(dataset, np.flatnonzero(~ABSENT))
    )  # the remedy


def test_classifiers_may_have_minus_one_for_a_class():
    sampler = MarginSampler(LogisticRegression()).fit(X, np.where(y == 1, 1, -1))
    assert sampler.classes_.tolist() == [-1, 1]


def test_minus_one_beside_one_may_be_a_class():
    signs = np.where(y == 1, 1, -1)
    with pytest.raises(
        InvalidLabelsError,
        match=r"If -1 is a class.*\(numpy.ravel\(y\) > 0\).astype\(int\)",
    ):
        MarginSampler(make_net()).fit(X, signs)
    assert (
        MarginSampler(make_net()).fit(X, (np.ravel(signs) > 0).astype(int)).n_fits_ == 1
    )


def test_other_errors_of_a_classifier_are_its_own():
    with pytest.raises(ValueError, match="^Input X contains NaN"):
        MarginSampler(LogisticRegression()).fit(np.where(X > 1, np.nan, X), y)


# --- classes --------------------------------------------------------------------------------------

TWO = np.flatnonzero(y != 1)[:16]  # a labeled set without one of the three classes


def without_one(make=make_net):
    return MarginSampler(make()).fit(X[TWO], y[TWO])


ESTIMATORS = {
    "net": make_net,
    "pipeline": lambda: make_pipeline(StandardScaler(), make_net()),
    "frozen": lambda: FrozenEstimator(make_net().fit(X[TWO], y[TWO])),
    "frozen in a pipeline": lambda: make_pipeline(
        FrozenEstimator(make_net().fit(X[TWO], y[TWO]))
    ),
}


@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
def test_classes_are_as_many_as_columns(make):
    sampler = without_one(make)
    assert sampler.classes_.tolist() == [0, 1, 2]
    assert sampler.predict_proba(POOL).shape == (len(POOL), 3)


def test_classes_of_a_frozen_net_stay_as_its_owner_has_them():
    net = make_net().fit(X[TWO], y[TWO])
    before = snapshot(net)
    sampler = MarginSampler(FrozenEstimator(net)).fit(X[TWO], y[TWO])
    sampler.query(POOL)
    assert sampler.classes_.tolist() == [0, 1, 2]
    assert snapshot(net) == before
    assert net.classes_.tolist() == [0, 2]


@pytest.mark.parametrize(
    "rows",
    [(X[TWO], y[TWO]), (TensorDataset(*map(torch.as_tensor, (X[TWO], y[TWO]))),)],
)
def test_a_net_trained_in_place_tells_all_its_classes(rows):
    learner = ActiveLearner(make_net(), margin_sampling, *rows)
    assert learner.estimator.classes_.tolist() == [0, 1, 2]
    assert without_one().estimator_.classes_.tolist() == [0, 1, 2]


def test_a_learner_of_a_net_that_skorch_trained_tells_all_its_classes():
    net = make_net().fit(X[TWO], y[TWO])
    assert net.classes_.tolist() == [0, 2]
    for estimator in (net, FrozenEstimator(net), make_pipeline(StandardScaler(), net)):
        if estimator is not net:
            estimator = clone(estimator).fit(X[TWO], y[TWO])
        asked = ActiveLearner(estimator, margin_sampling)
        asked.query(POOL)
        assert asked.classes_.tolist() == [0, 1, 2]
        predicting = ActiveLearner(estimator, margin_sampling)
        assert len(predicting.predict_proba(POOL)[0]) == len(predicting.classes_)
    frozen = ActiveLearner(FrozenEstimator(net), margin_sampling, X[TWO], y[TWO])
    assert frozen.classes_.tolist() == [0, 1, 2]
    assert net.classes_.tolist() == [0, 2]


def test_a_net_may_name_its_classes():
    names = ["setosa", "versicolor", "virginica"]
    assert without_one(lambda: make_net(classes=names)).classes_.tolist() == names
    with pytest.raises(
        AttributeError, match="no attribute 'classes_'"
    ):  # as skorch documents it
        _ = without_one(lambda: make_net(classes=[])).classes_
    with pytest.raises(
        InvalidParameterError, match="are 2, and its module has 3 outputs"
    ):
        _ = without_one(lambda: make_net(classes=[0, 2])).classes_


SCORERS = {
    "neg_log_loss": lambda proba, labels: -log_loss(labels, proba, labels=[0, 1, 2]),
    "roc_auc_ovr": lambda proba, labels: roc_auc_score(
        labels, proba, multi_class="ovr"
    ),
}


@pytest.mark.parametrize("scoring", SCORERS)
def test_scorers_of_a_fold_without_one_class(scoring):
    rows, labels = np.concatenate([X[TWO], POOL]), np.concatenate([y[TWO], POOL_y])
    fold = np.arange(len(TWO)), np.arange(len(TWO), len(rows))
    sampler = make_sampler("margin", make_net())
    (found,) = cross_val_score(
        sampler, rows, labels, cv=[fold], scoring=scoring, error_score="raise"
    )
    proba = make_sampler("margin", make_net()).fit(X[TWO], y[TWO]).predict_proba(POOL)
    assert found == pytest.approx(SCORERS[scoring](proba, POOL_y))


def test_a_scorer_that_names_labels():
    scorer = make_scorer(
        log_loss,
        response_method="predict_proba",
        greater_is_better=False,
        labels=[0, 1, 2],
    )
    sampler = without_one()
    assert scorer(sampler, X[TWO], y[TWO]) == pytest.approx(
        -log_loss(y[TWO], sampler.predict_proba(X[TWO]), labels=[0, 1, 2])
    )


def test_calibration_of_what_a_sampler_trained():
    calibrated = CalibratedClassifierCV(FrozenEstimator(without_one())).fit(
        POOL, POOL_y
    )
    assert calibrated.predict_proba(POOL).shape == (len(POOL), 3)


@pytest.mark.filterwarnings("ignore:.*trained already")
def test_a_committee_of_modal_has_the_classes_of_its_nets():
    learners = [
        ActiveLearner(make_net(), margin_sampling, *rows)
        for rows in ((X, y), (X[TWO], y[TWO]))
    ]
    committee = Committee(learners)
    assert committee.classes_.tolist() == [0, 1, 2]
    proba = [learner.predict_proba(POOL) for learner in learners]
    np.testing.assert_allclose(committee.vote_proba(POOL), np.stack(proba, axis=1))
    np.testing.assert_allclose(committee.predict_proba(POOL), np.mean(proba, axis=0))
    assert (
        committee.predict(POOL).tolist()
        == np.mean(proba, axis=0).argmax(axis=1).tolist()
    )


# --- nets of 16 bits ------------------------------------------------------------------------------


class Narrow(nn.Module):
    """A net of 16 bits, but for its input."""

    def __init__(self, dtype=torch.bfloat16):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).to(
            dtype
        )

    def forward(self, x):
        return self.layers(x.to(self.layers[0].weight.dtype))


def narrow_net(dtype, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_net(Narrow(dtype), optimizer=torch.optim.SGD, **settings).fit(X, y)


def wide_copy(net):
    """Return a float64 net with the weights of another."""
    wide = make_net(Narrow(torch.float64)).initialize()
    wide.module_.load_state_dict(net.module_.state_dict())
    return wide


WITH_PROBABILITIES = [
    "margin",
    "confidence",
    "entropy",
    "egl",
    "albl",
    "badge",
    "entropy_gradient",
    "dynamical",
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("key", WITH_PROBABILITIES)
def test_samplers_take_nets_of_16_bits(key, dtype):
    net = narrow_net(dtype)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(X, y)
    assert len(sampler.query(POOL, 5)) == 5
    if hasattr(sampler, "score_samples"):
        expected = (
            make_sampler(key, FrozenEstimator(wide_copy(net)))
            .fit(X, y)
            .score_samples(POOL)
        )
        assert np.corrcoef(sampler.score_samples(POOL), expected)[0, 1] > 0.99


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: make_pipeline(StandardScaler(), net)]
)
def test_probabilities_of_16_bits_add_up_to_one(wrap, dtype):
    net = make_net(Narrow(dtype), optimizer=torch.optim.SGD)
    sampler, learner = (
        MarginSampler(wrap(net)).fit(X, y),
        ActiveLearner(wrap(net), margin_sampling, X, y),
    )
    for found in (sampler, learner):
        proba = found.predict_proba(POOL)
        assert proba.dtype == np.float32
        np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-6)
        assert found.predict(POOL).tolist() == proba.argmax(1).tolist()
        assert found.score(POOL, POOL_y) == (proba.argmax(1) == POOL_y).mean()


class Flipped(NeuralNetClassifier):
    """A net with a predict_proba of its own, which numpy can hold."""

    def predict_proba(self, X):
        logits = torch.cat([outputs.float() for outputs in self.forward_iter(X)])
        return logits.softmax(1).numpy()[:, ::-1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_predict_proba_of_ones_own_is_the_one_that_counts(dtype):
    net = narrow_net(dtype, cls=Flipped)
    sampler = MarginSampler(FrozenEstimator(net)).fit(X, y)
    proba = np.sort(net.predict_proba(POOL).astype(np.float64))
    np.testing.assert_array_equal(sampler.predict_proba(POOL), net.predict_proba(POOL))
    np.testing.assert_array_equal(
        sampler.score_samples(POOL), proba[:, -2] - proba[:, -1]
    )


@pytest.mark.parametrize(
    "settings", [{}, {"predict_nonlinearity": lambda out: (2 * out).softmax(1)}]
)
def test_probabilities_of_wide_nets_are_those_of_skorch_bit_for_bit(settings):
    net = trained_net(**settings)
    sampler = MarginSampler(FrozenEstimator(net)).fit(X, y)
    np.testing.assert_array_equal(sampler.predict_proba(POOL), net.predict_proba(POOL))
    assert sampler.predict_proba(POOL).dtype == np.float64
    assert sampler.score(POOL, POOL_y) == net.score(POOL, POOL_y)


# --- one class ------------------------------------------------------------------------------------

SURE = [
    DecisionTreeClassifier(),
    RandomForestClassifier(5),
    DummyClassifier(),
    GaussianNB(),
]
ALIKE = np.full(30, 2)


@pytest.mark.parametrize("classifier", SURE)
@pytest.mark.parametrize("key", ["margin", "confidence", "entropy"])
def test_one_class_makes_all_scores_tie(key, classifier):
    sampler = make_sampler(key, classifier).fit(X, ALIKE)
    for ask in (
        lambda: sampler.query(POOL, 3),
        lambda: sampler(sampler.estimator_, POOL, 3),
    ):
        with pytest.warns(
            UserWarning,
            match="only the class 2, so all scores.*first rows.*RandomSampler",
        ) as caught:
            assert ask().tolist() == [0, 1, 2]
        assert [w.filename for w in caught] == [__file__]
    for ask in (sampler.score_samples, sampler.best):
        with pytest.warns(UserWarning, match="only the class 2"):
            ask(POOL)


def test_one_class_in_a_part_of_the_pool_and_for_an_arm():
    for sampler in (
        PoolSubset(sampler=MarginSampler()),
        make_sampler("albl", samplers=[MarginSampler()]),
    ):
        sampler.set_params(estimator=DecisionTreeClassifier()).fit(X, ALIKE)
        with pytest.warns(UserWarning, match="all scores of the pool tie"):
            sampler.query(POOL, 3)


QUIET = {
    "random": lambda: make_sampler("random", DecisionTreeClassifier()).fit(X, ALIKE),
    "two classes": lambda: make_sampler("margin", DecisionTreeClassifier()).fit(
        X, y == 1
    ),
    "a net": lambda: make_sampler("margin", make_net()).fit(X, ALIKE),
}


@pytest.mark.parametrize("make", QUIET.values(), ids=QUIET)
def test_no_warning_where_scores_do_not_tie(make):
    sampler = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.query(POOL, 3)


def test_the_remedy_for_one_class():
    learner = ActiveLearner(DecisionTreeClassifier(), make_sampler("random"), X, ALIKE)
    indices, rows = learner.query(POOL, n_instances=10)
    learner.teach(rows, POOL_y[indices])
    learner.query_strategy = margin_sampling
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.query(POOL)


def test_masked_labels_are_missing():
    labels = np.ma.array(y, mask=np.arange(len(y)) == 3)
    with pytest.raises(InvalidLabelsError, match="1 of 30 labels came as") as caught:
        make_sampler("margin", make_net()).fit(X, labels)
    keep, X_labeled, y_labeled = remedy(caught.value)
    names = {"numpy": np, "X": X, "y": labels}
    names["labeled"] = eval(keep, names)
    make_sampler("margin", make_net()).fit(
        eval(X_labeled, names), eval(y_labeled, names)
    )
