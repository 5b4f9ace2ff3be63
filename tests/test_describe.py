"""What tells objects apart: two that compute differently never look alike, and one looks alike in
two processes."""

import functools
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from skdal.utils import describe


def scaled(x, by=2):
    return x * by


class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x * self.by


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by):
        self.by = by


def closure(k):
    return lambda x: x + k


class Net(nn.Module):
    def __init__(self, temperature=1.0, shift=0.0):
        super().__init__()
        self.head = nn.Linear(2, 2, dtype=torch.float64)
        nn.init.ones_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.temperature = temperature
        self.register_buffer("shift", torch.full((2,), shift), persistent=False)


class Cyclic:
    def __init__(self):
        self.own = self


def hooked(net, k):
    net.register_forward_hook(closure(k))
    return net


DIFFERENT = {
    "partial": (lambda k: functools.partial(scaled, by=k)),
    "closure": closure,
    "object": Scale,
    "slots": Slotted,
    "method": lambda k: Scale(k).__call__,
    "composed": lambda k: v2.Compose([v2.ToImage(), Scale(k)]),
    "transform": lambda k: v2.Resize((k, k)),
    "array": lambda k: np.full(3, k),
    "bfloat16": lambda k: torch.full((3,), k, dtype=torch.bfloat16),
    "set": lambda k: {1, k},
    "dict": lambda k: {"by": k},
    "temperature": lambda k: Net(temperature=k),
    "buffer": lambda k: Net(shift=float(k)),
    "hook": lambda k: hooked(Net(), k),
    "criterion": lambda k: nn.CrossEntropyLoss(label_smoothing=k / 10),
    "dtype": lambda k: {3: torch.float32, 5: torch.float64}[k],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_and_what_does_not(kind):
    make = DIFFERENT[kind]
    assert joblib.hash(describe(make(3))) == joblib.hash(describe(make(3)))
    assert joblib.hash(describe(make(3))) != joblib.hash(describe(make(5)))


def test_code_counts():
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    assert joblib.hash(describe(one)) != joblib.hash(describe(two))
    classes = [type("Same", (), {"f": f}) for f in (one, two)]
    assert joblib.hash(describe(classes[0]())) != joblib.hash(describe(classes[1]()))


def test_training_mode_does_not_count_and_cycles_end():
    assert joblib.hash(describe(Net().eval())) == joblib.hash(describe(Net().train()))
    assert joblib.hash(describe(Cyclic())) == joblib.hash(describe(Cyclic()))


def test_what_cannot_be_described_is_like_nothing(caplog):
    value = object()
    assert describe(value) != describe(value)
    assert "cannot be told from others" in caplog.text


PROGRAM = """
import sys; sys.path[:0] = {path!r}
import joblib, test_describe as t
print([joblib.hash(t.describe(make(3))) for make in t.DIFFERENT.values()])
"""


@pytest.mark.slow
def test_another_process_says_the_same():
    program = PROGRAM.format(path=sys.path)
    done = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        for _ in range(2)
    ]
    assert done[0].stdout, done[0].stderr
    assert done[0].stdout == done[1].stdout
