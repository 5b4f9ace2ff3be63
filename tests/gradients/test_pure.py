"""The parts of the engine that need no net: nodes and paths, ladders, mini-batches."""

from collections import namedtuple

import pytest
import torch

from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.gradients.parts import Ladder, MiniBatch, Use, is_inside, nodes_of, walk

Pair = namedtuple("Pair", "first second")


class Node:
    """A node of a graph that is made by hand."""

    def __init__(self, *below):
        self.next_functions = [(node, 0) for node in below]


class Call:
    """A call of a module between nodes."""

    def __init__(self, begins, ends):
        self.begins, self.ends = set(begins), set(ends)


def test_uses_inside_a_call_and_outside():
    bottom = Node()
    inner = Node(bottom)
    top = Node(inner)
    call = Call(begins=[bottom], ends=[inner])
    assert is_inside([Use(inner, 0)], [call])
    assert not is_inside([Use(top, 0)], [call])
    assert not is_inside([Use(bottom, 0)], [call])
    assert is_inside([Use(bottom, 0), Use(inner, 0)], [call, Call([], [bottom])])


def test_the_uses_of_leaves():
    x, w = torch.ones(2), torch.ones(2, requires_grad=True)
    y = (x * w).exp() + w
    uses, nodes = walk(nodes_of([y]))
    assert sorted(use.slot for use in uses[id(w)]) == [1, 1]
    assert len(nodes) == 3


def test_a_ladder_steps_down_for_good():
    told, tried = [], []

    def fails(x):
        tried.append(x)
        raise ValueError

    ladder = Ladder([fails, lambda x: 2 * x], (ValueError,), told.append)
    assert [ladder(1), ladder(2)] == [2, 4]
    assert told == ["ValueError"]  # the name of an error without a message
    assert tried == [1]


@pytest.mark.parametrize(
    "error", [KeyError("k"), MemoryError("m"), InvalidParameterError("p")], ids=repr
)
def test_what_is_no_failure_of_a_way_is_raised(error):
    def fails():
        raise error

    ladder = Ladder([fails, lambda: 1], (ValueError, MemoryError), print)
    with pytest.raises(type(error)):
        ladder()
    assert ladder.way is fails


def test_the_last_way_is_not_caught():
    def fails():
        raise ValueError("all of them")

    with pytest.raises(ValueError, match="all of them"):
        Ladder([fails, fails], (ValueError,), lambda why: None)()


def test_rows_of_a_mini_batch():
    batch = MiniBatch(Pair(torch.arange(4), {"x": torch.ones(4, 2)}), torch.arange(4))
    some = batch.rows(slice(1, 3))
    assert (len(batch), len(some)) == (4, 2)
    assert type(some.inputs) is Pair
    assert some.inputs.first.tolist() == some.labels.tolist() == [1, 2]
    assert len(batch.sample(3)) == 1
    assert batch.labeled(None).rows(slice(2)).labels is None


@pytest.mark.parametrize("other", ["text", torch.ones(3), torch.ones(())], ids=repr)
def test_what_has_no_rows_is_refused(other):
    with pytest.raises(InvalidDataError, match="mini-batch of 4 samples"):
        MiniBatch([torch.arange(4), other]).rows(slice(2))
