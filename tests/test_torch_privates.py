"""Private parts of torch are named in one file, `skdal/utils/_torch.py`."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import skdal

ROOT = Path(skdal.__file__).parent
FENCE = ROOT / "utils" / "_torch.py"
HOLDERS = (nn.Module(), nn.InstanceNorm1d(1), nn.LSTM(1, 1), torch.zeros(1))
PRIVATE = {
    name
    for holder in HOLDERS
    for name in dir(holder)
    if name.startswith("_") and not name.startswith("__")
} | {"_orig_mod"}
NODE = re.compile(r"_saved_\w*|\w+Backward\d+")
# skorch calls a list of its own by the name of torch's dict of parts.
OTHERS = {("adapters/_net.py", "_modules")}


def names_of(node):
    """Yield what may be a private name of torch in a node of the syntax tree."""
    if isinstance(node, ast.Attribute):
        is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        is_of_torch = ast.unparse(node).startswith("torch.") and node.attr[0] == "_"
        if not is_own:
            yield f"torch.{node.attr}" if is_of_torch else node.attr
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
        names = [alias.name for alias in node.names]
        yield from (f"torch.{name}" for name in names if name.startswith("_"))


def found_in(text):
    """Return the private names of torch in some source, with their lines."""
    tree = ast.parse(text)
    own = {
        field.target.id
        for part in ast.walk(tree)
        if isinstance(part, ast.ClassDef)
        for field in part.body
        if isinstance(field, ast.AnnAssign)
    }
    return [
        (node.lineno, name)
        for node in ast.walk(tree)
        if hasattr(node, "lineno")
        for name in names_of(node)
        if name not in own
        if name in PRIVATE or NODE.fullmatch(name) or name.startswith("torch._")
    ]


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_one_file_alone_names_them(path):
    if path == FENCE:
        return
    where = path.relative_to(ROOT).as_posix()
    found = found_in(path.read_text())
    assert [row for row in found if (where, row[1]) not in OTHERS] == []


@pytest.mark.parametrize(
    "text",
    [
        "module._parameters",
        "getattr(x, '_version')",
        "node._saved_self",
        "name == 'AddBackward0'",
        "from torch.nn.modules.batchnorm import _BatchNorm",
        "torch._dynamo",
    ],
)
def test_they_are_seen(text):
    assert found_in(text)
    assert not found_in("self._parameters = vars(self)")
