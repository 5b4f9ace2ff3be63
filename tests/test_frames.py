"""Frames of every library: taken, appended and put in order; columns that differ; nets that take
columns by name."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from common import POOL, POOL_y, X, make_net, make_sampler, trained_net, weights, y
from modAL.models import Committee
from modAL.uncertainty import margin_sampling as modal_margin_sampling
from needs import needs
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skdal import ActiveLearner
from skdal.dynamics import (
    approximation_ratio,
    diagnose,
    empirical_ntk,
    training_dynamics_change,
)
from skdal.exceptions import InvalidDataError, InvalidLabelsError
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.samplers import MarginSampler, dynamical_sampling, margin_sampling
from skdal.utils import concat_rows, rows_digest, take_rows

COLUMNS = ["a", "b", "c", "d"]
CITIES = np.array(["Ulm", "Bonn", "Jena"])


def pandas(columns):
    return pd.DataFrame(columns)


def polars(columns):
    return needs("polars").DataFrame(columns)


def pyarrow(columns):
    return needs("pyarrow").table(columns)


LIBRARIES = [pandas, polars, pyarrow]
libraries = pytest.mark.parametrize("library", LIBRARIES)


def mixed(rows):
    """Return columns of numbers and of text."""
    return {
        "a": rows[:, 0],
        "b": rows[:, 1],
        "city": CITIES[(rows[:, 2] > 0).astype(int)],
    }


def named(rows):
    return dict(zip(COLUMNS, rows.T))


def frame(rows, columns=COLUMNS):
    return pd.DataFrame(rows, columns=columns)


class ByColumn(nn.Module):
    """Takes each column by its name."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3).double()

    def forward(self, a, b, c, d):
        return self.head(
            torch.stack([part.reshape(-1) for part in (a, b, c, d)], dim=1)
        )


def by_name():
    columns = (
        (StandardScaler(), ["a", "b"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
    )
    return make_pipeline(make_column_transformer(*columns), LogisticRegression())


# --- appended -------------------------------------------------------------------------------------


@libraries
def test_a_round_with_frames_of_any_library(library):
    learner = ActiveLearner(by_name(), margin_sampling, library(mixed(X)), y)
    expected = ActiveLearner(by_name(), margin_sampling, pandas(mixed(X)), y)
    for n in (5, 3):
        indices, rows = learner.query(library(mixed(POOL)), n_instances=n)
        same, expected_rows = expected.query(pandas(mixed(POOL)), n_instances=n)
        assert indices.tolist() == same.tolist()
        assert type(rows) is type(learner.X_training)
        learner.teach(rows, y[indices % 30])
        expected.teach(expected_rows, y[indices % 30])
    assert isinstance(learner.X_training, type(library(mixed(X))))
    assert (
        np.asarray(learner.X_training).tolist()
        == expected.X_training.to_numpy().tolist()
    )
    assert learner.X_training.shape == (38, 3)


@libraries
@pytest.mark.parametrize("sampler", [{"samplers": [MarginSampler()]}], ids=["albl"])
def test_a_bandit_knows_its_labeled_set_again(library, sampler):
    albl = make_sampler("albl", by_name(), **sampler).fit(library(mixed(X)), y)
    albl.query(library(mixed(POOL)), 2)
    grown = concat_rows(library(mixed(X)), library(mixed(POOL[:2])))
    albl.fit(grown, [*y, 0, 1]).query(library(mixed(POOL)), 2)
    albl.fit(library(mixed(np.concatenate([X[::-1], POOL[:4]]))), [*y, 0, 1, 2, 0])
    with pytest.raises(InvalidDataError, match="not those of the last query"):
        albl.query(library(mixed(POOL)), 2)


@libraries
def test_integers_may_become_floats_and_the_digest_knows_them_again(library):
    narrow = library({"a": np.arange(5)})
    wide = concat_rows(narrow, library({"a": np.array([0.5])}))
    assert np.asarray(wide["a"]).tolist() == [0, 1, 2, 3, 4, 0.5]
    digest = rows_digest(narrow)
    assert digest is not None
    assert rows_digest(wide, 5, like=digest) == digest


def series(kind, labels):
    if kind == "pandas":
        return pd.Series(labels)
    if kind == "categorical":
        return pd.Categorical(labels)
    if kind == "polars":
        return needs("polars").Series(labels)
    if kind == "pyarrow":
        return needs("pyarrow").chunked_array([labels])
    return {"array": np.array, "list": list, "tuple": tuple}[kind](labels)


KINDS = ["array", "list", "tuple", "pandas", "categorical", "polars", "pyarrow"]


@pytest.mark.parametrize(
    "labels", [y.tolist(), CITIES[y].tolist()], ids=["integers", "text"]
)
@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_labels_of_any_kind_are_appended_to_labels_of_any_other(first, new, labels):
    learner = ActiveLearner(
        LogisticRegression(), margin_sampling, X, series(first, labels)
    )
    learner.teach(POOL[:4], series(new, labels[:4]))
    assert np.asarray(learner.y_training).tolist() == labels + labels[:4]
    if first in ("pandas", "polars", "pyarrow", "list"):
        assert type(learner.y_training) is type(series(first, labels))


DO_NOT_FIT = {
    "text to numbers": (np.arange(3), np.array(["a"]), "type"),
    "numbers to text": (np.array(["a"]), [1], "type"),
    "text to a list of numbers": ([0, 1], ["a"], "such as 'a', and were such as 0"),
    "frame to array": (
        X,
        pandas(named(X)),
        r"pandas DataFrame to numpy ndarray.*X.to_numpy\(\)",
    ),
    "frame to tensor": (
        torch.as_tensor(X),
        pandas(named(X)),
        "pandas DataFrame to torch Tensor",
    ),
    "tensor to frame": (
        pandas(named(X)),
        torch.as_tensor(X),
        "pandas DataFrame with the columns.*torch Tensor",
    ),
    "too narrow": (pandas(named(X)), X[:, :3], "pandas DataFrame with the columns"),
    "other columns": (pandas(named(X)), pandas(mixed(X)), "columns are"),
    "frame to series": (
        pd.Series(y),
        pandas(named(X)),
        "cannot append pandas DataFrame to a pandas Series",
    ),
}


@pytest.mark.parametrize("first, second, words", DO_NOT_FIT.values(), ids=DO_NOT_FIT)
def test_what_does_not_fit_is_not_appended(first, second, words):
    with pytest.raises(InvalidDataError, match=words):
        concat_rows(first, second)


def test_polars_does_not_make_text_of_numbers():
    with pytest.raises(
        InvalidDataError, match="'a' is of type String, and was of type Int64"
    ):
        concat_rows(polars({"a": [1]}), polars({"a": ["x"]}))
    with pytest.raises(InvalidDataError, match="type String, and was of type Int64"):
        concat_rows(needs("polars").Series([1]), needs("polars").Series(["x"]))


def test_types_that_do_not_go_together_are_refused_before_labels_are_paid_for():
    sampler = MarginSampler(LogisticRegression()).fit(polars(named(X)), y)
    with pytest.raises(
        InvalidDataError,
        match="types of the pool.*'b' is of type String, and was of type Float64",
    ):
        sampler.query(
            polars(named(POOL) | {"b": CITIES[np.zeros(len(POOL), dtype=int)]})
        )


def test_polars_keeps_an_enum():
    pl = needs("polars")
    size = pl.DataFrame({"size": ["S", "L"]}, schema={"size": pl.Enum(["S", "L"])})
    assert concat_rows(size, pl.DataFrame({"size": ["L"]})).schema == size.schema
    other = pl.DataFrame({"size": ["M"]}, schema={"size": pl.Enum(["M"])})
    with pytest.raises(InvalidDataError, match="one Enum that has all categories"):
        concat_rows(size, other)
    full = pl.Enum(["S", "M", "L"])  # the remedy
    assert concat_rows(size.cast(full), other.cast(full))["size"].to_list() == [
        "S",
        "L",
        "M",
    ]


class Strange:
    """A frame of a library that nobody has heard of."""

    iloc, columns, shape = None, COLUMNS, (30, 4)

    def __init__(self, rows=X):
        self.rows = rows

    def __len__(self):
        return 30

    def __getitem__(self, i):
        return self.rows[i]

    def __array__(self, dtype=None, copy=None):
        return self.rows


UNKNOWN = {
    "taken": lambda: take_rows(Strange(), [0]),
    "appended to": lambda: concat_rows(Strange(), Strange()),
    "appended": lambda: concat_rows(X, Strange()),
    "appended to a frame": lambda: concat_rows(frame(X), Strange()),
    "appended to labels": lambda: concat_rows(pd.Series(y), Strange()),
    "asked for": lambda: ActiveLearner(
        LogisticRegression(), margin_sampling, X, y
    ).query(Strange()),
}


@pytest.mark.parametrize("work", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_containers_are_refused_by_name(work):
    with pytest.raises(InvalidDataError, match="test_frames Strange"):
        work()


def test_datasets_of_hugging_face(recwarn):
    datasets = needs("datasets")

    def rows(X):
        return datasets.Dataset.from_dict({"x": X.tolist()}).with_format(
            "torch", dtype=torch.float64
        )

    learner = ActiveLearner(make_net(), margin_sampling, rows(X), y, warm_start=False)
    expected = ActiveLearner(make_net(), margin_sampling, {"x": X}, y, warm_start=False)
    indices, asked = learner.query(rows(POOL), n_instances=4)
    learner.teach(asked, y[:4])
    expected.teach({"x": POOL[indices]}, y[:4])
    assert isinstance(learner.X_training, datasets.Dataset)
    assert learner.X_training.format == rows(X).format
    assert learner.X_training["x"][:].tolist() == expected.X_training["x"].tolist()
    assert not [w for w in recwarn if "format" in str(w.message)]
    learner.teach(asked.with_format("numpy"), y[:4])
    assert learner.X_training.format == rows(X).format


# --- categories -----------------------------------------------------------------------------------


def sizes(values, categories=None, ordered=False):
    return pd.DataFrame(
        {
            "x": np.arange(len(values)),
            "size": pd.Categorical(values, categories, ordered),
        }
    )


def test_categories_are_those_of_both():
    first, second = sizes(list("ab") * 20), sizes(list("bc") * 20)
    boosted = HistGradientBoostingClassifier(
        max_iter=2, categorical_features="from_dtype"
    )
    learner = ActiveLearner(boosted, margin_sampling, first, np.arange(40) % 2)
    _, rows = learner.query(second, n_instances=3)
    learner.teach(rows, np.zeros(3, dtype=int))
    assert learner.X_training["size"].dtype == pd.CategoricalDtype(["a", "b", "c"])
    assert learner.X_training["size"].tolist() == [*"ab" * 20, *rows["size"]]
    assert first["size"].dtype == pd.CategoricalDtype(["a", "b"])
    assert second["size"].dtype == pd.CategoricalDtype(["b", "c"])


def test_plain_values_become_categories():
    together = concat_rows(sizes(["a", "b"]), pd.DataFrame({"x": [1], "size": ["c"]}))
    assert together["size"].dtype == pd.CategoricalDtype(["a", "b", "c"])
    labels = concat_rows(pd.Series(["a"], dtype="category"), np.array(["b"]))
    assert labels.dtype == pd.CategoricalDtype(["a", "b"])


@pytest.mark.parametrize("known, new", [("SML", "SL"), ("SL", "SML"), ("SL", "SL")])
def test_an_order_may_be_known_in_part(known, new):
    together = concat_rows(
        sizes(list(known), list(known), True), sizes(list(new), list(new), True)
    )
    assert together["size"].dtype == pd.CategoricalDtype(
        list(max(known, new, key=len)), ordered=True
    )
    assert together["size"].tolist() == [*known, *new]


ORDERS = [
    sizes(["S"], ["L", "S"], True),
    sizes(["S"], ["S", "XL"], True),
    sizes(["S"], ["S", "L"]),
    sizes(["M"]),
]


@pytest.mark.parametrize("new", [*ORDERS, pd.DataFrame({"x": [1], "size": ["M"]})])
def test_orders_in_conflict_are_refused_before_labels_are_paid_for(new):
    first = sizes(["S", "L"] * 10, ["S", "L"], True)
    learner = ActiveLearner(
        HistGradientBoostingClassifier(max_iter=1),
        margin_sampling,
        first,
        np.arange(20) % 2,
    )
    with pytest.raises(
        InvalidDataError,
        match="categories of column 'size' so far.*pandas.CategoricalDtype",
    ):
        learner.teach(new, [0])
    assert learner.X_training is first
    if isinstance(new["size"].dtype, pd.CategoricalDtype):
        with pytest.raises(InvalidDataError, match="categories of column 'size'"):
            learner.query(new)
    full = pd.CategoricalDtype(["S", "M", "L", "XL"], ordered=True)  # the remedy
    first, new = (rows.assign(size=rows["size"].astype(full)) for rows in (first, new))
    learner.fit(first, np.arange(20) % 2)
    learner.query(new)
    learner.teach(new, [0])
    assert learner.X_training["size"].dtype == full


# --- columns of labeled set and pool --------------------------------------------------------------


REORDERED, MISSING, NEW, RENAMED = (
    lambda rows: frame(rows)[["d", "b", "a", "c"]],
    lambda rows: frame(rows)[["a", "c", "d"]],
    lambda rows: frame(rows).assign(e=1.0),
    lambda rows: frame(rows).rename(columns={"b": "B"}),
)


def paths(estimator):
    """Return what answers to a pool, by name, for an estimator that is trained on frames."""
    sampler = MarginSampler(estimator).fit(frame(X), y)
    labeled = {"X_labeled": frame(X), "y_labeled": y}
    return {
        "query": lambda pool: sampler.query(pool, 5),
        "score_samples": sampler.score_samples,
        "best": lambda pool: sampler.best(pool, 5).columns["score"],
        "call": lambda pool: margin_sampling(sampler.estimator_, pool, 5, **labeled),
        "learner": lambda pool: ActiveLearner(
            sampler.estimator_, margin_sampling, frame(X), y
        ).query(pool, 5)[0],
    }


def paths_of_a_net(net):
    net = FrozenEstimator(net)
    sampler = make_sampler("dynamical", net).fit(frame(X), y)
    return paths(net) | {
        "dynamical": lambda pool: sampler.query(pool, 5),
        "dynamical scores": sampler.score_samples,
        "dynamical call": lambda pool: dynamical_sampling(
            net, pool, 5, X_labeled=frame(X), y_labeled=y, batch_size=8
        ),
        "diagnose": lambda pool: diagnose(sampler, pool, [1, 2, 3])["sq_norm"],
        "change": lambda pool: training_dynamics_change(net, frame(X), y, pool),
        "change of labels": lambda pool: training_dynamics_change(
            net, frame(X), y, pool, np.zeros(len(POOL), int)
        ),
        "ratio": lambda pool: approximation_ratio(net, frame(X), y, pool),
        "kernel": lambda pool: empirical_ntk(net, frame(X), pool, reduction="sum"),
    }


def teach(estimator, new):
    learner = ActiveLearner(estimator, margin_sampling, frame(X), y)
    learner.teach(new, POOL_y)
    return learner


def net_on_arrays():
    return make_pipeline(
        FunctionTransformer(np.asarray).set_output(transform="default"), trained_net()
    )


def net_by_column():
    return make_net(ByColumn).fit(frame(X), y)


PATHS = {
    "net": lambda: paths_of_a_net(net_on_arrays()),
    "net by column": lambda: paths_of_a_net(net_by_column()),
    "classifier": lambda: paths(LogisticRegression()),
}


@pytest.mark.parametrize("estimator", PATHS)
def test_columns_in_another_order_are_put_in_order_on_every_path(estimator):
    for name, path in PATHS[estimator]().items():
        pool = REORDERED(POOL)
        np.testing.assert_array_equal(path(pool), path(frame(POOL)), err_msg=name)
        assert list(pool.columns) == ["d", "b", "a", "c"]


@pytest.mark.parametrize("estimator", ["net by column", "classifier"])
@pytest.mark.parametrize(
    "pool, words",
    [(MISSING, "'b' missing"), (NEW, "'e' new"), (RENAMED, "'b' missing and 'B' new")],
    ids=["missing", "new", "renamed"],
)
def test_columns_that_are_missing_or_new_are_refused_on_every_path(
    estimator, pool, words
):
    for path in PATHS[estimator]().values():
        with pytest.raises(InvalidDataError, match=f"{words}.*ColumnTransformer"):
            path(pool(POOL))


def test_teach_puts_columns_in_order_and_refuses_others():
    learner = teach(LogisticRegression(), REORDERED(POOL))
    assert learner.X_training.equals(pd.concat([frame(X), frame(POOL)]))
    for new in (MISSING, NEW, RENAMED):
        with pytest.raises(
            InvalidDataError,
            match="columns of the new samples are not those of the labeled set",
        ):
            learner.teach(new(POOL), POOL_y)
    assert len(learner.X_training) == len(X) + len(POOL)


def sampler_fitted_again():
    sampler = make_sampler("margin", net_to_train())
    return lambda rows: sampler.fit(rows, y).estimator_


def learner_fitted_again():
    learner = ActiveLearner(net_to_train(), margin_sampling)
    return lambda rows: learner.fit(rows, y).estimator


def net_to_train():
    return make_pipeline(
        FunctionTransformer(np.asarray).set_output(transform="default"), make_net()
    )


@pytest.mark.parametrize("make", [sampler_fitted_again, learner_fitted_again])
def test_a_net_trains_on_with_columns_in_the_order_of_its_last_fit(make):
    found = []
    for rows in (frame(X), REORDERED(X)):
        torch.manual_seed(0)
        fit = make()
        fit(frame(X))
        torch.manual_seed(0)
        found.append(weights(fit(rows)[-1]))
        with pytest.raises(InvalidDataError, match="'b' missing"):
            fit(MISSING(X))
    assert found[0] == found[1]


def test_new_samples_alone_are_put_in_order():
    learners = [
        ActiveLearner(GaussianNB(), margin_sampling, frame(X), y) for _ in range(2)
    ]
    for learner, new in zip(learners, (frame(POOL), REORDERED(POOL))):
        learner.teach(new, POOL_y, only_new=True)
    assert (
        learners[0].estimator.theta_.tolist() == learners[1].estimator.theta_.tolist()
    )


def test_a_committee_of_modal_puts_columns_in_order():
    for only_new in (False, True):
        learner = ActiveLearner(GaussianNB(), margin_sampling, frame(X), y)
        Committee([learner]).teach(REORDERED(POOL), POOL_y, only_new=only_new)
        assert learner.X_training.equals(pd.concat([frame(X), frame(POOL)]))
        expected = (
            (frame(POOL), POOL_y)
            if only_new
            else (learner.X_training, learner.y_training)
        )
        assert (
            learner.estimator.theta_.tolist()
            == GaussianNB().fit(*expected).theta_.tolist()
        )


@pytest.mark.parametrize(
    "strategy", [modal_margin_sampling, lambda learner, pool: np.arange(2)]
)
def test_strategies_of_others_get_columns_in_order(strategy):
    learner = ActiveLearner(LogisticRegression(), strategy, frame(X), y)
    indices, rows = learner.query(REORDERED(POOL))
    assert (
        np.ravel(indices).tolist() == np.ravel(learner.query(frame(POOL))[0]).tolist()
    )
    assert list(rows.columns) == ["d", "b", "a", "c"]
    with pytest.raises(InvalidDataError, match="'b' missing"):
        learner.query(MISSING(POOL))


class ByPosition(sklearn.base.TransformerMixin, sklearn.base.BaseEstimator):
    """A step of one's own, which does not look at names."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X)


def by_position():
    return make_pipeline(ByPosition(), LogisticRegression())


class Choosing(sklearn.base.TransformerMixin, sklearn.base.BaseEstimator):
    """A step of one's own, which keeps no names."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[["a", "b"]].to_numpy()


STEPS = {
    "ColumnTransformer": lambda: make_column_transformer(
        (StandardScaler(), ["a", "b"])
    ),
    "nested": lambda: make_pipeline(
        "passthrough", make_column_transformer((StandardScaler(), ["a", "b"]))
    ),
    "FunctionTransformer": lambda: FunctionTransformer(lambda rows: rows[["a", "b"]]),
    "own step": Choosing,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_first_step_may_choose_by_name(step):
    pipeline = make_pipeline(STEPS[step](), LogisticRegression())
    sampler = MarginSampler(pipeline).fit(frame(X), y)
    expected = sampler.query(frame(POOL), 5).tolist()
    for pool in (REORDERED(POOL), NEW(POOL), REORDERED(POOL).assign(e=1.0)):
        assert sampler.query(pool, 5).tolist() == expected
    learner = teach(pipeline, NEW(POOL)[["e", *COLUMNS[::-1]]])
    assert learner.X_training.equals(pd.concat([frame(X), frame(POOL)]))
    with pytest.raises(
        InvalidDataError, match="'c', 'd' missing"
    ):  # such samples could not be appended
        learner.query(frame(POOL)[["a", "b"]])


@libraries
def test_columns_of_any_library(library):
    sampler = MarginSampler(by_name()).fit(library(mixed(X)), y)
    reordered = library(dict(reversed(mixed(POOL).items())))
    assert (
        sampler.query(reordered, 5).tolist()
        == sampler.query(library(mixed(POOL)), 5).tolist()
    )
    strict = MarginSampler(LogisticRegression()).fit(library(named(X)), y)
    with pytest.raises(InvalidDataError, match="'d' missing and 'e' new"):
        strict.query(library(dict(zip("abce", POOL.T))))


def test_an_array_beside_a_frame_goes_by_position():
    sampler = MarginSampler(LogisticRegression()).fit(frame(X), y)
    assert sampler.query(POOL, 5).tolist() == sampler.query(frame(POOL), 5).tolist()
    assert teach(LogisticRegression(), POOL).X_training.columns.tolist() == COLUMNS
    with pytest.raises(
        InvalidDataError,
        match="the pool must be a pandas DataFrame with the columns.*numpy ndarray of shape",
    ):
        sampler.query(POOL[:, :3])


@pytest.mark.parametrize("rows", [X, torch.as_tensor(X)])
def test_a_frame_beside_an_array_is_refused(rows):
    sampler = MarginSampler(make_net()).fit(rows, y)
    with pytest.raises(InvalidDataError, match="the same order.*X.to_numpy"):
        sampler.query(frame(POOL))
    assert len(sampler.query(frame(POOL).to_numpy())) == 1  # the remedy


def test_frames_of_two_libraries_are_refused():
    sampler = MarginSampler(LogisticRegression()).fit(frame(X), y)
    with pytest.raises(
        InvalidDataError,
        match="one library; got a polars DataFrame and a pandas DataFrame.*to_pandas",
    ):
        sampler.query(polars(named(POOL)))
    assert len(sampler.query(polars(named(POOL)).to_pandas(), 3)) == 3  # the remedy


def test_numbered_columns_are_no_names():
    learner = ActiveLearner(LogisticRegression(), margin_sampling, X, y)
    indices, rows = learner.query(pd.DataFrame(POOL), n_instances=5)
    assert indices.tolist() == learner.query(POOL, n_instances=5)[0].tolist()
    learner.teach(rows, y[:5])
    assert learner.X_training.tolist() == [*X.tolist(), *POOL[indices].tolist()]


def test_columns_that_are_there_twice_are_refused():
    twice = frame(X, ["a", "b", "b", "d"])
    sampler = MarginSampler(FrozenEstimator(net_on_arrays())).fit(twice, y)
    with pytest.raises(InvalidDataError, match="'b' there twice"):
        sampler.query(frame(POOL, ["d", "b", "b", "a"]))


# --- nets that take columns by name ---------------------------------------------------------------


def linear():
    return make_net(nn.Linear, module__in_features=4, module__out_features=3)


def float32(rows):
    return frame(rows.astype("float32"))


REFUSED = {
    "pandas": (float32, r"pandas DataFrame with the columns 'a'.*which takes input"),
    "dict": (
        lambda rows: {"rows": rows},
        "dict with the keys 'rows'.*which takes input.*one for each argument",
    ),
    "polars": (
        lambda rows: polars(named(rows)),
        "polars DataFrame, which skorch cannot give",
    ),
    "pyarrow": (
        lambda rows: pyarrow(named(rows)),
        "pyarrow Table, which skorch cannot give",
    ),
}


@pytest.mark.parametrize("form, words", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("key", ["dynamical", "margin", "badge"])
def test_names_that_a_bare_net_does_not_take(key, form, words):
    learner, trained = (
        ActiveLearner(linear()),
        FrozenEstimator(linear().fit(X.astype("float32"), y)),
    )
    for work in (
        lambda: make_sampler(key, linear()).fit(form(X), y),
        lambda: learner.fit(form(X), y),
        lambda: make_sampler(key)(
            trained, form(POOL), 2, X_labeled=form(X), y_labeled=y
        ),
    ):
        with pytest.raises(InvalidDataError, match=words):
            work()
    assert learner.X_training is None


@pytest.mark.parametrize("library", [pandas, polars])
def test_a_net_takes_the_array_that_the_message_names(library):
    X_labeled, pool = (
        library(named(rows)).to_numpy().astype("float32") for rows in (X, POOL)
    )
    assert (
        len(make_sampler("dynamical", linear()).fit(X_labeled, y).query(pool, 2)) == 2
    )


@pytest.mark.parametrize("output", ["pandas", "polars"])
@pytest.mark.parametrize("key", ["dynamical", "margin"])
def test_steps_that_make_frames(key, output):
    needs(output)
    scaler = StandardScaler().set_output(transform=output)
    with pytest.raises(InvalidDataError, match="FunctionTransformer") as caught:
        make_sampler(key, make_pipeline(scaler, linear())).fit(float32(X), y)
    remedy = str(caught.value).partition("put ")[2].partition(" of sklearn")[0]
    step = eval(remedy, {"FunctionTransformer": FunctionTransformer, "numpy": np})
    with sklearn.config_context(transform_output=output):
        sampler = make_sampler(key, make_pipeline(scaler, step, linear())).fit(
            float32(X), y
        )
        expected = make_sampler(
            key,
            make_pipeline(StandardScaler().set_output(transform="default"), linear()),
        )
        expected.fit(float32(X), y)
        np.testing.assert_array_equal(
            sampler.score_samples(float32(POOL)), expected.score_samples(float32(POOL))
        )


@pytest.mark.parametrize("key", ["dynamical", "margin"])
def test_a_net_that_takes_columns_by_name_gets_them_in_any_order(key):
    sampler = make_sampler(key, make_net(ByColumn)).fit(frame(X), y)
    np.testing.assert_array_equal(
        sampler.score_samples(REORDERED(POOL)), sampler.score_samples(frame(POOL))
    )
    with pytest.raises(InvalidDataError, match="'b' missing"):
        sampler.score_samples(MISSING(POOL))


class Columnwise(NeuralNetClassifier):
    """A net of one's own, which reads frames itself."""

    def infer(self, x, **fit_params):
        return self.module_(
            torch.stack([part.reshape(-1) for part in x.values()], dim=1)
        )


def test_a_net_with_its_own_infer_reads_what_it_likes():
    net = make_net(nn.Linear, Columnwise, module__in_features=4, module__out_features=3)
    assert (
        len(make_sampler("dynamical", net).fit(float32(X), y).query(float32(POOL), 2))
        == 2
    )


def test_labels_beside_a_frame():
    with pytest.raises(InvalidLabelsError, match="came as nan"):
        ActiveLearner(
            make_net(ByColumn),
            X_training=frame(X),
            y_training=polars({"y": [None, *y[1:]]})["y"],
        )


# --- columns of an estimator's own fit ------------------------------------------------------------


def function_first():
    """Return a Pipeline whose first step does not look at names, and which ends in a classifier."""
    return make_pipeline(
        FunctionTransformer(np.asarray).set_output(transform="default"),
        LogisticRegression(),
    )


def transformed_net():
    return make_pipeline(
        FunctionTransformer(np.asarray).set_output(transform="default"),
        make_net(max_epochs=1),
    )


FITTED = {
    "classifier": LogisticRegression,
    "pipeline": function_first,
    "net": transformed_net,
}


CALLS = [
    ("classifier", margin_sampling),
    ("pipeline", margin_sampling),
    ("net", margin_sampling),
    ("net", dynamical_sampling),
]


@pytest.mark.parametrize("key, sampling", CALLS)
@pytest.mark.parametrize("labeled", [None, frame, REORDERED])
def test_a_call_puts_columns_in_the_order_of_the_fit(key, sampling, labeled):
    if sampling is dynamical_sampling and labeled is None:
        pytest.skip("it needs the labeled set")
    classifier = FITTED[key]().fit(frame(X), y)
    known, in_order = {}, {}
    if labeled is not None:
        known = {"X_labeled": labeled(X), "y_labeled": y}
        in_order = {"X_labeled": frame(X), "y_labeled": y}
    found = sampling(classifier, REORDERED(POOL), 8, **known)
    expected = sampling(classifier, frame(POOL), 8, **in_order)
    assert found.tolist() == expected.tolist()
    with pytest.raises(InvalidDataError, match="'b' missing"):
        sampling(classifier, MISSING(POOL), 8, **known)


def test_a_labeled_set_with_other_columns_than_the_fit_is_refused():
    classifier = LogisticRegression().fit(frame(X), y)
    for other, words in ((MISSING, "'b' missing"), (NEW, "'e' new")):
        with pytest.raises(InvalidDataError, match=f"the labeled set.*{words}"):
            margin_sampling(classifier, frame(POOL), X_labeled=other(X), y_labeled=y)


def test_gradients_put_columns_in_the_order_of_the_fit():
    net = transformed_net().fit(frame(X), y)
    direction = labeled_gradient(net, frame(X), y)
    expected = gradient_statistics(net, frame(POOL), direction=direction)
    found = gradient_statistics(net, REORDERED(POOL), direction=direction)
    np.testing.assert_array_equal(found.sq_norm, expected.sq_norm)
    np.testing.assert_array_equal(found.dot, expected.dot)
    for name, gradient in labeled_gradient(net, REORDERED(X), y).items():
        assert gradient.tolist() == direction[name].tolist()
    for work in (gradient_statistics, lambda net, rows: labeled_gradient(net, rows, y)):
        with pytest.raises(InvalidDataError, match="'b' missing"):
            work(net, MISSING(X))


def test_a_learner_of_a_fitted_net_trains_on_columns_in_the_order_of_its_fit():
    found = []
    for rows in (frame(X), REORDERED(X)):
        torch.manual_seed(0)
        learner = ActiveLearner(transformed_net().fit(frame(X), y), margin_sampling)
        torch.manual_seed(0)
        found.append(weights(learner.fit(rows, y).estimator[-1]))
    assert found[0] == found[1]


ANSWERS = {
    "predict": lambda owner, rows: owner.predict(rows),
    "predict_proba": lambda owner, rows: owner.predict_proba(rows),
    "score": lambda owner, rows: owner.score(rows, POOL_y),
}
OWNERS = {
    "sampler": lambda estimator: MarginSampler(estimator).fit(frame(X), y),
    "learner": lambda estimator: ActiveLearner(estimator, margin_sampling, frame(X), y),
    "fitted": lambda estimator: ActiveLearner(
        estimator.fit(frame(X), y), margin_sampling
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("owner", OWNERS)
def test_predictions_refuse_columns_in_another_order_as_scikit_learn_does(
    owner, answer
):
    asked = OWNERS[owner](LogisticRegression())
    refused = [
        (REORDERED, "same order as they were in fit"),
        (MISSING, "yet now missing:\n- b"),
        (NEW, "unseen at fit time:\n- e"),
    ]
    for rows, words in refused:
        with pytest.raises(ValueError, match=f"should match those.*\n.*{words}"):
            LogisticRegression().fit(frame(X), y).predict(rows(POOL))
        with pytest.raises(InvalidDataError, match=f"should match those.*\n.*{words}"):
            ANSWERS[answer](asked, rows(POOL))
    remedied = REORDERED(POOL)[["a", "b", "c", "d"]]
    expected = ANSWERS[answer](asked, frame(POOL))
    np.testing.assert_array_equal(ANSWERS[answer](asked, remedied), expected)


def calibrated():
    return CalibratedClassifierCV(function_first(), cv=2)


def voting():
    return VotingClassifier([("one", function_first())], voting="soft")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(
    "make", [function_first, transformed_net, calibrated, voting, by_position]
)
def test_predictions_put_columns_in_order_where_the_first_step_does_not_look(
    make, owner, answer
):
    asked = OWNERS[owner](make())
    if (make, owner) == (by_position, "fitted"):
        return  # nothing tells the names
    expected = ANSWERS[answer](asked, frame(POOL))
    for rows in (REORDERED(POOL), REORDERED(POOL).assign(e=1.0)):
        np.testing.assert_array_equal(ANSWERS[answer](asked, rows), expected)
    with pytest.raises(InvalidDataError, match="'b' missing"):
        ANSWERS[answer](asked, MISSING(POOL))


@pytest.mark.parametrize("answer", ANSWERS)
def test_predictions_of_estimators_that_choose_by_name(answer):
    choosing = make_column_transformer((StandardScaler(), ["a", "b"]))
    for estimator in (
        make_pipeline(choosing, LogisticRegression()),
        CalibratedClassifierCV(make_pipeline(choosing, LogisticRegression()), cv=2),
        make_net(ByColumn),
    ):
        sampler = MarginSampler(estimator).fit(frame(X), y)
        expected = ANSWERS[answer](sampler, frame(POOL))
        np.testing.assert_array_equal(
            ANSWERS[answer](sampler, REORDERED(POOL)), expected
        )
