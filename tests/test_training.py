"""Training by samplers and learners: first, further, interrupted."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from common import (
    POOL,
    PROMISES,
    Mlp,
    X,
    assert_same,
    global_rng,
    keys,
    make_net,
    make_sampler,
    plain,
    snapshot,
    trained_net,
    weights,
    y,
)
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from skorch.history import History

from skdal import ActiveLearner


class Sampler:
    """A sampler's loop: `fit` with all labels, each time."""

    def __init__(self, estimator, **params):
        self.owner = make_sampler(
            "margin", estimator, **{"random_state": None, **params}
        )

    def fit(self, n, **fit_params):
        self.owner.fit(X[:n], y[:n], **fit_params)

    query = property(lambda self: self.owner.query)
    trained = property(lambda self: getattr(self.owner, "estimator_", None))
    n_labeled = property(lambda self: len(getattr(self.owner, "X_labeled_", [])))


class Learner:
    """A learner's: `fit` once, then `teach` what is new."""

    def __init__(self, estimator, **params):
        self.owner = ActiveLearner(estimator, **params)

    def fit(self, n, **fit_params):
        a = self.n_labeled
        (self.owner.teach if a else self.owner.fit)(X[a:n], y[a:n], **fit_params)

    query = property(lambda self: self.owner.query)
    trained = property(lambda self: self.owner.estimator)
    n_labeled = property(
        lambda self: 0 if self.owner.X_training is None else len(self.owner.X_training)
    )


loops = pytest.mark.parametrize("loop", [Sampler, Learner])


def net_of(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


# --- first and further ----------------------------------------------------------------------------


def test_a_sampler_trains_a_clone():
    net = make_net()
    sampler = make_sampler("random", net).fit(X, y)
    assert sampler.estimator is net
    assert sampler.estimator_ is not net
    assert not net.initialized_


def test_a_learner_trains_in_place():
    net = make_net()
    ActiveLearner(net, X_training=X, y_training=y)
    assert net.initialized_


@loops
@pytest.mark.parametrize("net_warm_start", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: make_pipeline(StandardScaler(), net)]
)
def test_further_training_continues_the_module(loop, net_warm_start, wrap):
    run = loop(wrap(make_net(warm_start=net_warm_start, lr=0.0)))
    run.fit(20)
    module, before = (
        net_of(run.trained).module_,
        weights(net_of(run.trained))["head.weight"],
    )
    run.fit(30)
    assert net_of(run.trained).module_ is module
    assert weights(net_of(run.trained))["head.weight"] == before
    assert [len(net_of(run.trained).history), run.n_labeled] == [4, 30]


@loops
def test_further_training_trains(loop):
    run = loop(make_net())
    run.fit(20)
    before = weights(run.trained)
    run.fit(30)
    assert weights(run.trained) != before
    assert run.trained.warm_start is False


@loops
@pytest.mark.parametrize(
    "reset_optimizer, steps", [(True, 2 * 4), (False, 2 * 3 + 2 * 4)]
)
def test_the_optimizer_is_reset_or_kept(loop, reset_optimizer, steps):
    run = loop(make_net(), reset_optimizer=reset_optimizer)
    run.fit(20)
    run.fit(30)
    state = run.trained.optimizer_.state_dict()["state"]
    assert {int(of_parameter["step"]) for of_parameter in state.values()} == {steps}


@loops
@pytest.mark.parametrize("net_warm_start", [False, True])
def test_without_warm_start_training_starts_anew(loop, net_warm_start):
    run = loop(make_net(warm_start=net_warm_start), warm_start=False)
    run.fit(20)
    torch.manual_seed(0)
    run.fit(30)
    torch.manual_seed(0)
    assert weights(run.trained) == weights(make_net().fit(X, y))
    assert len(run.trained.history) == 2


@loops
def test_it_is_what_skorch_does(loop):
    run = loop(make_net())
    torch.manual_seed(0)
    run.fit(20)
    run.fit(30)
    torch.manual_seed(0)
    expected = make_net().fit(X[:20], y[:20])
    expected.initialize_optimizer()
    assert weights(run.trained) == weights(expected.partial_fit(X, y))


@loops
def test_callbacks_and_schedulers_go_on(loop):
    run = loop(
        make_net(callbacks=[("lr", LRScheduler("StepLR", step_size=1, gamma=0.5))])
    )
    run.fit(20)
    run.fit(30)
    assert run.trained.history[:, ("epoch", "event_lr")] == [
        (1, 0.01),
        (2, 0.005),
        (3, 0.01),
        (4, 0.005),
    ]


@loops
@pytest.mark.parametrize("dataset", [False, True])
def test_a_callback_may_pickle_the_net(loop, dataset, tmp_path):
    checkpoint = Checkpoint(
        monitor=None, f_pickle="net.pkl", f_history=None, dirname=tmp_path
    )
    run = loop(make_net(callbacks=[("checkpoint", checkpoint)]))
    data = (Dataset(X, y),) if dataset else (X, y)
    run.owner.fit(*data)
    copy = pickle.loads((tmp_path / "net.pkl").read_bytes())
    assert weights(copy) == weights(run.trained)
    assert weights(copy.partial_fit(X, y)) != weights(run.trained)


@loops
def test_earlier_steps_stay_as_first_fitted(loop):
    run = loop(make_pipeline(StandardScaler(), make_net()))
    run.fit(20)
    run.fit(30)
    assert run.trained[0].mean_.tolist() == X[:20].mean(0).tolist()


@loops
def test_earlier_steps_are_refitted_without_warm_start(loop):
    run = loop(make_pipeline(StandardScaler(), make_net()), warm_start=False)
    run.fit(20)
    run.fit(30)
    assert run.trained[0].mean_.tolist() == X.mean(0).tolist()


@loops
@pytest.mark.parametrize(
    "classifier",
    [DummyClassifier(), make_pipeline(StandardScaler(), DummyClassifier())],
)
def test_other_classifiers_are_refitted(loop, classifier):
    run = loop(classifier)
    run.fit(20)
    run.fit(30)
    assert (
        run.trained.predict_proba(X[:1])[0].tolist() == (np.bincount(y) / 30).tolist()
    )


@loops
@pytest.mark.parametrize(
    "estimator, name",
    [
        (make_net(), "epochs"),
        (Pipeline([("scale", StandardScaler()), ("net", make_net())]), "net__epochs"),
    ],
)
def test_fit_parameters_reach_the_net(loop, estimator, name):
    run = loop(clone(estimator))
    run.fit(20, **{name: 5})
    assert len(net_of(run.trained).history) == 5


class SetsSize(Callback):
    """skorch's way to a module as large as its data."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        if net.get_params()["module__n_features"] != X.shape[1]:
            net.set_params(module__n_features=X.shape[1])


class SizedNet(NeuralNetClassifier):
    """The other way."""

    def fit(self, X, y=None, **fit_params):
        self.set_params(module__n_features=X.shape[1])
        return super().fit(X, y, **fit_params)


SIZED = {
    "callback": {"callbacks": [("size", SetsSize())]},
    "subclass": {"cls": SizedNet},
}


@loops
@pytest.mark.parametrize("how", SIZED)
def test_the_net_may_take_its_size_from_the_data(loop, how):
    run = loop(make_net(module__n_features=1, **SIZED[how]))
    run.fit(20)
    module = run.trained.module_
    run.fit(30)
    assert run.trained.module_ is module
    assert module.body[0].in_features == 4


# --- warnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: make_pipeline(StandardScaler(), net)]
)
def test_a_trained_net_passed_bare_is_warned_of(wrap):
    with pytest.warns(UserWarning, match="FrozenEstimator"):
        sampler = make_sampler("random", wrap(trained_net())).fit(X, y)
    assert len(net_of(sampler.estimator_).history) == 2  # a clone's


@loops
@pytest.mark.parametrize(
    "train_split", [ValidSplit(3), lambda dataset, y=None, **kwargs: (dataset, dataset)]
)
def test_labels_held_out_are_warned_of(loop, train_split):
    with pytest.warns(UserWarning, match="train_split=None"):
        loop(make_net(train_split=train_split)).fit(20)


@loops
@pytest.mark.parametrize(
    "train_split", [None, predefined_split(Dataset(POOL, np.zeros(len(POOL), int)))]
)
def test_labels_held_out_by_nobody_are_not(loop, train_split):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(make_net(train_split=train_split)).fit(20)


# --- chance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0)])
def test_training_under_a_seed_is_repeated_and_leaves_the_global_generators_alone(
    random_state,
):
    before, results = global_rng(), []
    for _ in range(2):
        sampler = make_sampler(
            "random", make_net(), random_state=copy.deepcopy(random_state)
        )
        results.append(weights(sampler.fit(X[:20], y[:20]).fit(X, y).estimator_))
    assert results[0] == results[1]
    assert global_rng() == before


def test_fits_under_a_seed_differ():
    sampler = make_sampler("random", make_net(), warm_start=False, random_state=0)
    first = weights(sampler.fit(X, y).estimator_)
    assert weights(sampler.fit(X, y).estimator_) != first


def test_without_a_seed_training_draws_from_the_global_generator():
    torch.manual_seed(2)
    sampler = make_sampler("random", make_net(), random_state=None).fit(X, y)
    torch.manual_seed(2)
    assert weights(sampler.estimator_) == weights(make_net().fit(X, y))


# --- Ctrl-C ---------------------------------------------------------------------------------------


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch, or whatever error is given."""

    error = None
    n_batches_ = 0

    def on_batch_end(self, net, training, **kwargs):
        self.n_batches_ += 1
        if self.error is not None and training and len(net.history[-1]["batches"]) == 2:
            raise self.error


def make_interruptible():
    return make_net(callbacks=[("interrupt", Interrupt())])


ERRORS = [KeyboardInterrupt, RuntimeError]
WRAPS = {
    "net": lambda net: net,
    "pipeline": lambda net: make_pipeline(StandardScaler(), net),
}
interrupted = pytest.mark.parametrize("error", ERRORS)
wrapped = pytest.mark.parametrize("wrap", WRAPS)


def state(owner):
    """Return what a user sees of a sampler or learner."""
    return {
        name: id(value) if name != "n_fits_" else value
        for name, value in vars(owner).items()
    }


@loops
@wrapped
@interrupted
def test_first_training_interrupted(loop, wrap, error, monkeypatch):
    run = loop(WRAPS[wrap](make_interruptible()))
    before, estimator_before = state(run.owner), plain_vars(run.owner.estimator)
    monkeypatch.setattr(Interrupt, "error", error)
    with pytest.raises(error):
        run.fit(20)
    assert_same(
        (state(run.owner), plain_vars(run.owner.estimator)), (before, estimator_before)
    )
    assert run.n_labeled == 0


@loops
@wrapped
@interrupted
@pytest.mark.parametrize("reset_optimizer", [True, False])
def test_further_training_interrupted(loop, wrap, error, reset_optimizer, monkeypatch):
    run = loop(WRAPS[wrap](make_interruptible()), reset_optimizer=reset_optimizer)
    run.fit(20)
    net = net_of(run.trained)
    net.module_.zero_grad()  # what is left of the last training step is of no account
    before = state(run.owner), snapshot(net), plain_vars(run.trained), picks(run)
    monkeypatch.setattr(Interrupt, "error", error)
    with pytest.raises(error):
        run.fit(30)
    net.module_.zero_grad()
    assert_same(
        (state(run.owner), snapshot(net), plain_vars(run.trained), picks(run)), before
    )
    assert run.n_labeled == 20


@loops
def test_training_goes_on_after_an_interrupt_as_if_there_had_been_none(
    loop, monkeypatch
):
    results = []
    for error in (None, KeyboardInterrupt):
        torch.manual_seed(0)
        run = loop(make_interruptible())
        run.fit(20)
        if error:
            monkeypatch.setattr(Interrupt, "error", error)
            with pytest.raises(error):
                run.fit(30)
            monkeypatch.undo()
        torch.manual_seed(1)
        run.fit(30)
        results.append(weights(run.trained))
    assert results[0] == results[1]


class InterruptedClassifier(DummyClassifier):
    """A classifier that is no net, and Ctrl-C in the middle of its fit."""

    def fit(self, X, y):
        super().fit(X, y)
        if Interrupt.error is not None:
            raise Interrupt.error
        return self


@loops
@pytest.mark.parametrize("wrap", WRAPS)
def test_other_classifiers_interrupted(loop, wrap, monkeypatch):
    run = loop(WRAPS[wrap](InterruptedClassifier()))
    run.fit(20)
    before = (
        state(run.owner),
        plain_vars(run.trained),
        run.trained.predict_proba(POOL).tolist(),
    )
    monkeypatch.setattr(Interrupt, "error", KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run.fit(30)
    assert_same(
        (
            state(run.owner),
            plain_vars(run.trained),
            run.trained.predict_proba(POOL).tolist(),
        ),
        before,
    )


def plain_vars(estimator):
    """Return the attributes of an estimator and of its steps, by value where they may be copies,
    else by identity."""
    steps = (
        [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    )
    by_value = {dict: sorted, list: plain, History: plain, np.ndarray: plain}
    own = {
        name: by_value.get(type(value), id)(value)
        for name, value in vars(estimator).items()
    }
    return [own, *map(plain_vars, steps)]


def picks(run):
    result = run.query(POOL, n_instances=5)
    return plain(result[0] if isinstance(result, tuple) else result)


class InterruptedMlp(Mlp):
    """Ctrl-C in a forward pass."""

    after = None

    def forward(self, x):
        if self.after is not None:
            type(self).after -= 1
            if self.after < 0:
                raise KeyboardInterrupt
        return super().forward(x)


QUERIES = {
    "query": lambda sampler: sampler.query(POOL, 3),
    "interaction": lambda sampler: sampler.set_params(
        interaction=1.0, update_size=2
    ).query(POOL, 5),
    "score_samples": lambda sampler: sampler.score_samples(POOL),
    "call": lambda sampler: sampler(sampler, POOL, 3),
    "learner": lambda sampler: ActiveLearner(
        sampler.estimator_, sampler, X_training=X, y_training=y
    ).query(POOL),
}


@pytest.mark.parametrize("backend", ["ghost", "functorch", "backpack", "loop"])
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("after", [0, 2, 7])
def test_a_query_interrupted(backend, query, after, monkeypatch):
    net = trained_net(module=InterruptedMlp)
    sampler = make_sampler("dynamical", FrozenEstimator(net), backend=backend).fit(X, y)
    before = snapshot(net), sorted(vars(sampler)), global_rng()
    monkeypatch.setattr(InterruptedMlp, "after", after)
    with pytest.raises(KeyboardInterrupt):
        QUERIES[query](sampler)
    assert_same((snapshot(net), sorted(vars(sampler)), global_rng()), before)


MOMENTS = [
    *((key, 0) for key in keys(PROMISES, looks=True)),
    *((key, 2) for key in keys(looks=True, batch_size=8)),
]


@pytest.mark.parametrize("key, after", MOMENTS)
def test_a_query_of_any_sampler_interrupted(key, after, monkeypatch):
    net = trained_net(module=InterruptedMlp)
    sampler = make_sampler(key, FrozenEstimator(net)).fit(X, y)
    before = snapshot(net), state(sampler), global_rng()
    monkeypatch.setattr(InterruptedMlp, "after", after)
    with pytest.raises(KeyboardInterrupt):
        sampler.query(POOL, 3)
    assert_same((snapshot(net), state(sampler), global_rng()), before)
