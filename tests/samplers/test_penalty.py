"""The L2 penalty in g_S: what training minimizes, and where it comes to rest, by hand."""

import copy
import inspect
import logging
import pickle

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, make_sampler, trained_net, y
from needs import needs
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import TensorDataset

from skdal import DynamicALSampler
from skdal.adapters import _penalty, packed
from skdal.exceptions import UnsupportedEstimatorError
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.models import MODELS
from skdal.parallel import SerialExecutor
from skdal.samplers import dynamical_sampling


@pytest.fixture(autouse=True)
def said(caplog):
    """What is said in the log, from the start of a test."""
    _penalty._say_once.cache_clear()
    caplog.set_level(logging.WARNING, "skdal")
    return caplog


class Halves(nn.Module):
    """A linear classifier in two parts, so that the loss is convex."""

    def __init__(self, nonlinearity=None):
        super().__init__()
        self.first, self.second = (
            nn.Linear(2, 3).double(),
            nn.Linear(2, 3, bias=False).double(),
        )
        self.nonlinearity = nonlinearity or nn.Identity()

    def forward(self, x):
        return self.nonlinearity(self.first(x[:, :2]) + self.second(x[:, 2:]))


WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
GROUPS = [
    ("first.weight", {"weight_decay": 0.02}),
    ("second.*", {"weight_decay": 0.05}),
]  # the bias has none
DECAYS = {"first.weight": 0.02, "first.bias": 0.0, "second.weight": 0.05}
SGD = {
    "module": Halves,
    "optimizer": torch.optim.SGD,
    "optimizer__param_groups": GROUPS,
    "batch_size": -1,
}


class OneHot(nn.Module):
    """A criterion of one's own whose mean is over all outputs, and which wants one-hot labels of a
    get_loss."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs, wanted):
        losses = nn.functional.cross_entropy(outputs, wanted, reduction="none")
        return losses if self.reduction == "none" else losses.mean()


class OneHotNet(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return self.criterion_(y_pred, nn.functional.one_hot(y_true, 3).double())


class Averaging(NeuralNetClassifier):
    """As skorch's FAQ does with sample weights: the criterion reduces nothing, get_loss takes the
    mean."""

    def get_loss(self, y_pred, y_true, X=None, training=False, **kwargs):
        losses = super().get_loss(y_pred, y_true, X=X, training=training, **kwargs)
        return losses.mean() if training else losses


class Focal(nn.Module):
    """A criterion of one's own with weights, whose mean divides by their sum."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction
        self.register_buffer("weight", WEIGHTS)

    def forward(self, outputs, labels):
        losses = nn.functional.cross_entropy(outputs, labels, reduction="none")
        losses = self.weight[labels] * (1 - torch.exp(-losses)) * losses
        return (
            losses
            if self.reduction == "none"
            else losses.sum() / self.weight[labels].sum()
        )


SUM_OF_WEIGHTS = float(WEIGHTS[torch.as_tensor(y)].sum())
LOSSES = {  # settings of the net, and n
    "cross entropy": ({}, len(y)),
    "class weights": ({"criterion__weight": WEIGHTS}, SUM_OF_WEIGHTS),
    "a class of weight 0": (
        {"criterion__weight": WEIGHTS * torch.tensor([0, 1, 1])},
        float(WEIGHTS[y][y > 0].sum()),
    ),
    "an ignored class": ({"criterion__ignore_index": 1}, int(np.sum(y != 1))),
    "label smoothing": (
        {"criterion__label_smoothing": 0.2, "criterion__weight": WEIGHTS},
        SUM_OF_WEIGHTS,
    ),
    "a sum": ({"criterion__reduction": "sum"}, 1),
    "log of probabilities": (
        {
            "module__nonlinearity": nn.Softmax(1),
            "criterion": nn.NLLLoss,
            "criterion__weight": WEIGHTS,
        },
        SUM_OF_WEIGHTS,
    ),
    "a criterion of one's own": ({"criterion": Focal}, SUM_OF_WEIGHTS),
    "a get_loss of one's own": ({"cls": OneHotNet, "criterion": OneHot}, len(y)),
    "a mean in get_loss": ({"cls": Averaging, "criterion__reduction": "none"}, len(y)),
}


def net_of(loss="cross entropy", **settings):
    torch.manual_seed(0)
    return make_net(**{**SGD, **LOSSES[loss][0], **settings}).initialize()


def sampler_of(net, X=X, y=y, **params):
    return DynamicALSampler(FrozenEstimator(net), batch_size=8, **params).fit(X, y)


def direction_of(net, X=X, y=y, **params):
    sampler = sampler_of(net, X, y, **params)
    return sampler._direction(sampler._trained())


def flat(gradient):
    return torch.cat([part.flatten() for part in gradient.values()])


def penalised_loss(net, decays):
    """Return what a full step of training makes small."""
    loss = net.get_loss(
        net.module_(torch.as_tensor(X)), torch.as_tensor(y), X=None, training=True
    )
    return loss + sum(
        decay / 2 * dict(net.module_.named_parameters())[name].square().sum()
        for name, decay in decays.items()
    )


def to_the_minimum(net, decays=DECAYS):
    optimizer = torch.optim.LBFGS(
        net.module_.parameters(),
        max_iter=2000,
        tolerance_grad=1e-15,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = penalised_loss(net, decays)
        loss.backward()
        return loss

    optimizer.step(closure)
    return net


# --- at the minimum -------------------------------------------------------------------------------

NO_MINIMUM = {
    "a criterion of one's own",
    "a class of weight 0",
    "an ignored class",
}  # not convex; a bias runs away
CONVEX = [loss for loss in LOSSES if loss not in NO_MINIMUM]


@pytest.mark.parametrize("loss", CONVEX)
def test_at_the_minimum_the_direction_vanishes(loss):
    net, n = to_the_minimum(net_of(loss)), LOSSES[loss][1]
    pull = torch.cat(
        [
            n * DECAYS[name] * p.detach().flatten()
            for name, p in net.module_.named_parameters()
        ]
    )
    alone = flat(labeled_gradient(net, X, y))
    torch.testing.assert_close(alone, -pull, rtol=1e-5, atol=1e-6 * float(pull.norm()))
    assert flat(direction_of(net)).norm() < 1e-6 * pull.norm()


@pytest.mark.parametrize("loss", ["cross entropy", "class weights"])
def test_at_the_minimum_it_ranks_as_gradient_length_does(loss):
    net = to_the_minimum(net_of(loss))
    by_length = sampler_of(net, gamma=0).query(POOL, len(POOL))
    assert sampler_of(net).query(POOL, len(POOL)).tolist() == by_length.tolist()
    assert (
        sampler_of(net, penalty=None).query(POOL, len(POOL)).tolist()
        != by_length.tolist()
    )


def test_training_itself_comes_to_rest_there():
    """With skorch's own loop and momentum, in two parameter groups."""
    net = make_net(
        **{**SGD, "lr": 1.0, "max_epochs": 400, "optimizer__momentum": 0.9}
    ).fit(X, y)
    assert (
        flat(direction_of(net)).norm() < 1e-6 * flat(labeled_gradient(net, X, y)).norm()
    )


# --- anywhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_the_gradient_of_the_penalised_sum(loss):
    net, n = net_of(loss), LOSSES[loss][1]
    found = flat(direction_of(net))
    start = nn.utils.parameters_to_vector(net.module_.parameters()).detach()

    def value(step):
        nn.utils.vector_to_parameters(start + step, net.module_.parameters())
        net.module_.eval()
        with torch.no_grad():
            return float(n * penalised_loss(net, DECAYS))

    steps = 1e-5 * torch.eye(len(start), dtype=torch.float64)
    wanted = torch.tensor(
        [(value(step) - value(-step)) / 2e-5 for step in steps], dtype=torch.float64
    )
    torch.testing.assert_close(
        found, wanted, rtol=1e-6, atol=1e-7 * float(wanted.norm())
    )


@pytest.mark.parametrize(
    ("batch_size", "settings", "n"),
    [(-1, {}, 1), (8, {}, 4), (30, {}, 1), (8, {"iterator_train__batch_size": 10}, 3)],
)
def test_a_summed_loss_is_penalised_once_a_mini_batch(batch_size, settings, n):
    net = net_of("a sum", batch_size=batch_size, **settings)
    wanted = flat(labeled_gradient(net, X, y)) + n * flat(
        {name: DECAYS[name] * p.detach() for name, p in net.module_.named_parameters()}
    )
    torch.testing.assert_close(flat(direction_of(net)), wanted, rtol=1e-12, atol=1e-12)


def assert_decays(net, decays, n=30, **params):
    """Assert that to each parameter's own gradient n * decay * w is added."""
    X_labeled, y_labeled = params.pop("X", X), params.pop("y", y)
    found = direction_of(net, X_labeled, y_labeled, **params)
    final = net[-1] if hasattr(net, "steps") else net
    own = labeled_gradient(
        net, X_labeled, y_labeled, layers=params.get("layers", "all"), batch_size=8
    )
    parameters = dict(final.module_.named_parameters())
    assert set(found) == set(own) == set(decays)
    for name, decay in decays.items():
        wanted = (
            own[name] + n * decay * parameters[name].detach() if decay else own[name]
        )
        assert torch.equal(found[name], wanted), name


NO_DECAY = dict.fromkeys(DECAYS, 0)


def accelerated(net):
    accelerate = needs("accelerate")
    net.optimizer_ = accelerate.Accelerator(cpu=True).prepare_optimizer(net.optimizer_)
    return net


def frozen(net):
    net.module_.first.weight.requires_grad_(False)
    return net


def by_hand(net):
    net.optimizer_.param_groups[0]["weight_decay"] = 0.5
    return net


def compiled(net):
    net.module_ = torch.compile(net.module_, backend="eager")
    return net


def of_a_tensor(net):
    for group in net.optimizer_.param_groups:
        group["weight_decay"] = torch.tensor(group["weight_decay"], dtype=torch.float64)
    return net


NETS = {
    "initialized, never trained": (lambda net: net, DECAYS),
    "trained": (lambda net: net.partial_fit(X, y), DECAYS),
    "copied": (copy.deepcopy, DECAYS),
    "pickled": (lambda net: pickle.loads(pickle.dumps(net)), DECAYS),
    "optimizer built anew": (lambda net: net.initialize_optimizer(), DECAYS),
    "set_params": (
        lambda net: net.set_params(optimizer__weight_decay=0.25),
        dict.fromkeys(DECAYS, 0.25),
    ),  # skorch sets it for all groups
    "changed while it ran": (by_hand, DECAYS | {"first.weight": 0.5}),
    "a tensor": (of_a_tensor, DECAYS),
    "accelerate": (accelerated, DECAYS),
    "a frozen parameter": (
        frozen,
        {name: decay for name, decay in DECAYS.items() if name != "first.weight"},
    ),
    "compiled": (compiled, DECAYS),
}


@pytest.mark.parametrize("kind", NETS)
def test_each_parameter_has_the_decay_of_its_own_group(kind):
    change, decays = NETS[kind]
    net = change(net_of())
    sampler = DynamicALSampler(FrozenEstimator(net), batch_size=8).fit(X, y)
    found, own = (
        sampler._direction(sampler._trained()),
        labeled_gradient(net, X, y, batch_size=8),
    )
    parameters = {
        name.removeprefix("_orig_mod."): p for name, p in net.module_.named_parameters()
    }
    assert set(found) == set(own) == set(decays)
    for name, decay in decays.items():
        wanted = (
            own[name] + 30 * np.float64(decay) * parameters[name].detach()
            if decay
            else own[name]
        )
        torch.testing.assert_close(found[name], wanted, rtol=1e-14, atol=1e-14)


def test_only_the_layers_that_count():
    assert_decays(net_of(), {"second.weight": 0.05}, layers=["second"])


def test_behind_the_steps_of_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), net_of(max_epochs=1)).fit(X, y)
    assert_decays(pipeline, DECAYS)


@pytest.mark.parametrize("form", ["dataset with labels", "one sample"])
def test_forms_of_the_labeled_set(form):
    if form == "one sample":
        assert_decays(net_of(), DECAYS, n=1, X=X[:1], y=y[:1])
    else:
        data = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
        assert_decays(net_of("class weights"), DECAYS, n=SUM_OF_WEIGHTS, X=data, y=None)


class Two(NeuralNetClassifier):
    """An optimizer for each half."""

    def initialize_optimizer(self, *args, **kwargs):
        self.optimizer_ = torch.optim.SGD(
            self.module_.first.parameters(), 0.1, weight_decay=0.1
        )
        self.other_ = torch.optim.Adam(
            self.module_.second.parameters(), 0.1, weight_decay=0.2
        )
        return self


def test_several_optimizers():
    decays = {"first.weight": 0.1, "first.bias": 0.1, "second.weight": 0.2}
    assert_decays(net_of(cls=Two, optimizer__param_groups=[]), decays)


def test_a_scheduler_that_changes_weight_decay():
    class Halved(Callback):
        def on_epoch_end(self, net, **kwargs):
            for group in net.optimizer_.param_groups:
                group["weight_decay"] /= 2

    net = net_of(callbacks=[Halved], max_epochs=2)
    sampler = DynamicALSampler(net, batch_size=8, random_state=0).fit(X, y)
    assert_decays(
        sampler.estimator_, {name: decay / 4 for name, decay in DECAYS.items()}
    )
    sampler.fit(X, y)  # the optimizer is built anew
    assert_decays(
        sampler.estimator_, {name: decay / 4 for name, decay in DECAYS.items()}
    )


@pytest.mark.parametrize(
    "optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.LBFGS]
)
def test_a_number_holds_for_all_parameters_whatever_the_optimizer(optimizer):
    net = net_of(optimizer=optimizer, optimizer__param_groups=[])
    assert_decays(net, dict.fromkeys(DECAYS, 0.25), penalty=0.25)
    assert_decays(net, NO_DECAY, penalty=0)


def test_none_adds_nothing():
    assert_decays(net_of(), NO_DECAY, penalty=None)


# --- optimizers -----------------------------------------------------------------------------------

OPTIMIZERS = [*_penalty.COUPLED, *_penalty.DECOUPLED, *_penalty.WITHOUT]
OF_TORCH = {
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found)
    and issubclass(found, torch.optim.Optimizer)
    and found is not torch.optim.Optimizer
}


def test_every_optimizer_of_torch_is_known():
    assert set(OPTIMIZERS) >= OF_TORCH
    assert len(OPTIMIZERS) == len(set(OPTIMIZERS))


def rest(name, settings):
    """Return how far one step moves weights whose loss has the gradient that balances the penalty,
    and the factor."""
    module = nn.Linear(3, 2, bias=False).double()
    optimizer = getattr(torch.optim, name)(module.parameters(), lr=0.1, **settings)
    net = make_net(module).initialize()
    net.optimizer_ = optimizer
    factor = _penalty._factors(net, module).get(id(module.weight), 0)
    before = module.weight.detach().clone()
    module.weight.grad = -factor * before
    optimizer.step(None if name != "LBFGS" else lambda: torch.zeros(()))
    return float((module.weight.detach() - before).norm() / before.norm()), factor


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(
    "name", [name for name in _penalty.COUPLED if name in OF_TORCH]
)
def test_coupled_decay_is_a_penalty_so_a_step_rests_where_it_is_balanced(
    name, maximize
):
    moved, factor = rest(name, {"weight_decay": 0.25, "maximize": maximize})
    assert factor == pytest.approx(
        (0.25 + 1e-4 * (name == "ASGD")) * (-1 if maximize else 1), rel=1e-15
    )
    assert moved < 1e-12


DECOUPLING = {
    **{name: {"weight_decay": 0.3} for name in _penalty.DECOUPLED if name in OF_TORCH},
    **{
        name: {"weight_decay": 0.3, "decoupled_weight_decay": True}
        for name in ("Adam", "NAdam", "RAdam")
    },
}


@pytest.mark.parametrize("name", DECOUPLING)
def test_decoupled_decay_has_no_penalty_and_that_is_said_once(name, said):
    for _ in range(2):
        moved, factor = rest(name, DECOUPLING[name])
        assert factor == 0
        assert moved > 1e-3  # though the loss has no gradient
    (record,) = said.records
    assert f"decoupled weight decay of {name}" in record.getMessage()


@pytest.mark.parametrize("name", ["Adagrad", "LBFGS", "Rprop", "SGD", "AdamW"])
def test_without_decay_nothing_is_said(name, said):
    settings = {"weight_decay": 0} if name == "AdamW" else {}
    assert rest(name, settings)[1] == 0
    assert not said.records


def test_the_decay_that_asgd_has_by_default_counts():
    assert rest("ASGD", {})[1] == 1e-4


class Renamed(torch.optim.SGD):
    """As SGD: the step is its."""


class Lion(torch.optim.Optimizer):
    """One that is not of torch."""

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure=None):
        closure()


class OwnStep(torch.optim.SGD):
    def step(self, closure=None):
        closure()


def without_optimizer(net):
    net.optimizer_ = None
    return net


def another_module(net):
    net.module_ = copy.deepcopy(net.module_)
    return net


OTHERS = {
    "a subclass": (lambda: net_of(optimizer=Renamed), DECAYS, ""),
    "an unknown class": (
        lambda: net_of(optimizer=Lion),
        NO_DECAY,
        "not known what the weight decay of Lion does",
    ),
    "an unknown class without decay": (
        lambda: net_of(optimizer=Lion, optimizer__param_groups=[]),
        NO_DECAY,
        "",
    ),
    "a step of its own": (
        lambda: net_of(optimizer=OwnStep),
        NO_DECAY,
        "weight decay of OwnStep",
    ),
    "no optimizer": (
        lambda: without_optimizer(net_of()),
        NO_DECAY,
        "the net has no optimizer",
    ),
    "another module": (
        lambda: another_module(net_of()),
        NO_DECAY,
        "none of its module's parameters",
    ),
    "AdamW": (
        lambda: net_of(optimizer=torch.optim.AdamW),
        NO_DECAY,
        "decoupled weight decay of AdamW",
    ),
    "LBFGS": (
        lambda: net_of(optimizer=torch.optim.LBFGS, optimizer__param_groups=[]),
        NO_DECAY,
        "",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_known_is_said_once(kind, said):
    make, decays, words = OTHERS[kind]
    net = make()
    assert_decays(net, decays)
    assert_decays(net, decays)
    found = [record.getMessage() for record in said.records]
    assert len(found) == bool(words)
    assert all(words in message and "penalty=None" in message for message in found)


@pytest.mark.parametrize("remedy", [None, 0.1])
def test_the_remedies_named_in_the_log_are_silent(remedy, said):
    net = net_of(optimizer=Lion)
    assert_decays(net, dict.fromkeys(DECAYS, remedy or 0), penalty=remedy)
    assert not said.records


class Silent(Focal):
    """Its mean of a class is NaN."""

    def forward(self, outputs, labels):
        losses = super().forward(outputs, labels)
        return losses if self.reduction == "none" else losses / 0 * 0


def test_a_criterion_whose_mean_is_none_is_refused_with_the_remedy():
    net = net_of(criterion=Silent)
    with pytest.raises(
        UnsupportedEstimatorError, match="Silent does not tell .*penalty=None"
    ):
        sampler_of(net).query(POOL)
    assert len(sampler_of(net, penalty=None).query(POOL, 3)) == 3


# --- without decay --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS, torch.optim.AdamW],
)
def test_without_decay_scores_are_those_of_the_loss_alone_bit_for_bit(optimizer):
    settings = {"optimizer__weight_decay": 0} if optimizer is torch.optim.AdamW else {}
    net = trained_net(optimizer=optimizer, max_epochs=1, **settings)
    direction = labeled_gradient(net, X, y, batch_size=8)
    own = gradient_statistics(net, POOL, direction=direction, batch_size=8)
    sampler = sampler_of(net)
    assert sampler.score_samples(POOL).tolist() == (own.sq_norm + 2 * own.dot).tolist()
    assert (
        sampler_of(net, penalty=None).score_samples(POOL).tolist()
        == sampler.score_samples(POOL).tolist()
    )


@pytest.mark.parametrize("key", MODELS)
def test_nets_of_the_experiments_have_no_decay_so_their_records_stand(key):
    net = MODELS[key](n_classes=10)
    assert net.optimizer is torch.optim.Adam
    assert not [
        name
        for name in net.get_params()
        if "weight_decay" in name or "param_groups" in name
    ]


# --- where the direction goes ---------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [2.0, np.inf, -1.0])
def test_scores(gamma):
    net = net_of()
    found = gradient_statistics(net, POOL, direction=direction_of(net), batch_size=8)
    wanted = found.dot if gamma == np.inf else found.sq_norm + gamma * found.dot
    assert sampler_of(net, gamma=gamma).score_samples(POOL).tolist() == wanted.tolist()


def test_the_function_form_takes_it():
    net = net_of()
    for penalty in ("auto", None, 1.0):
        picks = dynamical_sampling(
            net, POOL, 5, X_labeled=X, y_labeled=y, penalty=penalty, batch_size=8
        )
        assert (
            picks.tolist() == sampler_of(net, penalty=penalty).query(POOL, 5).tolist()
        )


def test_interaction_is_of_the_losses_own_gradients():
    net = net_of()
    found = gradient_statistics(net, POOL, direction=direction_of(net), batch_size=8)
    delta = found.sq_norm + 2 * found.dot
    first = int(delta.argmax())
    picked = labeled_gradient(net, POOL[[first]], found.label[[first]], batch_size=8)
    share = gradient_statistics(
        net, POOL, found.label, direction=picked, batch_size=8
    ).dot
    rest = delta - 2 * share
    rest[first] = -np.inf
    picks = sampler_of(net, interaction=-2, update_size=1).query(POOL, 2)
    assert picks.tolist() == [first, int(rest.argmax())]


def test_labeled_gradient_stays_that_of_the_loss():
    net = net_of()
    found = labeled_gradient(net, X, y)
    net.optimizer_ = None
    assert all(
        torch.equal(found[name], part)
        for name, part in labeled_gradient(net, X, y).items()
    )


def test_a_net_on_its_way_has_no_optimizer_so_the_direction_is_made_before():
    net = packed(net_of()).on("cpu", None)
    assert net.optimizer_ is None


def test_stored_scores_are_those_of_this_penalty(tmp_path):
    from skdal.parallel import SerialExecutor

    needs("pyarrow.parquet")
    executor = SerialExecutor(shard_size=16, scores_dir=tmp_path)
    net = net_of()
    first = sampler_of(net, executor=executor).score_samples(POOL)
    net.set_params(optimizer__weight_decay=3.0)  # of the bias
    second = sampler_of(net, executor=executor).score_samples(POOL)
    assert (
        second.tolist()
        == sampler_of(net).score_samples(POOL).tolist()
        != first.tolist()
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_the_net_is_as_it_was():
    net = trained_net(**SGD)
    before = copy.deepcopy(
        (
            net.module_.state_dict(),
            net.optimizer_.state_dict(),
            net.criterion_.state_dict(),
        )
    )
    grads = [p.grad for p in net.module_.parameters()]
    assert make_sampler("dynamical")(net, POOL, 3, X_labeled=X, y_labeled=y) is not None
    after = (
        net.module_.state_dict(),
        net.optimizer_.state_dict(),
        net.criterion_.state_dict(),
    )
    assert str(before) == str(after)
    assert [p.grad for p in net.module_.parameters()] == grads
    assert net.criterion_.reduction == "mean"


class Read(TensorDataset):
    """Counts how often each item is read."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.n_reads = [0] * len(self)

    def __getitem__(self, i):
        self.n_reads[i] += 1
        return super().__getitem__(i)


@pytest.mark.parametrize("executor", [None, SerialExecutor()])
def test_labels_of_a_dataset_are_read_once(executor):
    criterion = {"criterion__weight": WEIGHTS, "optimizer__weight_decay": 0.02}
    net = make_net(optimizer=torch.optim.SGD, **criterion).fit(X, y)
    found = []
    for penalty in (None, "auto"):
        data = Read(torch.as_tensor(X), torch.as_tensor(y))
        sampler = DynamicALSampler(penalty=penalty, batch_size=8, executor=executor)
        sampler(net, POOL, 3, X_labeled=data)
        found.append(data.n_reads)
    assert found[0] == found[1]
    assert set(found[1][2:]) == {1}
