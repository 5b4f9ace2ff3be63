"""Trees of tensors: one idea of a container for all that modules get and give."""

from collections import OrderedDict, UserDict, namedtuple
from types import MappingProxyType

import pytest
import torch

from skdal.utils import tree_leaves, tree_map

Pair = namedtuple("Pair", "first second")
A, B = torch.tensor([1.0, 2.0]), torch.tensor([3.0])


class Kept(dict):
    """A dict that holds more than its items."""

    note = "none"


class Output(OrderedDict):
    """Keeps its items as attributes, too, as the outputs of transformers do."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        setattr(self, key, value)


TREES = {
    "list": [A, B],
    "tuple": (A, B),
    "named tuple": Pair(A, B),
    "dict": {"a": A, "b": B},
    "ordered dict": OrderedDict(a=A, b=B),
    "encoding": UserDict(a=A, b=B),
    "model output": Output(a=A, b=B),
    "nested": [{"a": (A,)}, Pair(B, None)],
    "with others": [A, "text", 3, B, None],
}


@pytest.mark.parametrize("name", TREES)
def test_containers_keep_their_class(name):
    tree = TREES[name]
    doubled = tree_map(lambda x: 2 * x, tree)
    assert type(doubled) is type(tree)
    assert [x.tolist() for x in tree_leaves(doubled)] == [[2.0, 4.0], [6.0]]
    assert [x.tolist() for x in tree_leaves(tree)] == [[1.0, 2.0], [3.0]]


def test_a_mapping_that_cannot_be_changed_becomes_a_dict():
    assert tree_map(len, MappingProxyType({"a": A, "b": B})) == {"a": 2, "b": 1}


def test_what_a_class_holds_beside_its_items_stays():
    kept = Kept(a=A)
    kept.note = "mine"
    doubled = tree_map(lambda x: 2 * x, kept)
    assert doubled.note == "mine"
    assert doubled is not kept


def test_what_is_neither_tensor_nor_container():
    assert tree_map(len, ["text", {"a": A}]) == ["text", {"a": 2}]
    assert tree_map(len, ["text", {"a": A}], str.upper) == ["TEXT", {"a": 2}]


def test_attributes_follow_the_items():
    assert tree_map(len, Output(a=A)).a == 2


def test_leaves_are_met_in_order():
    met = []
    tree_map(met.append, TREES["nested"])
    assert all(x is y for x, y in zip(met, tree_leaves(TREES["nested"]), strict=True))
