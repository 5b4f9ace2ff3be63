"""Rounds of training: callbacks begin anew, no round loads what an earlier one stored, module
instances start alike."""

import pickle

import numpy as np
import pytest
import torch
from common import (
    POOL,
    Mlp,
    POOL_y,
    X,
    make_net,
    make_sampler,
    plain,
    snapshot,
    weights,
    y,
)
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    Initializer,
    LoadInitState,
    LRScheduler,
    ProgressBar,
)
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from test_training import loops, net_of
from torch import nn

from skdal import ActiveLearner, DynamicALSampler, dynamical_sampling
from skdal.exceptions import (
    CrossSampleLayerError,
    DivergedTrainingError,
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
)
from skdal.samplers import margin_sampling

VALID = predefined_split(Dataset(POOL, POOL_y))
ROUNDS = (15, 20, 22, 30)


def weights_after_each_round(run):
    states = []
    for n in ROUNDS:
        run.fit(n)
        states.append(weights(net_of(run.trained)))
    return states


# --- callbacks ------------------------------------------------------------------------------------


@loops
@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize("reset_optimizer", [True, False])
@pytest.mark.parametrize("event_name", ["event_cp", None])
def test_a_checkpoint_loads_the_best_of_its_own_round(
    loop, warm_start, reset_optimizer, event_name, tmp_path
):
    checkpoint = Checkpoint(dirname=tmp_path, load_best=True, event_name=event_name)
    wrong = predefined_split(
        Dataset(POOL, (POOL_y + 1) % 3)
    )  # so each round is worse than the one before
    net = make_net(train_split=wrong, callbacks=[checkpoint], max_epochs=4, lr=0.1)
    run = loop(net, warm_start=warm_start, reset_optimizer=reset_optimizer)
    states = weights_after_each_round(run)
    assert len({str(state) for state in states}) == len(ROUNDS)
    assert not any(
        "skdal" in name for row in net_of(run.trained).history for name in row
    )


@loops
@pytest.mark.parametrize("warm_start", [True, False])
def test_a_checkpoint_that_stored_nothing_loads_nothing(loop, warm_start, tmp_path):
    """Its monitor is never true in the later rounds, as with a loss that is NaN."""
    checkpoint = Checkpoint(
        monitor=FirstRound(), dirname=tmp_path, load_best=True, f_history=None
    )
    run = loop(make_net(callbacks=[checkpoint]), warm_start=warm_start)
    run.fit(15)
    stored = plain(torch.load(tmp_path / "params.pt"))
    FirstRound.is_over = True
    try:
        with pytest.warns(UserWarning, match="stored nothing in this training"):
            run.fit(20)
    finally:
        FirstRound.is_over = False
    assert weights(net_of(run.trained)) != stored
    assert checkpoint_of(run).load_best


class FirstRound:
    """A monitor that is true until it is told otherwise."""

    is_over = False

    def __call__(self, net):
        return not self.is_over


def checkpoint_of(run):
    return next(
        callback
        for _, callback in net_of(run.trained).callbacks_
        if isinstance(callback, Checkpoint)
    )


@loops
@pytest.mark.parametrize("reset_optimizer", [True, False])
def test_best_scores_are_those_of_the_round(loop, reset_optimizer):
    run = loop(
        make_net(train_split=VALID, max_epochs=3, lr=0.0),
        reset_optimizer=reset_optimizer,
    )
    run.fit(15)
    run.fit(30)
    history = net_of(run.trained).history
    for name in ("valid_loss_best", "valid_acc_best", "train_loss_best"):
        assert history[0, name]
        assert history[3, name], name
    assert history[:, "epoch"] == [1, 2, 3, 4, 5, 6]


@loops
@pytest.mark.parametrize("reset_optimizer", [True, False])
def test_early_stopping_counts_anew(loop, reset_optimizer):
    stopping = EarlyStopping(monitor="train_loss", patience=2)
    run = loop(
        make_net(
            callbacks=[stopping],
            max_epochs=9,
            lr=0.0,
            iterator_train__shuffle=False,
            module=still_mlp,
        )
    )
    for n in (
        15,
        15,
        15,
    ):  # the loss never falls: an epoch to begin with, and two without success
        run.owner.fit(X[:n], y[:n])
    assert len(net_of(run.trained).history) == 9


def still_mlp():
    """Return a module whose losses do not change where it learns nothing."""
    return nn.Linear(4, 3).double()


class Counter(Callback):
    """What skorch's documentation recommends: state is set in `initialize`."""

    def initialize(self):
        self.n_epochs_ = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs_ += 1


class Recorder(Counter):
    """A recorder of all rounds."""

    keeps_state_over_rounds = True


@loops
@pytest.mark.parametrize("given", ["instance", "class"])
@pytest.mark.parametrize("kind, n_epochs", [(Counter, 2), (Recorder, 6)])
def test_counters_begin_anew_but_for_those_that_keep_their_state(
    loop, given, kind, n_epochs
):
    run = loop(make_net(callbacks=[("own", kind if given == "class" else kind())]))
    for n in ROUNDS[:3]:
        run.fit(n)
    assert dict(net_of(run.trained).callbacks_)["own"].n_epochs_ == n_epochs


def test_a_recorder_goes_on_where_a_learner_starts_from_scratch():
    recorder = Recorder()
    learner = ActiveLearner(
        make_net(callbacks=[recorder]),
        warm_start=False,
        X_training=X[:15],
        y_training=y[:15],
    )
    learner.teach(X[15:], y[15:])
    assert recorder.n_epochs_ == 4


@loops
def test_an_initializer_makes_the_first_weights_alone(loop):
    run = loop(
        make_net(
            callbacks=[
                Initializer("head.weight", fn=lambda w: nn.init.constant_(w, 0.25))
            ],
            lr=0.0,
        )
    )
    run.fit(15)
    net = net_of(run.trained)
    assert (net.module_.head.weight == 0.25).all()
    with torch.no_grad():
        net.module_.head.weight += 1
    run.fit(20)
    assert (net.module_.head.weight == 1.25).all()
    assert any(isinstance(callback, Initializer) for _, callback in net.callbacks_)


def test_a_state_is_loaded_once(tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path)
    make_net(callbacks=[checkpoint], lr=0.0).fit(
        X, y
    )  # the stored optimizer has a rate of its own
    stored = plain(torch.load(tmp_path / "params.pt"))
    later = Checkpoint(monitor=None, dirname=tmp_path)
    sampler = make_sampler("margin", make_net(callbacks=[LoadInitState(later)], lr=0.0))
    sampler.fit(X[:15], y[:15])
    assert plain(sampler.estimator_.module_.head.weight) == stored["head.weight"]
    with torch.no_grad():
        sampler.estimator_.module_.head.weight += 1
    changed = plain(sampler.estimator_.module_.head.weight)
    sampler.fit(X[:20], y[:20])
    assert plain(sampler.estimator_.module_.head.weight) == changed


@loops
def test_a_freezer_freezes_in_each_round(loop):
    run = loop(make_net(callbacks=[Freezer("head.*")]))
    run.fit(15)
    frozen = plain(net_of(run.trained).module_.head.weight)
    run.fit(20)
    assert plain(net_of(run.trained).module_.head.weight) == frozen


@loops
def test_a_schedule_goes_on_with_its_optimizer_as_in_skorch(loop):
    def make():
        return make_net(callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5)])

    run = loop(make(), reset_optimizer=False)
    run.fit(15)
    run.fit(20)
    expected = make().fit(X[:15], y[:15]).partial_fit(X[:20], y[:20])
    assert net_of(run.trained).history[:, "event_lr"] == expected.history[:, "event_lr"]


@loops
@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize(
    "callbacks",
    [
        None,
        "disable",
        [ProgressBar(), ("acc", EpochScoring("accuracy", name="acc", on_train=True))],
    ],
)
def test_nothing_of_ours_stays_among_the_callbacks(loop, warm_start, callbacks):
    run = loop(make_net(callbacks=callbacks), warm_start=warm_start)
    fresh = make_net(callbacks=callbacks).initialize()
    for n in (15, 20):
        run.fit(n)
        net = net_of(run.trained)
        assert [name for name, _ in net.callbacks_] == [
            name for name, _ in fresh.callbacks_
        ]
        assert set(vars(net)) - {"classes_inferred_"} == set(vars(fresh))
        assert type(net.callbacks) is type(callbacks)


@loops
def test_an_interrupt_is_seen_where_callbacks_are_disabled(loop):
    class Interrupted(Mlp):
        def forward(self, x):
            if self.training:
                raise KeyboardInterrupt
            return super().forward(x)

    run = loop(make_net(module=Interrupted, callbacks="disable"))
    with pytest.raises(KeyboardInterrupt):
        run.fit(15)


def interrupt_at(moment):
    class Interrupt(Callback):
        pass

    def raise_it(self, net, **kwargs):
        raise KeyboardInterrupt

    setattr(Interrupt, moment, raise_it)
    return Interrupt()


@loops
@pytest.mark.parametrize(
    "moment", ["on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end"]
)
@pytest.mark.parametrize("max_epochs", [1, 2])
def test_an_interrupt_is_seen_at_any_moment(loop, moment, max_epochs):
    run = loop(make_net(callbacks=[interrupt_at(moment)], max_epochs=max_epochs))
    with pytest.raises(KeyboardInterrupt):
        run.fit(15)


class UnreadableOnce(torch.utils.data.Dataset):
    """A Dataset in the reading of which Ctrl-C comes."""

    def __len__(self):
        return 15

    def __getitem__(self, i):
        if i == 14 and not torch.is_inference_mode_enabled():
            raise KeyboardInterrupt
        return X[i], int(y[i])


def test_an_interrupt_is_seen_while_data_are_read():
    with pytest.raises(KeyboardInterrupt):
        make_sampler("margin", make_net()).fit(UnreadableOnce())


class TwoPhases(NeuralNetClassifier):
    """A training loop of one's own, which does fewer epochs than it is told."""

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        return super().fit_loop(X, y, epochs=1, **fit_params)


@loops
def test_a_training_loop_of_ones_own_is_no_interrupt(loop):
    run = loop(make_net(cls=TwoPhases))
    run.fit(15)
    assert len(net_of(run.trained).history) == 1


@loops
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float64])
def test_labels_of_a_dataset_may_be_of_any_integers(loop, dtype):
    runs = []
    for labels in (y[:15], y[:15].astype(dtype)):
        torch.manual_seed(0)
        run = loop(make_net())
        run.owner.fit(Dataset(X[:15], labels))
        runs.append(weights(net_of(run.trained)))
    assert runs[0] == runs[1]


# --- module instances -----------------------------------------------------------------------------


class Starts(Callback):
    """Keeps the weights and buffers at the beginning of each training."""

    found = []

    def on_train_begin(self, net, **kwargs):
        self.found.append(plain(net.module_.state_dict()))


class WithBuffers(Mlp):
    """With a buffer that is not stored, and one that is."""

    def __init__(self):
        super().__init__()
        self.register_buffer("n_calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.n_calls += 1
        return super().forward(x)


@loops
@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: make_pipeline(StandardScaler(), net)]
)
def test_a_cold_fit_of_a_module_instance_starts_from_its_own_weights(
    loop, wrap, monkeypatch
):
    monkeypatch.setattr(Starts, "found", [])
    module = WithBuffers()
    passed = plain(module.state_dict())
    run = loop(
        wrap(make_net(module=module, callbacks=[Starts(), Freezer("head.*")])),
        warm_start=False,
    )
    for n in ROUNDS:
        run.fit(n)
    assert len(Starts.found) == len(ROUNDS)
    assert all(found == passed for found in Starts.found)
    net = net_of(run.trained)
    assert weights(net) != passed
    assert (net.module_ is module) == isinstance(run.owner, ActiveLearner)


@loops
def test_a_cold_fit_of_a_module_class_starts_anew(loop, monkeypatch):
    monkeypatch.setattr(Starts, "found", [])
    run = loop(make_net(callbacks=[Starts()]), warm_start=False)
    for n in ROUNDS:
        run.fit(n)
    assert len({str(found) for found in Starts.found}) == len(ROUNDS)


def test_the_weights_are_those_of_when_the_net_was_passed(monkeypatch):
    monkeypatch.setattr(Starts, "found", [])
    net = make_net(module=Mlp(), callbacks=[Starts()]).fit(X, y)
    passed = weights(net)
    learner = ActiveLearner(net, warm_start=False)
    for _ in range(2):
        learner.fit(X, y)
    assert [found == passed for found in Starts.found] == [False, True, True]


def test_a_module_instance_that_skorch_makes_anew_has_no_weights_of_its_own(
    monkeypatch,
):
    monkeypatch.setattr(Starts, "found", [])
    net = make_net(
        module=nn.Linear(2, 3),
        module__in_features=4,
        module__out_features=3,
        module__dtype=torch.float64,
    )
    net.set_params(callbacks=[Starts()])
    learner = ActiveLearner(net, warm_start=False)
    for _ in range(2):
        learner.fit(X, y)
    assert Starts.found[0] != Starts.found[1]


def test_another_instance_starts_from_its_own(monkeypatch):
    monkeypatch.setattr(Starts, "found", [])
    learner = ActiveLearner(
        make_net(module=Mlp(), callbacks=[Starts()]), warm_start=False
    )
    learner.fit(X, y)
    other = Mlp()
    passed = plain(other.state_dict())
    learner.estimator.set_params(module=other)
    for _ in range(2):
        learner.fit(X, y)
    assert Starts.found[-1] == passed


def test_a_lazy_instance_starts_anew(monkeypatch):
    learner = ActiveLearner(
        make_net(module=nn.LazyLinear(3, dtype=torch.float64), lr=0.0), warm_start=False
    )
    starts = []
    for _ in range(2):
        learner.fit(X, y)
        starts.append(weights(learner.estimator))
    assert starts[0] != starts[1]


def test_a_frozen_net_keeps_its_weights():
    net = make_net(module=Mlp()).fit(X, y)
    found = weights(net)
    pipeline = make_pipeline(StandardScaler(), FrozenEstimator(net))
    learner = ActiveLearner(pipeline, warm_start=False)
    with torch.no_grad():
        net.module_.head.weight += 1
    learner.fit(X, y)
    assert np.allclose(weights(net)["head.weight"], np.array(found["head.weight"]) + 1)


# --- divergence -----------------------------------------------------------------------------------


@loops
@pytest.mark.parametrize("damage", ["learning rate", "sample"])
def test_a_training_that_diverges_is_undone(loop, damage):
    run = loop(make_net(optimizer=torch.optim.SGD))
    run.fit(15)
    before = snapshot(run.trained)
    rows = X.copy()
    if damage == "sample":
        rows[20, 1] = np.nan
    else:
        run.trained.set_params(lr=np.inf)
    teach = run.owner.teach if isinstance(run.owner, ActiveLearner) else run.owner.fit
    part = slice(15, None) if isinstance(run.owner, ActiveLearner) else slice(None)
    with pytest.raises(
        DivergedTrainingError, match="Lower the learning rate, or look for NaN"
    ):
        teach(rows[part], y[part])
    run.trained.set_params(lr=0.01)
    assert weights(run.trained) == before["state"]
    run.fit(30)
    assert run.n_labeled == 30


@loops
def test_a_mini_batch_of_one_in_training_is_told_of_with_a_remedy(loop):
    run = loop(make_net())
    with pytest.raises(
        InvalidDataError,
        match="mini-batch of one sample, .*iterator_train__drop_last=True",
    ):
        run.fit(17)  # mini-batches of eight, and batch normalization
    run = loop(make_net(iterator_train__drop_last=True))
    run.fit(17)
    assert run.n_labeled == 17


@pytest.mark.parametrize("labels", [y.astype(str), y[:5], np.where(y == 0, np.nan, y)])
def test_a_frozen_net_is_given_labels_that_can_be_some(labels):
    with pytest.raises(InvalidLabelsError):
        make_sampler("margin", FrozenEstimator(make_net().fit(X, y))).fit(X, labels)


@pytest.mark.parametrize("change", ["head", "layer"])
def test_a_module_that_has_changed_since_is_refused_by_name(change):
    module = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)).double()
    learner = ActiveLearner(make_net(module=module), warm_start=False)
    learner.fit(X, y)
    if change == "head":
        module[1] = nn.Linear(5, 4).double()
    else:
        module.append(nn.Linear(3, 3).double())
    with pytest.raises(
        InvalidParameterError,
        match="its parameters are others since: .*Make a new learner",
    ):
        learner.fit(X, y)
    ActiveLearner(make_net(module=module), warm_start=False).fit(X, y)


@pytest.mark.parametrize("strategy", [dynamical_sampling, DynamicALSampler()])
def test_a_learner_asks_its_strategy_before_it_trains(strategy):
    module = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)
    ).double()
    with pytest.raises(CrossSampleLayerError):
        ActiveLearner(make_net(module=module), strategy, X, y)
    ActiveLearner(make_net(module=module), margin_sampling, X, y)


# --- copies, and what an error undoes -------------------------------------------------------------


def test_a_net_that_was_pickled_in_training_is_trained_again(tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None, f_pickle="net.pkl")
    make_sampler("margin", make_net(callbacks=[checkpoint])).fit(X, y)
    net = pickle.loads((tmp_path / "net.pkl").read_bytes())
    learner = ActiveLearner(net, margin_sampling, X, y)
    assert [type(callback) for callback in learner.estimator.callbacks] == [Checkpoint]


def test_a_clone_of_a_learner_starts_where_the_learner_did():
    module = Mlp()
    passed = plain(module.state_dict())
    learner = ActiveLearner(
        make_net(module=module), margin_sampling, X, y, warm_start=False
    )
    assert plain(clone(learner).estimator.module.state_dict()) == passed
    assert weights(learner.estimator) != passed


class Failing(Callback):
    """A recorder that fails when it is told to."""

    keeps_state_over_rounds = True

    def __init__(self):
        self.losses = []
        self.fails = False

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1, "train_loss"])
        if self.fails:
            raise RuntimeError


class CountedInTraining(WithBuffers):
    """Its buffer changes in training alone."""

    def forward(self, x):
        before = self.n_calls.clone()
        outputs = super().forward(x)
        if not self.training:
            self.n_calls.copy_(before)
        return outputs


def test_an_error_undoes_freezing_buffers_and_records():
    recorder = Failing()
    learner = ActiveLearner(
        make_net(module=CountedInTraining(), callbacks=[recorder]),
        margin_sampling,
        X[:20],
        y[:20],
    )
    net = learner.estimator
    found = (
        list(recorder.losses),
        float(net.module_.n_calls),
        [p.requires_grad for p in net.module_.parameters()],
    )
    net.set_params(callbacks=[recorder, Freezer("head.*")])
    recorder.fails = True
    with pytest.raises(RuntimeError):
        learner.teach(X[20:], y[20:])
    now = (
        recorder.losses,
        float(net.module_.n_calls),
        [p.requires_grad for p in net.module_.parameters()],
    )
    assert now == found


# --- a fit of a net's own -------------------------------------------------------------------------


class Weighted(NeuralNetClassifier):
    """Takes weights of the samples as a parameter of its fit."""

    def fit(self, X, y, weight=None):
        weight = np.ones(len(X)) if weight is None else weight
        return super().fit({"x": X, "weight": np.asarray(weight)}, y)

    def infer(self, x, **params):
        return super().infer(x["x"] if isinstance(x, dict) else x, **params)

    def get_loss(self, outputs, labels, X=None, training=False):
        losses = nn.functional.cross_entropy(outputs, labels, reduction="none")
        weight = X["weight"] if isinstance(X, dict) else torch.ones(len(labels))
        return (losses * weight.to(losses)).mean() if training else losses


class Counting(NeuralNetClassifier):
    """Sets a parameter of its criterion by what it is trained on, without a parameter of its
    fit."""

    def fit(self, X, y, **fit_params):
        self.set_params(criterion__label_smoothing=len(X) / 100)
        return super().fit(X, y, **fit_params)


class Sized(NeuralNetClassifier):
    """Makes its module for what it is trained on; skorch makes a new one each time."""

    def fit(self, X, y, **fit_params):
        self.set_params(module__n_features=X.shape[1])
        return super().fit(X, y, **fit_params)


class Anew(NeuralNetClassifier):
    """Initializes itself."""

    def fit(self, X, y, **fit_params):
        self.initialize()
        return self.partial_fit(X, y, **fit_params)


def rounds_of(kind, net, **params):
    """Return what trains a net on the first samples, by a sampler or a learner, and gives the
    net."""
    owner = (
        make_sampler("margin", net, random_state=None, **params)
        if kind == "sampler"
        else ActiveLearner(net, margin_sampling, **params)
    )

    def fit(n, **fit_params):
        owner.fit(X[:n], y[:n], **fit_params)
        return owner.estimator_ if kind == "sampler" else owner.estimator

    return fit


both = pytest.mark.parametrize("kind", ["sampler", "learner"])


@both
@pytest.mark.parametrize("reset_optimizer", [True, False])
def test_parameters_of_an_own_fit_count_in_every_round(kind, reset_optimizer):
    """The weights of three rounds are those of skorch alone, with its own warm_start."""
    torch.manual_seed(0)
    fit = rounds_of(kind, make_net(cls=Weighted), reset_optimizer=reset_optimizer)
    for n in (20, 26, 30):
        found = fit(n, weight=np.arange(n) % 3)
    torch.manual_seed(0)
    alone = make_net(cls=Weighted, warm_start=True)
    for n in (20, 26, 30):
        if n > 20 and reset_optimizer:
            alone.initialize_optimizer()
        alone.fit(X[:n], y[:n], weight=np.arange(n) % 3)
    assert weights(found) == weights(alone)
    assert len(found.history) == 6
    assert not found.warm_start


@both
def test_an_own_fit_is_called_in_every_round(kind):
    fit = rounds_of(kind, make_net(cls=Counting))
    for n in (20, 30):
        assert fit(n).criterion_.label_smoothing == n / 100


@both
@pytest.mark.parametrize("cls", [Sized, Anew])
@pytest.mark.parametrize("reset_optimizer", [True, False])
def test_an_own_fit_that_makes_a_new_module_keeps_the_old_one(
    kind, cls, reset_optimizer
):
    fit = rounds_of(kind, make_net(cls=cls), reset_optimizer=reset_optimizer)
    net = fit(20)
    module, optimizer = net.module_, net.optimizer_
    before = {name: plain(p) for name, p in module.named_parameters()}
    n_steps = optimizer.state[module.head.weight]["step"].item()
    assert n_steps == 6
    assert fit(30).module_ is module
    after = {name: plain(p) for name, p in module.named_parameters()}
    assert all(after[name] != before[name] for name in before)
    assert (net.optimizer_ is optimizer) != reset_optimizer
    n_steps = net.optimizer_.state[module.head.weight]["step"].item()
    assert n_steps == (8 if reset_optimizer else 14)
    assert len(net.history) == 4


class Growing(NeuralNetClassifier):
    """Makes another module each time."""

    def fit(self, X, y, **fit_params):
        self.set_params(module__n_classes=len(X))
        return super().fit(X, y, **fit_params)


@both
def test_an_own_fit_that_makes_another_module_is_refused(kind):
    fit = rounds_of(kind, make_net(cls=Growing))
    net = fit(20)
    before = snapshot(net)
    with pytest.raises(InvalidParameterError, match="Growing.*warm_start=False"):
        fit(30)
    assert snapshot(net) == before
