"""Several threads ask, predict and train at a time: everyone gets the answer that is got alone."""

import os
import pickle
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from common import (
    PROMISES,
    X,
    assert_same,
    global_rng,
    make_net,
    make_sampler,
    snapshot,
    weights,
    y,
)
from lanes import slow_unless
from torch import nn

from skdal import ActiveLearner, DynamicALSampler
from skdal.gradients import gradient_statistics
from skdal.utils import exclusive, turns

N_THREADS, N_QUERIES = 4, 100
rng = np.random.default_rng(0)
POOLS = [rng.normal(size=(24, 4)) for _ in range(N_THREADS)]


@pytest.fixture(autouse=True)
def impatient():
    """Let threads take turns a thousand times a second."""
    found = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(found)


def ask_at_once(questions):
    """Return how many of the answers of many threads are not those that each question gets
    alone."""
    alone = [ask() for ask in questions]
    n_wrong = 0
    with ThreadPoolExecutor(N_THREADS) as threads:
        answers = [
            threads.submit(ask)
            for _ in range(N_QUERIES // len(questions))
            for ask in questions
        ]
        for answer, expected in zip(answers, alone * (N_QUERIES // len(questions))):
            n_wrong += not np.array_equal(answer.result(), expected)
    return n_wrong


USUAL = ["dynamical", "margin", "coreset", "albl"]


@pytest.mark.parametrize("key", [slow_unless(key in USUAL, key) for key in PROMISES])
def test_queries_at_once(key):
    sampler = make_sampler(key, make_net()).fit(X, y)
    before = snapshot(sampler.estimator_), global_rng()
    assert not ask_at_once([lambda pool=pool: sampler.query(pool, 5) for pool in POOLS])
    assert_same((snapshot(sampler.estimator_), global_rng()), before)


def test_two_samplers_over_two_nets():
    samplers = [
        make_sampler(key, make_net(), random_state=i).fit(X, y)
        for i, key in enumerate(["egl", "mc_dropout"])
    ]
    assert not ask_at_once(
        [
            lambda s=s, pool=pool: s.query(pool, 5)
            for s in samplers
            for pool in POOLS[:2]
        ]
    )


def test_two_samplers_over_one_net():
    net = make_net().fit(X, y)
    samplers = [make_sampler("dynamical"), make_sampler("badge")]

    def ask(s, pool):
        return s(net, pool, 5, X_labeled=X, y_labeled=y)

    assert not ask_at_once(
        [lambda s=s, pool=pool: ask(s, pool) for s in samplers for pool in POOLS[:2]]
    )


def test_predictions_and_statistics_beside_queries():
    sampler = make_sampler("dynamical", make_net()).fit(X, y)
    net = sampler.estimator_
    questions = [
        lambda: sampler.query(POOLS[0], 5),
        lambda: sampler.predict_proba(POOLS[1]),
        lambda: sampler.score_samples(POOLS[2]),
        lambda: gradient_statistics(net, POOLS[3]).sq_norm,
    ]
    assert not ask_at_once(questions)


class Slow(nn.Module):
    """A module that is trained slowly, and tells whether it is asked to predict while it is
    trained."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3).double()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        mode = self.training
        time.sleep(1e-3)
        assert self.training == mode, "another thread changed the mode"
        return self.layer(self.drop(x))


def test_queries_and_predictions_beside_a_fit():
    """Each answer is one of before or after the fit, and the fit is what it is alone."""

    def make():
        return make_sampler("dynamical", make_net(module=Slow, max_epochs=3)).fit(
            X[:20], y[:20]
        )

    alone = make()
    answers = [
        (alone.query(POOLS[0], 5).tolist(), alone.predict_proba(POOLS[1]).tolist())
    ]
    alone.fit(X, y)
    answers.append(
        (alone.query(POOLS[0], 5).tolist(), alone.predict_proba(POOLS[1]).tolist())
    )
    sampler = make()
    queries, predictions = [], []
    with ThreadPoolExecutor(3) as threads:
        fit = threads.submit(sampler.fit, X, y)
        while not fit.done():
            asked = (
                threads.submit(sampler.query, POOLS[0], 5),
                threads.submit(sampler.predict_proba, POOLS[1]),
            )
            queries.append(asked[0].result().tolist())
            predictions.append(asked[1].result().tolist())
        fit.result()
    assert all(query in [query for query, _ in answers] for query in queries)
    assert all(proba in [proba for _, proba in answers] for proba in predictions)
    assert sampler.predict_proba(POOLS[1]).tolist() == answers[1][1]


def test_a_seeded_fit_beside_predictions_of_another_net():
    """A DataLoader draws from the global generator, which a seeded training draws from, too."""
    other = make_sampler("margin", make_net()).fit(X, y)

    def trained():
        return weights(
            make_sampler("margin", make_net(module=Slow, max_epochs=2))
            .fit(X, y)
            .estimator_
        )

    alone = trained()
    with ThreadPoolExecutor(2) as threads:
        fit = threads.submit(trained)
        while not fit.done():
            other.predict_proba(POOLS[0])
    assert fit.result() == alone


WRAPS = {
    "DataParallel": nn.DataParallel,
    "compiled": lambda module: torch.compile(module, backend="eager"),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_module_has_one_lock_however_it_is_wrapped(wrap):
    module, order = nn.Linear(1, 1), []
    wrapped = WRAPS[wrap](module)
    with turns(module):
        other = threading.Thread(target=lambda: _note(wrapped, order))
        other.start()
        time.sleep(0.05)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_teaching_beside_queries():
    """Labeled set and weights of a query belong together: a labeled gradient of half a round would
    be another."""
    learner = ActiveLearner(make_net(), DynamicALSampler(batch_size=8), X[:10], y[:10])
    errors = []

    def ask():
        while len(learner.X_training) < 30:
            try:
                learner.query(POOLS[0], n_instances=5)
            except Exception as error:
                errors.append(error)
                return

    asking = threading.Thread(target=ask)
    asking.start()
    for start in range(10, 30, 4):
        learner.teach(X[start : start + 4], y[start : start + 4])
    asking.join()
    assert errors == []


def test_samplers_that_were_asked_are_pickled():
    sampler = make_sampler("dynamical", make_net()).fit(X, y)
    picks = sampler.query(POOLS[0], 5)
    assert np.array_equal(pickle.loads(pickle.dumps(sampler)).query(POOLS[0], 5), picks)


def test_locks_are_nested_and_wait():
    module, order = nn.Linear(1, 1), []
    with exclusive(), turns(module), exclusive(), turns(module), turns(None):
        other = threading.Thread(target=lambda: _note(module, order))
        other.start()
        time.sleep(0.05)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def _note(module, order):
    with turns(module):
        order.append("second")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_locks_of_its_own():
    held, done = threading.Event(), threading.Event()

    def hold():
        with exclusive():
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python's own, of forks with threads
        child = os.fork()
    if child == 0:
        with exclusive():
            os._exit(7)
    deadline = time.monotonic() + 20
    status = (0, 0)
    while status[0] == 0 and time.monotonic() < deadline:
        status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    done.set()
    holder.join()
    if status[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert (status[0], os.waitstatus_to_exitcode(status[1])) == (child, 7)
