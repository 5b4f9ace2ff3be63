"""The same samples in every form that X may have give the same scores."""

import random
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from common import (
    FOR_CLASSIFIERS,
    POOL,
    PROMISES,
    X,
    assert_same,
    global_rng,
    keys,
    make_net,
    make_sampler,
    weights,
    y,
)
from lanes import crossed, slow_unless
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import SliceDataset, SliceDict
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from skdal import ActiveLearner, DynamicALSampler
from skdal.samplers import SAMPLERS

COLUMNS = ["a", "b", "c", "d"]


class AnyInput(nn.Module):
    """Takes x, or its columns by name, or its columns in a list."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3)
        ).double()

    def forward(self, x=None, **columns):
        if x is None:
            x = torch.cat(
                [columns[name].reshape(len(columns[name]), -1) for name in COLUMNS],
                dim=1,
            )
        return self.layers(torch.stack(x, dim=1) if isinstance(x, list) else x)


class Items(Dataset):
    """A Dataset of items made by a function of the position."""

    def __init__(self, make, n):
        self.make = make
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.make(i)


def memmap(rows):
    path = memmap.folder / f"{id(rows)}.npy"
    np.save(path, rows)
    return np.load(path, mmap_mode="r")


def of_items(make):
    return lambda rows: Items(lambda i: make(rows[i]), len(rows))


ARRAYS = {
    "ndarray": lambda rows: rows,
    "not contiguous": lambda rows: np.asfortranarray(rows),
    "read-only": lambda rows: np.lib.stride_tricks.as_strided(rows, writeable=False),
    "memmap": memmap,
    "tensor": torch.as_tensor,
    "dict": lambda rows: {"x": rows},
    "dict of tensors": lambda rows: {"x": torch.as_tensor(rows)},
    "dict of columns": lambda rows: dict(zip(COLUMNS, rows.T)),
    "SliceDict": lambda rows: SliceDict(x=rows),
    "CSR matrix": sparse.csr_matrix,
    "CSR array": sparse.csr_array,
    "DataFrame": lambda rows: pd.DataFrame(
        rows, columns=COLUMNS, index=np.arange(len(rows))[::-1]
    ),
    "SliceDataset": lambda rows: SliceDataset(
        SkorchDataset(rows, np.zeros(len(rows), int))
    ),
}
DATASETS = {
    "pair": of_items(lambda row: (row, 0)),
    "pair in a list": of_items(lambda row: [row, 0]),
    "pair of tensors": lambda rows: TensorDataset(
        torch.as_tensor(rows), torch.zeros(len(rows), dtype=int)
    ),
    "pair with strings": of_items(lambda row: (row, "unknown")),
    "pair with None": of_items(lambda row: (row, None)),
    "bare array": of_items(lambda row: row),
    "bare tensor": of_items(torch.as_tensor),
    "bare dict": of_items(lambda row: {"x": row}),
    "bare dict of two": of_items(
        lambda row: {"a": row[:1], "b": row[1:2], "c": row[2:3], "d": row[3:]}
    ),
    "four in a tuple": of_items(tuple),
    "pair with a dict": of_items(lambda row: ({"x": torch.as_tensor(row)}, 0)),
    "Subset": lambda rows: Subset(
        TensorDataset(torch.as_tensor(rows).flip(0)), [*range(len(rows))][::-1]
    ),
    "ConcatDataset": lambda rows: ConcatDataset(
        [of_items(np.array)(rows[:5]), of_items(np.array)(rows[5:])]
    ),
    "skorch's": SkorchDataset,
}
FORMS = ARRAYS | DATASETS
FOR_PIPELINES = ["ndarray", "memmap", "CSR matrix", "CSR array", "DataFrame"]
# the last of the mini-batches of 8 has length 1, 2, 7, 8; the last pool is one of length 1
SIZES = {
    "dynamical": [17, 18, 23, 24, 1],
    "margin": [17, 24, 1],
    "coreset": [17, 24, 1],
}
POOLS = [(key, n) for key in PROMISES for n in SIZES.get(key, [len(POOL)])]
READERS = list(SIZES)  # samplers that read a pool in different ways
SOME_FORMS = ["memmap", "dict", "pair"]  # an array, several inputs, a Dataset


@pytest.fixture(scope="module")
def net():
    return make_net(AnyInput, max_epochs=5).fit(X, y)


@pytest.fixture(autouse=True)
def small(tmp_path, mini_batches_of_8):
    memmap.folder = tmp_path


def scored(sampler, pool):
    indices, scores = sampler.query(pool, 1, return_scores=True)
    return [indices, scores, getattr(sampler, "score_samples", lambda pool: 0.0)(pool)]


def assert_close(actual, expected, rtol=1e-10):
    for a, b in zip(actual, expected):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# --- pools ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@crossed(
    "form, key_and_n",
    FORMS,
    POOLS,
    some_rows=SOME_FORMS,
    some_columns=[(key, 17) for key in READERS],
)
def test_pool(form, key_and_n, net):
    key, n = key_and_n
    sampler = make_sampler(key, FrozenEstimator(net)).fit(FORMS[form](X), y)
    expected = make_sampler(key, FrozenEstimator(net)).fit(X, y)
    assert_close(scored(sampler, FORMS[form](POOL[:n])), scored(expected, POOL[:n]))


@pytest.mark.parametrize(
    "form", [slow_unless(form in SOME_FORMS, form) for form in FORMS]
)
def test_interaction(form, net):
    sampler = DynamicALSampler(
        FrozenEstimator(net), interaction=-2.0, update_size=2, batch_size=8
    )
    expected = sampler.fit(X, y).query(POOL, 7).tolist()
    assert (
        sampler.fit(FORMS[form](X), y).query(FORMS[form](POOL), 7).tolist() == expected
    )


@crossed(
    "form, key",
    FOR_PIPELINES,
    [*READERS, "egl", "badge", "albl", "mc_dropout", "pool_subset"],
    some_rows=["CSR array"],
    some_columns=["margin"],
)
def test_pool_in_a_pipeline(key, form):
    pipeline = make_pipeline(
        StandardScaler(with_mean=False), FunctionTransformer(dense), make_net()
    )
    sampler = make_sampler(key, pipeline).fit(FORMS[form](X), y)
    expected = make_sampler(key, pipeline).fit(X, y)
    assert_close(
        scored(sampler, FORMS[form](POOL)), scored(expected, POOL), rtol=1e-5
    )  # another scaler by rounding


def dense(rows):
    return rows.toarray() if sparse.issparse(rows) else np.asarray(rows)


@pytest.mark.parametrize("key", FOR_CLASSIFIERS)
@pytest.mark.parametrize("form", FOR_PIPELINES)
def test_pool_of_a_classifier(key, form):
    sampler = make_sampler(key, LogisticRegression(), **FOR_CLASSIFIERS[key]).fit(
        FORMS[form](X), y
    )
    expected = make_sampler(key, LogisticRegression(), **FOR_CLASSIFIERS[key]).fit(X, y)
    np.testing.assert_allclose(
        scored(sampler, FORMS[form](POOL))[1], scored(expected, POOL)[1], rtol=1e-3
    )


def test_a_list_of_rows_goes_to_classifiers_that_take_it():
    sampler = make_sampler("margin", LogisticRegression()).fit(X.tolist(), y.tolist())
    assert sampler.query(POOL.tolist(), 4).tolist() == sampler.query(POOL, 4).tolist()


# --- labeled sets ---------------------------------------------------------------------------------

LABELED = {
    **{
        f"{form}, y": lambda rows, labels, form=form: (ARRAYS[form](rows), labels)
        for form in ARRAYS
    },
    "Dataset of pairs": lambda rows, labels: (
        Items(lambda i: (rows[i], labels[i]), len(rows)),
        None,
    ),
    "Dataset of lists": lambda rows, labels: (
        Items(lambda i: [rows[i], int(labels[i])], len(rows)),
        None,
    ),
    "Dataset of tensors": lambda rows, labels: (
        TensorDataset(torch.as_tensor(rows), torch.as_tensor(labels)),
        None,
    ),
    "Dataset, y": lambda rows, labels: (of_items(np.array)(rows), labels),
    "Dataset of pairs, y": lambda rows, labels: (
        Items(lambda i: (rows[i], 7), len(rows)),
        labels,
    ),
    "Subset": lambda rows, labels: (
        Subset(SkorchDataset(rows[::-1], labels[::-1]), [*range(len(rows))][::-1]),
        None,
    ),
    "ConcatDataset": lambda rows, labels: (
        ConcatDataset(
            [SkorchDataset(rows[:9], labels[:9]), SkorchDataset(rows[9:], labels[9:])]
        ),
        None,
    ),
    "labels in a list": lambda rows, labels: (rows, labels.tolist()),
    "labels in a tensor": lambda rows, labels: (rows, torch.as_tensor(labels)),
    "labels in a Series": lambda rows, labels: (rows, pd.Series(labels, index=labels)),
    "labels in a column": lambda rows, labels: (rows, labels[:, None]),
    "labels in uint8": lambda rows, labels: (rows, labels.astype(np.uint8)),
    "whole floats": lambda rows, labels: (rows, labels.astype(float)),
}


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("form", LABELED)
def test_labeled_set(form):
    rows, labels = LABELED[form](X, y)
    sampler = DynamicALSampler(make_net(AnyInput), random_state=0, batch_size=8).fit(
        rows, labels
    )
    expected = DynamicALSampler(make_net(AnyInput), random_state=0, batch_size=8).fit(
        X, y
    )
    assert_same(weights(sampler.estimator_), weights(expected.estimator_))
    pool = (
        FORMS["bare tensor"](POOL)
        if isinstance(rows, Dataset)
        else LABELED[form](POOL, y)[0]
    )
    assert_close([sampler.score_samples(pool)], [expected.score_samples(POOL)])


@pytest.mark.filterwarnings("ignore:A column-vector y")
@crossed(
    "form, key",
    LABELED,
    ["dynamical", "coreset", "albl"],  # one for each way to read a labeled set
    some_rows=["DataFrame, y", "Dataset of pairs", "labels in a tensor"],
    some_columns=["dynamical"],
)
def test_labeled_set_of_a_call(form, key, net):
    rows, labels = LABELED[form](X, y)
    pool = (
        FORMS["bare tensor"](POOL)
        if isinstance(rows, Dataset)
        else LABELED[form](POOL, y)[0]
    )
    expected = make_sampler(key)(net, POOL, 9, X_labeled=X, y_labeled=y)
    assert (
        make_sampler(key)(net, pool, 9, X_labeled=rows, y_labeled=labels).tolist()
        == expected.tolist()
    )


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize(
    "form",
    [
        "labels in a list",
        "labels in a tensor",
        "labels in a Series",
        "labels in a column",
    ],
)
def test_a_reward_for_the_answers_of_a_classifier(form):
    sampler = make_sampler("albl", **FOR_CLASSIFIERS["albl"])
    classifier = LogisticRegression().fit(X[:9], y[:9])
    for n in (20, 24):
        rows, labels = LABELED[form](X[:n], y[:n])
        sampler(classifier, POOL, 4, X_labeled=rows, y_labeled=labels)
    p = np.r_[
        np.ones(20),
        np.full(4, sampler.history_[0]["q"][sampler.history_[0]["arms"][0]]),
    ]
    assert sampler.history_[1]["reward"] == pytest.approx(
        np.mean((classifier.predict(X[:24]) == y[:24]) / p)
    )


# --- Datasets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", PROMISES)
def test_random_transforms_are_warned_of(key, net):
    pool = Items(lambda i: POOL[i] + np.random.rand(), len(POOL))
    with pytest.warns(UserWarning, match="random transforms.*un-augmented"):
        make_sampler(key, FrozenEstimator(net)).fit(X, y).query(pool, 2)


def flipped(draw):
    return Items(lambda i: POOL[i] * (1 if draw() < 0.5 else -1), len(POOL))


@pytest.mark.parametrize(
    "draw", [np.random.rand, lambda: torch.rand(()).item(), random.random]
)
def test_a_flip_is_missed_in_one_query_of_sixteen(draw, net):
    sampler = make_sampler("random", FrozenEstimator(net)).fit(X, y)
    n_warned = 0
    for seed in range(200):
        np.random.seed(seed)
        random.seed(seed)
        torch.manual_seed(seed)
        state = global_rng()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sampler.query(flipped(draw), 2)
        n_warned += any("random transforms" in str(w.message) for w in caught)
        assert global_rng() == state
    assert 175 <= n_warned < 200  # 187.5 are expected, with a deviation of 3.4


def test_a_pool_without_chance_is_looked_at_a_few_times(net):
    looks = []
    pool = Items(lambda i: looks.append(i) or POOL[i], len(POOL))
    make_sampler("random", FrozenEstimator(net)).fit(X, y).query(pool, 2)
    assert set(looks) == {0}
    assert len(looks) <= 8


@crossed(
    "form, key",
    [*DATASETS, "SliceDataset"],
    SAMPLERS,
    some_rows=["pair"],
    some_columns=["margin", "coreset"],
)
def test_others_are_not(form, key, net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_sampler(key, FrozenEstimator(net)).fit(FORMS[form](X), y).query(
            FORMS[form](POOL), 2
        )


def test_items_are_fetched_in_order_a_mini_batch_at_a_time(net):
    fetched = []
    pool = Items(lambda i: fetched.append(i) or POOL[i], len(POOL))
    DynamicALSampler(FrozenEstimator(net), batch_size=8).fit(X, y).query(pool, 3)
    assert [i for a, i in zip([None, *fetched], fetched) if i not in (0, a)] == list(
        range(1, len(POOL))
    )


@pytest.mark.slow
def test_workers(net):
    with_workers = make_net(AnyInput, iterator_valid__num_workers=1).initialize()
    with_workers.module_ = net.module_
    sampler = DynamicALSampler(batch_size=8)
    labeled = {"X_labeled": X, "y_labeled": y}
    expected = sampler(net, POOL, 9, **labeled).tolist()
    assert (
        sampler(
            with_workers, FORMS["bare array"](POOL), 9, X_labeled=SkorchDataset(X, y)
        ).tolist()
        == expected
    )


@pytest.mark.parametrize("key", ["dynamical", "margin"])
@pytest.mark.parametrize("pool", ["memmap", "Dataset"])
def test_a_pool_of_bytes_is_never_whole_in_memory(key, pool):
    rows = (
        np.broadcast_to(np.uint8(3), (20_000, 512))
        if pool == "Dataset"
        else bytes_on_disk(20_000, 512)
    )
    net = make_net(
        nn.Linear, FloatInput, module__in_features=512, module__out_features=3
    )
    sampler = make_sampler(
        key, net, **({"batch_size": 256} if key == "dynamical" else {})
    )
    sampler.set_params(estimator__iterator_valid__batch_size=256)
    sampler.fit(rows[:6], [0, 1, 2, 0, 1, 2])
    tracemalloc.start()
    sampler.query(
        Items(lambda i: rows[i].astype("float32"), len(rows))
        if pool == "Dataset"
        else rows,
        5,
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.size


def bytes_on_disk(*shape):
    return np.memmap(memmap.folder / "pool", np.uint8, "w+", shape=shape)


class FloatInput(type(make_net())):
    def infer(self, x, **fit_params):
        return super().infer(x.float() / 255, **fit_params)


# --- the same through a learner -------------------------------------------------------------------


KINDS = {"memmap": np.ndarray, "SliceDict": dict} | dict.fromkeys(DATASETS, Subset)


@pytest.mark.parametrize("form", FORMS)
def test_learner(form, net):
    learner = ActiveLearner(
        FrozenEstimator(net), DynamicALSampler(batch_size=8), FORMS[form](X), y
    )
    indices, samples = learner.query(FORMS[form](POOL), n_instances=3)
    assert (
        indices.tolist()
        == DynamicALSampler(batch_size=8)(
            net, POOL, 3, X_labeled=X, y_labeled=y
        ).tolist()
    )
    assert isinstance(samples, KINDS.get(form, type(FORMS[form](POOL))))
    learner.teach(samples, y[:3])
    rows, labels = np.concatenate([X, POOL[indices]]), np.concatenate([y, y[:3]])
    expected = DynamicALSampler(batch_size=8)(
        net, POOL, 9, X_labeled=rows, y_labeled=labels
    )
    assert (
        learner.query(FORMS[form](POOL), n_instances=9)[0].tolist() == expected.tolist()
    )


@crossed(
    "form, key",
    FORMS,
    keys(PROMISES, keeps=True),
    some_rows=SOME_FORMS,
    some_columns=["albl"],
)
def test_learner_with_a_sampler_that_remembers(form, key, net):
    def rounds(form):
        learner = ActiveLearner(
            FrozenEstimator(net), make_sampler(key), FORMS[form](X), y
        )
        for n in (4, 2, 5):
            indices, samples = learner.query(FORMS[form](POOL), n_instances=n)
            learner.teach(samples, y[:n])
            yield (
                indices.tolist(),
                getattr(learner.query_strategy, "weights_", X[:0]).tolist(),
            )

    assert list(rounds(form)) == list(rounds("ndarray"))
