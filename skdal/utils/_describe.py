"""What tells one object from another, across processes: its type, code and attributes, as plain
values.
"""

import enum
import functools
import inspect
import logging
import types
import uuid

import numpy as np
import torch

from skdal.utils._digest import digest
from skdal.utils._torch import BOOKKEEPING, input_hooks_of, output_hooks_of

logger = logging.getLogger("skdal")

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic)
_CODE_OF = (
    types.FunctionType,
    types.MethodType,
    staticmethod,
    classmethod,
    property,
    functools.cached_property,
)
# No part of what a module computes with.
_NO_PART = ("training", *BOOKKEEPING)


def describe(value):
    """Return what an object computes with, as nested lists of plain values that `joblib.hash`
    takes.

    Functions are told apart by name, code, defaults and closure, objects by class (with its code)
    and attributes, modules by parameters, all buffers and attributes too. What cannot be described
    is unlike anything else, and unlike itself the next time.

    Parameters
    ----------
    value : object

    Returns
    -------
    object
    """
    return _described(value, ())


def _described(value, inside):
    if isinstance(value, _PLAIN):
        return value
    if id(value) in inside:
        return ["seen above", inside[::-1].index(id(value))]
    inside = (*inside, id(value))

    def parts(values):
        return [_described(x, inside) for x in values]

    return _of_kind(value, parts)


@functools.singledispatch
def _of_kind(value, parts):
    """Return the description of a value that is not plain; `parts` describes what it holds."""
    return [_of_class(type(value)), _attributes(value, parts)]


@_of_kind.register(enum.Enum)
def _(value, parts):
    return [_kind(value), value.name]


@_of_kind.register(torch.Tensor)
def _(value, parts):
    bytes_ = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    shape = list(value.shape)
    return [
        _kind(value),
        str(value.dtype),
        shape,
        value.requires_grad,
        bytes_.numpy(),
    ]


@_of_kind.register(list)
@_of_kind.register(tuple)
def _(value, parts):
    return [_kind(value), *parts(value)]


@_of_kind.register(set)
@_of_kind.register(frozenset)
def _(value, parts):
    return [_kind(value), *sorted(parts(value), key=repr)]


@_of_kind.register(dict)
def _(value, parts):
    keys = [repr(key) for key in value]
    items = zip(keys, parts(value.values()))
    return [_kind(value), *sorted(map(list, items), key=lambda item: item[0])]


@_of_kind.register(functools.partial)
def _(value, parts):
    return [_kind(value), *parts((value.func, value.args, value.keywords))]


@_of_kind.register(types.MethodType)
def _(value, parts):
    return [_kind(value), *parts((value.__func__, value.__self__))]


@_of_kind.register(types.FunctionType)
def _(value, parts):
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    held = parts((value.__defaults__, value.__kwdefaults__, cells))
    return [*_name(value), _code(value.__code__), *held]


@_of_kind.register(type)
def _(value, parts):
    return _of_class(value)


def _kind(value):
    return type(value).__qualname__


def _attributes(value, parts):
    held = getattr(value, "__dict__", None)
    if isinstance(value, torch.nn.Module):
        hooks = [*input_hooks_of(value).values(), *output_hooks_of(value).values()]
        names = sorted(name for name in held if not name.endswith(_NO_PART))
        return [names, parts(held[name] for name in names), parts(hooks)]
    slots = [
        name
        for cls in type(value).__mro__
        for name in np.atleast_1d(getattr(cls, "__slots__", ())).tolist()
    ]
    if held is not None or slots:
        held = {
            **(held or {}),
            **{name: getattr(value, name) for name in slots if hasattr(value, name)},
        }
        return parts([held])
    if type(value).__repr__ is not object.__repr__ and " at 0x" not in repr(value):
        return repr(value)
    logger.warning(
        "%r cannot be told from others of its type, so nothing that was stored with it is used",
        value,
    )
    return uuid.uuid4().hex


def _name(value):
    return [getattr(value, "__module__", ""), getattr(value, "__qualname__", "")]


@functools.cache
def _of_class(cls):
    """Return the name of a class and the code of its methods, with those that it inherits."""
    bodies = [vars(base) for base in cls.__mro__[:-1]]
    functions = [
        (name, inspect.unwrap(_function(x)))
        for body in bodies
        for name, x in body.items()
        if _is_code(x)
    ]
    return [
        *_name(cls),
        [[name, _code(x.__code__)] for name, x in functions if hasattr(x, "__code__")],
    ]


def _is_code(value):
    return isinstance(value, _CODE_OF)


def _function(value):
    """Return the function in a method, property or the like."""
    for name in ("__func__", "fget", "func"):
        value = getattr(value, name, None) or value
    return value


def _code(code):
    held = (code.co_code, code.co_names, code.co_varnames)
    parts = [*map(repr, held), *map(_constant, code.co_consts)]
    return digest(part.encode() for part in parts)


def _constant(value):
    """Return a constant of some code as text; the order within sets differs between processes."""
    if isinstance(value, types.CodeType):
        return _code(value)
    return repr(sorted(map(repr, value)) if type(value) is frozenset else value)
