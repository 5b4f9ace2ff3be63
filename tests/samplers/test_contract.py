"""What every sampler of the registry promises."""

import inspect
import pickle
import random

import numpy as np
import pytest
import torch
from common import POOL, SETTINGS, X, global_rng, make_net, make_sampler, snapshot, trained_net, weights, y
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import nn

import skdal.samplers
from skdal import ActiveLearner
from skdal.base import ScoreSampler
from skdal.samplers import SAMPLERS

pytestmark = pytest.mark.contract

SCORING = [key for key, cls in SAMPLERS.items() if issubclass(cls, ScoreSampler)]
every = pytest.mark.parametrize("key", SAMPLERS)
scoring = pytest.mark.parametrize("key", SCORING)


def fitted(key, **params):
    """Return a sampler around one and the same trained net."""
    return make_sampler(key, FrozenEstimator(trained_net()), **params).fit(X, y)


# --- picks ----------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("n_instances", [1, 2, 7, len(POOL), np.int64(3)])
def test_indices(key, n_instances):
    indices = fitted(key).query(POOL, n_instances)
    assert indices.dtype == np.intp
    assert indices.shape == (n_instances,)
    assert len(set(indices) & set(range(len(POOL)))) == n_instances


@every
def test_one_instance_is_the_default(key):
    assert fitted(key).query(POOL).shape == (1,)


@scoring
def test_best_first(key):
    sampler = fitted(key)
    scores = sampler.score_samples(POOL)
    indices, picked = sampler.query(POOL, 9, return_scores=True)
    assert scores.dtype == picked.dtype == np.float64
    assert indices.tolist() == np.argsort(-scores, kind="stable")[:9].tolist()
    assert picked.tolist() == scores[indices].tolist()


@scoring
def test_ties_by_lower_position(key):
    net = make_net(nn.Linear, module__in_features=4, module__out_features=3).fit(X.astype("float32"), y)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(X.astype("float32"), y)
    assert sampler.query(np.zeros((40, 4), "float32"), 30).tolist() == list(range(30))


@every
def test_scores_are_nan_where_there_are_none(key):
    _, scores = fitted(key).query(POOL, 3, return_scores=True)
    assert np.isnan(scores).all() == (key not in SCORING)


@scoring
@pytest.mark.parametrize(
    "dtype, cuts, rtol",
    [
        (torch.float64, [0, 1, 3, 20, 41], 1e-10),
        (torch.float32, [0, 1, 3, 20, 41], 1e-5),
        (torch.float32, [0, 8, 32, 41], 0),  # multiples of batch_size
        (torch.float64, [0, 16, 24, 41], 0),
    ],
)
def test_a_pool_is_scored_in_any_pieces(key, dtype, cuts, rtol):
    data = X.astype(str(dtype)[6:]), POOL.astype(str(dtype)[6:])
    net = make_net(module__dtype=dtype, max_epochs=20).fit(data[0], y)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(data[0], y)
    whole = sampler.score_samples(data[1])
    pieces = np.concatenate([sampler.score_samples(data[1][a:b]) for a, b in zip(cuts, cuts[1:])])
    np.testing.assert_allclose(pieces, whole, rtol=rtol, atol=rtol * np.abs(whole).max())


# --- who may ask ----------------------------------------------------------------------------------

ASKERS = {
    "sampler": lambda net: (make_sampler("random", FrozenEstimator(net)).fit(X, y), {}),
    "net": lambda net: (net, {"X_labeled": X, "y_labeled": y}),
    "frozen": lambda net: (FrozenEstimator(net), {"X_labeled": X, "y_labeled": y}),
    "learner": lambda net: (ActiveLearner(FrozenEstimator(net), X_training=X, y_training=y), {}),
    "given first": lambda net: (
        ActiveLearner(FrozenEstimator(net), X_training=X[:9], y_training=y[:9]),
        {"X_labeled": X, "y_labeled": y},
    ),
}


@every
@pytest.mark.parametrize("asker", ASKERS)
def test_call_is_query(key, asker):
    classifier, labeled = ASKERS[asker](trained_net())
    indices = make_sampler(key)(classifier, POOL, 5, **labeled)
    assert indices.dtype == np.intp
    assert indices.tolist() == fitted(key).query(POOL, 5).tolist()


@every
def test_function_is_call(key):
    function = getattr(skdal.samplers, f"{key}_sampling")
    labeled = {"X_labeled": X, "y_labeled": y}
    actual = function(trained_net(), POOL, 5, **labeled, random_state=4, verbose=0)
    assert actual.tolist() == SAMPLERS[key](random_state=4)(trained_net(), POOL, 5, **labeled).tolist()
    assert function.__name__ == f"{key}_sampling"
    assert pickle.loads(pickle.dumps(function)) is function


@every
def test_call_trains_nothing_and_stores_nothing(key):
    sampler, net = make_sampler(key), trained_net()
    before = snapshot(net), vars(sampler).copy()
    sampler(net, POOL, 3, X_labeled=X, y_labeled=y)
    assert (snapshot(net), vars(sampler)) == before


# --- chance ---------------------------------------------------------------------------------------


@every
def test_same_seed_same_picks(key):
    runs = [[], []]
    for picks in runs:
        sampler = make_sampler(key, make_net(), random_state=3)
        for n in (12, 20, 30):
            picks.append(sampler.fit(X[:n], y[:n]).query(POOL, 4).tolist())
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
    if key in SCORING:
        sampler.score_samples(POOL)
    assert global_rng() == before


@every
@pytest.mark.parametrize("random_state", [None, 0])
def test_a_query_never_changes_what_training_does_next(key, random_state):
    results = []
    for queries in (0, 2):
        torch.manual_seed(5)
        sampler = make_sampler(key, make_net(), random_state=random_state).fit(X[:20], y[:20])
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
    parameters = inspect.signature(SAMPLERS[key]).parameters
    assert list(parameters)[0] == "estimator"
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "estimator")
    assert SAMPLERS[key]().get_params() == {name: p.default for name, p in parameters.items()}


@every
def test_clone_has_parameters_only(key):
    sampler = make_sampler(key, make_net(), verbose=0, random_state=7).fit(X, y)
    copy = clone(sampler)
    assert not hasattr(copy, "estimator_")
    assert not copy.estimator.initialized_
    assert (copy.random_state, copy.estimator.lr) == (7, SETTINGS["lr"])


@every
def test_pickle(key):
    sampler = make_sampler(key, make_net()).fit(X, y)
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy.query(POOL, 6).tolist() == sampler.query(POOL, 6).tolist()
    assert weights(copy.fit(X, y).estimator_) == weights(sampler.fit(X, y).estimator_)


@every
def test_it_is_the_classifier_that_it_trained(key):
    sampler = make_sampler(key, make_net()).fit(X, y)
    net = sampler.estimator_
    assert sampler.predict(POOL).tolist() == net.predict(POOL).tolist()
    assert sampler.predict_proba(POOL).tolist() == net.predict_proba(POOL).tolist()
    assert (sampler.score(X, y), sampler.classes_.tolist()) == (net.score(X, y), [0, 1, 2])


@every
def test_a_bar_counts_samples(key, capsys):
    sampler = fitted(key, verbose=1)
    capsys.readouterr()
    sampler.query(POOL, 4)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert (f"{len(POOL)}/{len(POOL)}" in shown.err and "samples/s" in shown.err) == (key in SCORING)


@every
def test_silent_by_default(key, capsys):
    fitted(key).query(POOL, 4)
    assert capsys.readouterr() == ("", "")
