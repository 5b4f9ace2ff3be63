"""Which parameters a score is over: names, and who owns them."""

from typing import Any, NamedTuple

import torch

from skdal.exceptions import InvalidParameterError


def select_parameters(model, layers, inputs):
    """Return the trainable parameters that `layers` names, in the module's order.

    Parameters
    ----------
    model : object
        With `module` and `forward`.
    layers : "all", "last", str or iterable of str
        "last": those of the last module with trainable parameters to start running. A string is a
        parameter's name, or a module's name, or else any prefix of parameter names.
    inputs : mini-batch
        For "last": one sample to run.

    Returns
    -------
    dict of str to Parameter
    """
    trainable = {name: p for name, p in model.module.named_parameters() if p.requires_grad}
    if not trainable:
        raise InvalidParameterError(
            "the net's module has no trainable parameter; unfreeze some (requires_grad_(True))."
        )
    if isinstance(layers, str) and layers == "all":
        return trainable
    if isinstance(layers, str) and layers == "last":
        prefix = _last_module(model, inputs)
        return {n: p for n, p in trainable.items() if n.startswith(f"{prefix}." if prefix else "")}
    prefixes = [layers] if isinstance(layers, str) else list(layers)
    chosen = {name for prefix in prefixes for name in _matches(prefix, trainable)}
    return {name: p for name, p in trainable.items() if name in chosen}


def _matches(prefix, names):
    """Return the names that `prefix` means, in its most specific reading."""
    if prefix in names:
        return [prefix]
    matches = [name for name in names if name.startswith(f"{prefix}.")] or [n for n in names if n.startswith(prefix)]
    if not prefix or not matches:
        raise InvalidParameterError(
            f'layers must be "all", "last" or prefixes of trainable parameters; {prefix!r} matches none of '
            f"{', '.join(names)}."
        )
    return matches


def _last_module(model, inputs):
    started = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: started.append(name))
        for name, module in model.module.named_modules()
        if any(p.requires_grad for p in module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            model.forward(inputs)
    finally:
        for handle in handles:
            handle.remove()
    # The weights of a parametrized layer belong to a list of modules below it.
    return started[-1].partition(".parametrizations.")[0] if started else ""


def check_direction(direction, parameters):
    """Return `direction` on the parameters' devices and dtypes, or None.

    Raises
    ------
    InvalidParameterError
        An entry is missing or has another shape than its parameter; all of them are listed.
    """
    if direction is None:
        return None
    wrong = [f"{name} is missing" for name in parameters if name not in direction]
    wrong += [
        f"{name} has shape {tuple(direction[name].shape)}, the parameter {tuple(p.shape)}"
        for name, p in parameters.items()
        if name in direction and direction[name].shape != p.shape
    ]
    if wrong:
        raise InvalidParameterError(
            "direction must map every scored parameter's name to a tensor of its shape, as labeled_gradient returns "
            f"them (with the same `layers`): {'; '.join(wrong)}."
        )
    return {name: direction[name].to(p) for name, p in parameters.items()}


class Owner(NamedTuple):
    """A module with scored parameters of its own.

    Attributes
    ----------
    module : torch.nn.Module
        The owner.
    names : dict of str to str
        The module's own name of a parameter ("weight") to its name in the net ("fc.weight").
    """

    module: Any
    names: dict


def owners_of(module, parameters):
    """Return the modules that own `parameters`, and the names of those with several owners.

    Returns
    -------
    owners : dict of str to Owner
        Module name to owner.
    shared : set of str
        Parameters that belong to more than one module.
    """
    full_names = {id(parameter): name for name, parameter in parameters.items()}
    owners, seen, shared = {}, set(), set()
    for module_name, part in module.named_modules():
        own = {n: full_names[id(p)] for n, p in part._parameters.items() if id(p) in full_names}
        if own:
            owners[module_name] = Owner(part, own)
        for name in own.values():
            (shared if name in seen else seen).add(name)
    return owners, shared
