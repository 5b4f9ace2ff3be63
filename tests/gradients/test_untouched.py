"""A pass over samples leaves the net, its module and the global generators as it found them."""

import copy
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from cases import BACKENDS, NETS, Apply, floats, linear_parts, over, some
from skorch import NeuralNetClassifier
from torch import nn

from skdal.exceptions import InvalidParameterError, UnsupportedLayerError
from skdal.gradients import gradient_statistics, labeled_gradient

# The caller's own backward hook says this where a pass starts at the layer it sits on.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
BACKENDS = (*BACKENDS, "backpack")
CALLS = {
    **{
        name: lambda net, X, y, name=name: gradient_statistics(
            net, X, backend=name, batch_size=4
        )
        for name in BACKENDS
    },
    "labels": lambda net, X, y: gradient_statistics(
        net, X, y, layers="last", batch_size=4
    ),
    "labeled": lambda net, X, y: labeled_gradient(net, X, y, batch_size=4),
}


def noop(*args):
    """A hook of the caller's."""


class Counting(nn.Module):
    """Counts its calls in its buffers, keeps its latest features and can break on one of the
    calls."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict(linear_parts())
        self.norm = nn.BatchNorm1d(6)
        self.unit = nn.Sequential(nn.Dropout(0.5), nn.ReLU(inplace=True))
        self.counts_in_place, self.breaks_at, self.n_calls = True, None, 0
        for name in ("in_place", "assigned", "renewed"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, x):
        self.n_calls += 1
        if self.n_calls == self.breaks_at:
            raise OSError("broken on purpose")
        if self.counts_in_place:
            self.in_place += 1
        self.assigned = self.assigned + 1
        self.renewed = torch.full((), 3.0)
        self.features = self.unit(self.norm(self.parts["layer"](x)))
        return self.parts["head"](self.features)


class Noisy(torch.utils.data.Dataset):
    """Draws from every global generator whenever a sample is read."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        draw = float(torch.rand(())) + np.random.rand() + random.random()
        return self.X[i] + 0.0 * draw, self.y[i]


def counting_net(call, breaks_at=None):
    """Return a net in the middle of a caller's work: some parts in eval mode, frozen, with hooks or
    gradients."""
    net = NeuralNetClassifier(
        Counting, criterion=nn.CrossEntropyLoss, verbose=0
    ).initialize()
    module = net.module_.double()
    module(torch.ones(8, 6).double()).sum().backward()
    module.breaks_at, module.n_calls = breaks_at, 0
    module.unit.eval()
    module.parts["head"].bias.grad = None
    module.norm.bias.requires_grad_(False)
    module.parts["layer"].register_forward_hook(noop)
    module.parts["layer"].register_forward_pre_hook(noop)
    module.norm.weight.register_hook(noop)
    if call == "functorch":  # it refuses these
        module.counts_in_place = False
    else:
        module.parts["head"].register_full_backward_hook(noop)
    return net


def snapshot(net):
    """Return everything observable about a net and the global generators as comparable values."""
    modules = dict(net.module_.named_modules())
    tensors = dict(net.module_.named_parameters()) | dict(net.module_.named_buffers())
    return {
        "net": {key: id(value) for key, value in vars(net).items()},
        "attributes": {name: sorted(vars(m)) for name, m in modules.items()},
        "features": id(net.module_.features),
        "training": {name: m.training for name, m in modules.items()},
        "hooks": {
            (name, key): [(n, id(hook)) for n, hook in value.items()]
            for name, m in modules.items()
            for key, value in vars(m).items()
            if "hooks" in key
        },
        "tensor hooks": {
            name: len(t._backward_hooks or ()) for name, t in tensors.items()
        },
        "tensors": {
            name: (id(t), t.data_ptr(), t.requires_grad, t.tolist())
            for name, t in tensors.items()
        },
        "grad": {
            name: (id(t.grad), None if t.grad is None else t.grad.tolist())
            for name, t in tensors.items()
        },
        "generators": (
            torch.get_rng_state().tolist(),
            repr(np.random.get_state()),
            random.getstate(),
        ),
        "torch": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.is_autocast_enabled("cpu"),
        ),
    }


def data(n=10):
    generator = torch.Generator().manual_seed(0)
    return floats(6)(n, generator), torch.randint(5, (n,), generator=generator).numpy()


@pytest.mark.parametrize("call", CALLS)
def test_nothing_changes(call):
    net = counting_net(call)
    before = snapshot(net)
    CALLS[call](net, *data())
    assert snapshot(net) == before
    assert net.module_.n_calls > 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("breaks_at", range(1, 7))
def test_nothing_changes_when_the_module_breaks(call, breaks_at):
    net = counting_net(call, breaks_at)
    before = snapshot(net)
    with pytest.raises(OSError, match="broken on purpose"):
        CALLS[call](net, *data(40))
    assert snapshot(net) == before


@pytest.mark.parametrize("call", CALLS)
def test_generators_are_left_alone_by_a_noisy_dataset(call):
    net, (X, y) = counting_net(call), data()
    before = snapshot(net)
    CALLS[call](net, Noisy(X, y), y)
    assert snapshot(net) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_in_any_gradient_mode(mode):
    net, (X, y) = counting_net("auto"), data()
    expected = gradient_statistics(net, X, direction=labeled_gradient(net, X, y))
    with mode():
        actual = gradient_statistics(net, X, direction=labeled_gradient(net, X, y))
    assert actual.dot.tolist() == expected.dot.tolist()


LIGHT = [case for case in NETS if not case.heavy]


@over(LIGHT, usual=some(LIGHT, 16))
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_the_module_is_whole_whatever_a_backend_makes_of_it(problem):
    net = problem.net
    expected, parameters = net.predict_proba(problem.X), list(net.module_.parameters())
    for backend in BACKENDS:
        with suppress(UnsupportedLayerError):
            gradient_statistics(net, problem.X, backend=backend)
    assert all(
        a is b for a, b in zip(net.module_.parameters(), parameters, strict=True)
    )
    copy.deepcopy(net.module_)
    assert net.predict_proba(problem.X).tolist() == expected.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_hooks_on_parameters_do_not_count(backend):
    X, y = data()
    net = NeuralNetClassifier(
        nn.Sequential(*linear_parts().values()), criterion=nn.CrossEntropyLoss
    ).initialize()
    net.module_.double()
    expected = gradient_statistics(net, X, direction=labeled_gradient(net, X, y))
    calls = []
    net.module_[0].weight.register_hook(
        lambda gradient: calls.append(gradient) or 2 * gradient
    )
    actual = gradient_statistics(
        net, X, backend=backend, direction=labeled_gradient(net, X, y)
    )
    np.testing.assert_allclose(actual.sq_norm, expected.sq_norm, rtol=1e-12)
    np.testing.assert_allclose(actual.dot, expected.dot, rtol=1e-12)
    net.module_(torch.as_tensor(X)).sum().backward()
    assert len(calls) == 1  # it is on again


@pytest.mark.parametrize("backend", ["ghost", "loop"])
@pytest.mark.parametrize("enabled", [True, False])
def test_recurrent_parts_run_without_cudnn(backend, enabled, monkeypatch):
    seen, forward = [], nn.GRU.forward

    def spy(module, *args):
        seen.append(torch.backends.cudnn.enabled)
        return forward(module, *args)

    monkeypatch.setattr(nn.GRU, "forward", spy)
    module = Apply(
        lambda m, x: m.head(m.gru(x)[0][:, -1]),
        gru=nn.GRU(3, 4, batch_first=True),
        head=nn.Linear(4, 5),
    )
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss).initialize()
    module.head.register_forward_hook(
        lambda *_: others.append(torch.backends.cudnn.enabled)
    )
    others = []
    monkeypatch.setattr(torch.backends.cudnn, "enabled", enabled)
    gradient_statistics(net, np.ones((4, 6, 3), "float32"), backend=backend)
    assert seen
    assert not any(seen)
    assert others
    assert set(others) == {enabled}
    assert torch.backends.cudnn.enabled is enabled


@pytest.mark.parametrize("backend", [*BACKENDS[:-1]])
def test_parameters_without_entries_do_not_count(backend):
    X, _ = data()
    module = nn.Sequential(*linear_parts().values()).double()
    module.empty = nn.Parameter(torch.zeros(0, 3))
    module.forward = lambda x: module[1](module[0](x)) + module.empty.sum()
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss).initialize()
    assert (gradient_statistics(net, X, backend=backend).sq_norm > 0).all()
    with pytest.raises(InvalidParameterError, match="'empty' matches none"):
        gradient_statistics(net, X, backend=backend, layers="empty")
