"""What every sampler promises: those of the registry, and two more that are not in it."""

import inspect
import pickle
import random

import numpy as np
import pytest
import torch
from common import (
    FOR_CLASSIFIERS,
    FUNCTIONS,
    POOL,
    PROMISES,
    SETTINGS,
    POOL_y,
    X,
    global_rng,
    keys,
    make_net,
    make_sampler,
    snapshot,
    trained_net,
    weights,
    y,
)
from lanes import crossed, slow_unless
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

import skdal.samplers
from skdal import ActiveLearner
from skdal.base import ScoreSampler
from skdal.exceptions import (
    MissingLabeledDataError,
    NonFiniteScoreError,
    UnsupportedEstimatorError,
)
from skdal.samplers import (
    SAMPLERS,
    ALBLSampler,
    DynamicALSampler,
    MarginSampler,
    PoolSubset,
)

pytestmark = pytest.mark.contract

LABELED = {"X_labeled": X, "y_labeled": y}
every = pytest.mark.parametrize("key", PROMISES)
READERS = [
    "dynamical",
    "margin",
    "coreset",
    "albl",
]  # they read pool and labeled set in different ways


def those(among=PROMISES, **facts):
    return pytest.mark.parametrize("key", keys(among, **facts))


def fitted(key, **params):
    """Return a sampler around one and the same trained net."""
    return make_sampler(key, FrozenEstimator(trained_net()), **params).fit(X, y)


# --- the table of promises ------------------------------------------------------------------------


def test_every_sampler_has_a_promise():
    assert [key for key in SAMPLERS if key not in PROMISES] == []
    classes = {name for name in skdal.samplers.__all__ if name.endswith("Sampler")}
    assert classes == {promise.cls.__name__ for promise in PROMISES.values()} - {
        "PoolSubset"
    }


@every
def test_only_samplers_that_learn_nothing_have_a_function(key):
    keeps = getattr(PROMISES[key].cls, "keeps_state_over_rounds", False)
    assert keeps == PROMISES[key].keeps
    function = getattr(skdal.samplers, f"{key}_sampling", None)
    assert (function is None) == (keeps or key not in SAMPLERS)
    assert pickle.loads(pickle.dumps(function)) is function


@every
def test_class(key):
    assert type(make_sampler(key)) is PROMISES[key].cls
    assert isinstance(make_sampler(key), ScoreSampler) == (
        PROMISES[key].scores == "samples"
    )


@every
def test_the_seed_matters_where_it_draws(key):
    picks = {
        tuple(fitted(key, random_state=seed).query(POOL, 4).tolist())
        for seed in range(6)
    }
    assert (len(picks) > 1) == PROMISES[key].draws


@those(labeled=True)
def test_the_labeled_set_has_to_be_known(key):
    with pytest.raises(MissingLabeledDataError, match="X_labeled="):
        make_sampler(key)(trained_net(), POOL, 2)


@those(labeled=False)
def test_the_labeled_set_is_not_looked_at(key):
    expected = make_sampler(key)(trained_net(), POOL, 6, X_labeled=X, y_labeled=y)
    actual = make_sampler(key)(
        trained_net(), POOL, 6, X_labeled=X[::-1] + 1, y_labeled=(y + 1) % 3
    )
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("key", FOR_CLASSIFIERS)
@pytest.mark.parametrize(
    "labels", [y, np.array(["cat", "dog", "cow"])[y]], ids=["numbers", "strings"]
)
def test_any_classifier(key, labels):
    sampler = make_sampler(key, LogisticRegression(), **FOR_CLASSIFIERS[key]).fit(
        X, labels
    )
    indices = sampler.query(POOL, 6)
    assert len(set(indices)) == 6
    called = make_sampler(key, **FOR_CLASSIFIERS[key])(
        sampler.estimator_, POOL, 6, X_labeled=X, y_labeled=labels
    )
    assert called.tolist() == indices.tolist()


@pytest.mark.parametrize(
    "key", [key for key in PROMISES if FOR_CLASSIFIERS.get(key) != {}]
)
def test_otherwise_nets_only(key):
    with pytest.raises(UnsupportedEstimatorError, match="LogisticRegression"):
        make_sampler(key, LogisticRegression()).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="LogisticRegression"):
        make_sampler(key)(LogisticRegression().fit(X, y), POOL, 2, **LABELED)


@those(looks=True)
def test_no_pick_rests_on_damaged_samples(key):
    with pytest.raises(
        NonFiniteScoreError, match=f"{PROMISES[key].sees} of {PROMISES[key].sees}"
    ):
        fitted(key).query(np.full_like(POOL, np.nan), 3)


@those(looks=False)
def test_the_pool_is_not_looked_at(key):
    assert (
        fitted(key).query(np.full_like(POOL, np.nan), 3).tolist()
        == fitted(key).query(POOL, 3).tolist()
    )


# --- picks ----------------------------------------------------------------------------------------


@crossed(
    "n_instances, key",
    [1, 2, 7, None, np.int64(3)],
    PROMISES,
    some_rows=[7, None],
    some_columns=READERS,
)
def test_indices(n_instances, key):
    n_instances = n_instances or PROMISES[key].sees
    indices = fitted(key).query(POOL, n_instances)
    assert indices.dtype == np.intp
    assert indices.shape == (n_instances,)
    assert len(set(indices) & set(range(len(POOL)))) == n_instances


@every
def test_one_instance_is_the_default(key):
    assert fitted(key).query(POOL).shape == (1,)


@those(scores="samples")
def test_best_first(key):
    sampler = fitted(key)
    scores = sampler.score_samples(POOL)
    indices, picked = sampler.query(POOL, 9, return_scores=True)
    assert scores.dtype == picked.dtype == np.float64
    assert len(set(scores)) > 1
    assert indices.tolist() == np.argsort(-scores, kind="stable")[:9].tolist()
    assert picked.tolist() == scores[indices].tolist()


@pytest.mark.parametrize(
    "key", [*keys(PROMISES, scores="samples"), *keys(PROMISES, scores="picks")]
)
def test_more_picks_begin_with_the_same(key):
    few, many = fitted(key).query(POOL, 4), fitted(key).query(POOL, 9)
    assert many[:4].tolist() == few.tolist()


@those(scores="samples")
def test_ties_by_lower_position(key):
    net = make_net(
        lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 3)).double()
    ).fit(X, y)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(X, y)
    assert sampler.query(np.zeros((40, 4)), 30).tolist() == list(range(30))


@every
def test_scores_are_nan_where_there_are_none(key):
    _, scores = fitted(key).query(POOL, 3, return_scores=True)
    assert scores.dtype == np.float64
    assert scores.shape == (3,)
    assert np.isnan(scores).tolist() == [PROMISES[key].scores == "none"] * 3


def hidden(net, rows):
    """Return the input of Mlp's head (n, d)."""
    with torch.no_grad():
        return net.module_.eval().body(torch.as_tensor(rows)).numpy()


def last_gradients(net, rows):
    """Return (p - onehot(argmax)) (x) h, flattened."""
    proba = net.predict_proba(rows)
    residuals = proba - np.eye(3)[proba.argmax(1)]
    return np.einsum("nk,nd->nkd", residuals, hidden(net, rows)).reshape(len(rows), -1)


# key -> representations of rows, and what they are far from before the first pick
DISTANCES = {
    "coreset": (hidden, lambda net: hidden(net, X)),
    "badge": (last_gradients, lambda net: np.zeros((1, 18))),
}


@pytest.mark.parametrize("key", DISTANCES)
def test_scores_of_picks_are_their_distances_at_the_moment_of_picking(key):
    represent, first = DISTANCES[key]
    net = trained_net()
    rows, centers = represent(net, POOL), first(net)
    indices, scores = fitted(key).query(POOL, 12, return_scores=True)
    for i, (pick, score) in enumerate(zip(indices, scores)):
        others = (
            centers
            if i == 0
            else rows[indices[:i]]
            if key == "badge"
            else np.r_[centers, rows[indices[:i]]]
        )
        assert score == pytest.approx(
            np.linalg.norm(rows[pick] - others, axis=1).min(), rel=1e-8
        )


def test_coreset_s_never_rise():
    _, scores = fitted("coreset").query(POOL, len(POOL), return_scores=True)
    assert (np.diff(scores) <= 0).all()


def test_coreset_has_no_first_distance_without_a_labeled_set():
    sampler = fitted("coreset")
    sampler.X_labeled_, sampler.y_labeled_ = X[:0], y[:0]
    _, scores = sampler.query(POOL, 4, return_scores=True)
    assert np.isnan(scores).tolist() == [True, False, False, False]


def test_albl_s_are_those_of_its_arm():
    drawn = set()
    for seed in range(6):
        bandit = fitted("albl", random_state=seed)
        picks = bandit.query(POOL, 5, return_scores=True)
        (arm,) = bandit.history_[-1]["arms"]
        expected = fitted(("coreset", "confidence")[arm]).query(
            POOL, 5, return_scores=True
        )
        assert [part.tolist() for part in picks] == [part.tolist() for part in expected]
        drawn.add(arm)
    assert drawn == {0, 1}


def test_a_subset_s_are_those_of_its_sampler():
    subset = fitted("pool_subset")
    indices, scores = subset.query(POOL, 5, return_scores=True)
    expected = fitted("dynamical").query(POOL[subset.seen_], 5, return_scores=True)
    assert (indices.tolist(), scores.tolist()) == (
        subset.seen_[expected[0]].tolist(),
        expected[1].tolist(),
    )


@those(scores="samples")
@pytest.mark.parametrize(
    "dtype, cuts, rtol",
    [
        (torch.float64, [0, 1, 3, 20, 41], 1e-10),
        (torch.float32, [0, 1, 3, 20, 41], 1e-5),
        (torch.float32, [0, 8, 32, 41], 0),  # multiples of 8, as mini-batches are
        (torch.float64, [0, 16, 24, 41], 0),
    ],
)
def test_a_pool_is_scored_in_any_pieces(key, dtype, cuts, rtol):
    times = PROMISES[key].batch_size // 8
    labeled, pool = (
        X.astype(str(dtype)[6:]),
        np.tile(POOL.astype(str(dtype)[6:]), (times, 1)),
    )
    net = make_net(module__dtype=dtype, max_epochs=20).fit(labeled, y)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(labeled, y)
    whole = sampler.score_samples(pool)
    pieces = np.concatenate(
        [
            sampler.score_samples(pool[a * times : b * times])
            for a, b in zip(cuts, cuts[1:])
        ]
    )
    np.testing.assert_allclose(
        pieces, whole, rtol=rtol, atol=rtol * np.abs(whole).max()
    )


@those(batch_size=256)
def test_mini_batches_may_have_any_length(key, request):
    expected = fitted(key).query(POOL, 9, return_scores=True)
    request.getfixturevalue("mini_batches_of_8")
    actual = fitted(key).query(POOL, 9, return_scores=True)
    assert actual[0].tolist() == expected[0].tolist()
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-8)


# --- who may ask ----------------------------------------------------------------------------------

ASKERS = {
    "sampler": lambda net: (make_sampler("random", FrozenEstimator(net)).fit(X, y), {}),
    "net": lambda net: (net, LABELED),
    "frozen": lambda net: (FrozenEstimator(net), LABELED),
    "learner": lambda net: (
        ActiveLearner(FrozenEstimator(net), X_training=X, y_training=y),
        {},
    ),
    "given first": lambda net: (
        ActiveLearner(FrozenEstimator(net), X_training=X[:9], y_training=y[:9]),
        LABELED,
    ),
}


@crossed(
    "asker, key", ASKERS, PROMISES, some_rows=["net", "learner"], some_columns=READERS
)
def test_call_is_query(asker, key):
    classifier, labeled = ASKERS[asker](trained_net())
    indices = make_sampler(key)(classifier, POOL, 5, **labeled)
    assert indices.dtype == np.intp
    assert indices.tolist() == fitted(key).query(POOL, 5).tolist()


@those(among=SAMPLERS, keeps=False)
def test_function_is_call(key):
    function = FUNCTIONS[f"{key}_sampling"]
    actual = function(trained_net(), POOL, 5, **LABELED, random_state=4, verbose=0)
    assert (
        actual.tolist()
        == SAMPLERS[key](random_state=4)(trained_net(), POOL, 5, **LABELED).tolist()
    )
    assert function.__name__ == f"{key}_sampling"
    assert pickle.loads(pickle.dumps(function)) is function


@those(keeps=True)
def test_what_keeps_something_has_no_function(key):
    assert not hasattr(skdal.samplers, f"{key}_sampling")


@every
def test_call_trains_nothing_and_stores_nothing(key):
    sampler, net = make_sampler(key), trained_net()
    before = snapshot(net), vars(sampler).copy()
    sampler(net, POOL, 3, **LABELED)
    assert snapshot(net) == before[0]
    assert (vars(sampler) == before[1]) == (not PROMISES[key].keeps)
    assert {name: vars(sampler)[name] for name in before[1]} == before[1]


# --- chance ---------------------------------------------------------------------------------------


@every
def test_same_seed_same_picks(key):
    runs = [[], []]
    for picks in runs:
        sampler, rows, labels = make_sampler(key, make_net(), random_state=3), X, y
        for n in (4, 2, 5):
            picks.append(sampler.fit(rows, labels).query(POOL, n).tolist())
            rows, labels = (
                np.r_[rows, POOL[picks[-1]]],
                np.r_[labels, POOL_y[picks[-1]]],
            )
    assert runs[0] == runs[1]


@every
def test_a_query_can_be_repeated(key):
    sampler = fitted(key)
    assert sampler.query(POOL, 4).tolist() == sampler.query(POOL, 4).tolist()


@every
def test_a_random_state_instance_advances(key):
    state = np.random.RandomState(0)
    sampler = make_sampler(key, make_net(), random_state=state).fit(X, y)
    before = state.get_state()[2], sampler.query(POOL, 9).tolist()
    sampler.query(POOL, 9)
    assert state.get_state()[2] != before[0]


@every
@pytest.mark.parametrize("random_state", [None, 0])
def test_queries_leave_the_global_generators_alone(key, random_state):
    sampler = fitted(key, random_state=random_state)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = global_rng()
    sampler.query(POOL, 4)
    sampler(sampler, POOL, 4)
    if PROMISES[key].scores == "samples":
        sampler.score_samples(POOL)
    assert global_rng() == before


@every
@pytest.mark.parametrize("random_state", [None, 0])
def test_a_query_never_changes_what_training_does_next(key, random_state):
    results = []
    for queries in (0, 2):
        torch.manual_seed(5)
        sampler = make_sampler(key, make_net(), random_state=random_state).fit(
            X[:20], y[:20]
        )
        for _ in range(queries):
            sampler.query(POOL, 3)
        results.append(weights(sampler.fit(X, y).estimator_))
    assert results[0] == results[1]


@every
@pytest.mark.parametrize("training", [False, True])
def test_a_query_leaves_the_net_as_it_is(key, training):
    net = trained_net()
    net.module_.train(training)
    net.module_.body[1].eval()
    net.module_.head.bias.requires_grad_(False)
    net.module_.head.weight.grad = torch.ones_like(net.module_.head.weight)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(X, y)
    before = snapshot(net)
    with torch.no_grad():
        sampler.query(POOL, 4)
    assert snapshot(net) == before


# --- a scikit-learn estimator ---------------------------------------------------------------------


@every
def test_parameters_are_the_attributes(key):
    make = SAMPLERS.get(key, PROMISES[key].cls)
    parameters = inspect.signature(make).parameters
    assert list(parameters)[0] == "estimator"
    assert all(
        p.kind is p.KEYWORD_ONLY
        for name, p in parameters.items()
        if name != "estimator"
    )
    assert make().get_params() == {name: p.default for name, p in parameters.items()}


@every
def test_clone_has_parameters_only(key):
    sampler = make_sampler(key, make_net(), verbose=0, random_state=7).fit(X, y)
    sampler.query(POOL, 2)
    copy = clone(sampler)
    assert set(vars(copy)) == set(sampler.get_params(deep=False))
    assert not copy.estimator.initialized_
    assert (copy.random_state, copy.estimator.lr) == (7, SETTINGS["lr"])


@every
def test_pickle(key):
    sampler = make_sampler(key, make_net()).fit(X, y)
    asked = sampler.query(POOL, 6)
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy.query(POOL, 6).tolist() == asked.tolist()
    rows, labels = np.r_[X, POOL[asked]], np.r_[y, POOL_y[asked]]
    assert weights(copy.fit(rows, labels).estimator_) == weights(
        sampler.fit(rows, labels).estimator_
    )
    assert copy.query(POOL, 6).tolist() == sampler.query(POOL, 6).tolist()


# parameters that may be changed between queries, and make other picks
CHANGES = {
    "dynamical": {"gamma": -40.0},
    "gradient_length": {"layers": ["body.0.bias"]},
    "influence": {"layers": ["body.0.bias"]},
    "egl": {"layers": ["body.0.bias"]},
    "entropy_gradient": {"layers": ["body.0.bias"]},
    "coreset": {"embedding": "head"},
    "mc_dropout": {"criterion": "entropy"},
    "albl": {"samplers": [MarginSampler(), MarginSampler()]},
    "albl_per_sample": {"samplers": [MarginSampler(), MarginSampler()]},
    "pool_subset": {"sampler": MarginSampler()},
    "pool_subset, inside": {"sampler__gamma": -40.0},
}


@pytest.mark.parametrize("case", CHANGES)
def test_parameters_may_be_changed_between_queries(case):
    key = case.split(",")[0]
    sampler = fitted(key)
    before = sampler.query(POOL, 5).tolist()
    sampler.set_params(**CHANGES[case])
    expected = clone(sampler).fit(X, y).query(POOL, 5).tolist()
    assert sampler.query(POOL, 5).tolist() == expected != before


@every
def test_it_is_the_classifier_that_it_trained(key):
    sampler = make_sampler(key, make_net()).fit(X, y)
    net = sampler.estimator_
    assert sampler.predict(POOL).tolist() == net.predict(POOL).tolist()
    assert sampler.predict_proba(POOL).tolist() == net.predict_proba(POOL).tolist()
    assert (sampler.score(X, y), sampler.classes_.tolist()) == (
        net.score(X, y),
        [0, 1, 2],
    )


@pytest.mark.parametrize(
    "key, params", [*((key, {}) for key in PROMISES), ("egl", {"layers": "last"})]
)
def test_a_bar_counts_samples(key, params, capsys):
    sampler = fitted(key, verbose=1, **params)
    capsys.readouterr()
    sampler.query(POOL, 4)
    shown, n = capsys.readouterr(), PROMISES[key].sees
    assert shown.out == ""
    assert (f"{n}/{n}" in shown.err and "samples/s" in shown.err) == PROMISES[key].looks


@every
def test_silent_by_default(key, capsys):
    fitted(key).query(POOL, 4)
    assert capsys.readouterr() == ("", "")


# --- samplers inside samplers ---------------------------------------------------------------------

HOLDERS = {
    "albl": lambda inside: ALBLSampler(
        samplers=[inside, MarginSampler()], random_state=0
    ),  # draws 0, 1, 0
    "albl_per_sample": lambda inside: ALBLSampler(
        samplers=[inside, MarginSampler()], per="sample", random_state=0
    ),
    "pool_subset": lambda inside: PoolSubset(
        sampler=inside, subset_size=30, random_state=0
    ),
}
holders = pytest.mark.parametrize("holder", HOLDERS)
nested = pytest.mark.parametrize(  # a bandit cannot be an arm of another
    "holder, key",
    [
        slow_unless(h == "albl" or key in READERS, h, key)
        for h in HOLDERS
        for key in PROMISES
        if not (h.startswith("albl") and key.startswith("albl"))
    ],
)


@nested
def test_a_sampler_inside_another_is_left_alone(holder, key):
    inside = make_sampler(key)
    before = vars(inside).copy()
    indices = HOLDERS[holder](inside)(trained_net(), POOL, 4, **LABELED)
    assert len(set(indices)) == 4
    assert vars(inside) == before


@nested
def test_a_sampler_inside_another_goes_on_from_round_to_round(holder, key):
    sampler, rows, labels = HOLDERS[holder](make_sampler(key)), X, y
    sampler.set_params(estimator=make_net())
    for n in (4, 3, 5):
        indices = sampler.fit(rows, labels).query(POOL, n)
        rows, labels = np.r_[rows, POOL[indices]], np.r_[labels, POOL_y[indices]]
    assert len(rows) == 42


@holders
def test_random_numbers_are_the_outer_s(holder):
    state = np.random.RandomState(0)
    before = state.get_state()[2]
    HOLDERS[holder](DynamicALSampler(random_state=state))(
        trained_net(), POOL, 4, **LABELED
    )
    assert state.get_state()[2] == before


# --- CUDA -----------------------------------------------------------------------------------------


def fitted_on_cuda(key):
    """Return `fitted(key)` with its net on the GPU."""
    net = make_net(device="cuda").initialize()
    net.module_.load_state_dict(trained_net().module_.state_dict())
    return make_sampler(key, FrozenEstimator(net)).fit(X, y)


@pytest.mark.cuda
@every
def test_indices_on_cuda(key):
    sampler = fitted_on_cuda(key)
    indices, scores = sampler.query(POOL, 9, return_scores=True)
    assert (indices.dtype, scores.dtype, len(set(indices))) == (np.intp, np.float64, 9)
    assert sampler.query(POOL, 9).tolist() == indices.tolist()


@pytest.mark.cuda
@those(draws_on_device=False)
def test_the_same_on_cuda_as_on_the_cpu(key):
    actual, expected = (
        sampler.query(POOL, 9, return_scores=True)
        for sampler in (fitted_on_cuda(key), fitted(key))
    )
    assert actual[0].tolist() == expected[0].tolist()
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-6)


@pytest.mark.cuda
@every
def test_a_query_leaves_the_net_as_it_is_on_cuda(key):
    sampler = fitted_on_cuda(key)
    before = snapshot(sampler.estimator_.estimator), torch.cuda.get_rng_state().tolist()
    sampler.query(POOL, 4)
    assert (
        snapshot(sampler.estimator_.estimator),
        torch.cuda.get_rng_state().tolist(),
    ) == before
