"""Estimators as they were, where a training fails."""

import copy
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from sklearn.pipeline import Pipeline


@contextmanager
def undone_on_error(estimator):
    """Put an estimator, and the steps of a Pipeline, back to what they were where the block fails.

    Torch components and callbacks keep their identity and get their state back; what else training
    sets (names that end in "_") comes back as a copy taken before.
    """
    with ExitStack() as stack:
        for part in _parts(estimator):
            stack.enter_context(_part_undone_on_error(part))
        yield


def _parts(estimator):
    """Yield the objects that training changes."""
    yield estimator
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            if hasattr(step, "fit"):
                yield from _parts(step)


@contextmanager
def _part_undone_on_error(estimator):
    attributes = dict(vars(estimator))
    undo = []
    for name, value in attributes.items():
        if hasattr(value, "load_state_dict") and not isinstance(value, type):
            undo += _module_undo(value)
        elif name == "callbacks_":
            undo += [
                partial(set_vars, callback, dict(vars(callback)))
                for _, callback in value
            ]
            undo += [
                put_back
                for _, callback in value
                for put_back in _contents_undo(callback)
            ]
        elif name == "steps":
            attributes[name] = list(value)
        elif name.endswith("_"):
            attributes[name] = copy.deepcopy(value)
    try:
        yield
    except BaseException:
        set_vars(estimator, attributes)
        for put_back in undo:
            put_back()
        raise


def _module_undo(module):
    """Return the calls that give a torch component (module, optimizer) its state back."""
    undo = [partial(module.load_state_dict, copy.deepcopy(module.state_dict()))]
    for part in getattr(module, "modules", list)():
        undo.append(partial(setattr, part, "training", part.training))
    for parameter in getattr(module, "parameters", list)():
        undo.append(
            partial(setattr, parameter, "requires_grad", parameter.requires_grad)
        )
    for buffer in getattr(
        module, "buffers", list
    )():  # those that are not persistent are in no state_dict
        undo.append(partial(_copy_into, buffer, buffer.detach().clone()))
    return undo


def _copy_into(tensor, value):
    with torch.no_grad():
        tensor.copy_(value)


def _contents_undo(callback):
    """Return the calls that give the lists, dicts and sets of a callback, such as a recorder's,
    their contents back.
    """
    found = [
        value for value in vars(callback).values() if type(value) in (list, dict, set)
    ]
    return [partial(_refill, container, copy.copy(container)) for container in found]


def _refill(container, contents):
    container.clear()
    container.extend(contents) if isinstance(container, list) else container.update(
        contents
    )


def set_vars(instance, attributes):
    """Make `attributes` the attributes of an instance."""
    vars(instance).clear()
    vars(instance).update(attributes)
