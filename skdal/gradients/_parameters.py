"""Which parameters a score is over: names, and who owns them."""

from collections.abc import Mapping

import torch

from skdal.exceptions import InvalidParameterError, UnsupportedLayerError


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
    trainable = {
        name: p
        for name, p in model.module.named_parameters()
        if p.requires_grad and p.numel()
    }
    if not trainable:
        raise InvalidParameterError(
            "the net's module has no trainable parameter; unfreeze some (requires_grad_(True))."
        )
    if complex_ones := [name for name, p in trainable.items() if p.is_complex()]:
        raise UnsupportedLayerError(
            f"trainable parameters of complex numbers are not supported: {', '.join(complex_ones)}. Freeze them "
            "(requires_grad_(False)), or hold real and imaginary parts as real parameters."
        )
    if inference := [name for name, p in trainable.items() if p.is_inference()]:
        raise UnsupportedLayerError(
            f"parameters made under torch.inference_mode() cannot be differentiated: {', '.join(inference)}. Make or "
            "load the net outside of it."
        )
    if not is_layers(layers):
        raise InvalidParameterError(
            f'layers must be "all", "last" or prefixes of parameter names; got {layers!r}.'
        )
    if isinstance(layers, str) and layers == "all":
        return trainable
    # A parameter that two modules share has one name in `trainable`, but answers to each of its names.
    first = {id(p): name for name, p in trainable.items()}
    names = {
        n: first[id(p)]
        for n, p in model.module.named_parameters(remove_duplicate=False)
        if id(p) in first
    }
    if isinstance(layers, str) and layers == "last":
        prefix = _last_module(model, inputs)
        chosen = {
            names[n] for n in names if n.startswith(f"{prefix}." if prefix else "")
        }
    else:
        prefixes = [layers] if isinstance(layers, str) else layers
        chosen = {names[n] for prefix in prefixes for n in _matches(prefix, names)}
    return {name: p for name, p in trainable.items() if name in chosen}


def is_layers(layers):
    """Tell whether `layers` is a non-empty string or a non-empty list of them."""
    prefixes = [layers] if isinstance(layers, str) else layers
    return (
        isinstance(prefixes, (list, tuple))
        and bool(prefixes)
        and all(p and isinstance(p, str) for p in prefixes)
    )


def _matches(prefix, names):
    """Return the names that `prefix` means, in its most specific reading."""
    if prefix in names:
        return [prefix]
    matches = [n for n in names if n.startswith(f"{prefix}.")] or [
        n for n in names if n.startswith(prefix)
    ]
    if not matches:
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
        if not isinstance(module, torch.jit.ScriptModule)
        and any(p.requires_grad for p in module.parameters(recurse=False))
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
        An entry is missing, has another shape than its parameter, or is not finite; all of them are listed.
    """
    if direction is None:
        return None
    if not isinstance(direction, Mapping):
        raise InvalidParameterError(
            f"direction must map parameter names to tensors, as labeled_gradient returns them; got {type(direction)}."
        )
    direction = {
        name: torch.as_tensor(value).detach() for name, value in direction.items()
    }
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
    if broken := [
        name for name in parameters if not torch.isfinite(direction[name]).all()
    ]:
        raise InvalidParameterError(
            f"direction has NaN or infinite values in {', '.join(broken)}."
        )
    return {name: direction[name].to(p) for name, p in parameters.items()}


def owners_of(modules, parameters):
    """Return, by parameter name, the names of the modules (by name) that it belongs to.

    Parameters
    ----------
    modules : dict of str to torch.nn.Module
        Each once.
    parameters : dict of str to Parameter
        By their names in the net.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    owners = {name: [] for name in parameters}
    for module_name, module in modules.items():
        for name in {
            names[id(p)] for p in module._parameters.values() if id(p) in names
        }:
            owners[name].append(module_name)
    return owners
