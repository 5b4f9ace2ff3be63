"""Which parameters a score is over: names, and who owns them."""

from collections.abc import Mapping

import torch

from skdal.exceptions import InvalidParameterError, UnsupportedLayerError
from skdal.utils import own_parameters


def select_parameters(model, layers, inputs):
    """Return the trainable parameters that `layers` names, in the module's order.

    Parameters
    ----------
    model : object
        With `module` and `forward`.
    layers : "all", "last", str or iterable of str
        "last": those of the last module with trainable parameters to start running. A string
        is a parameter's name, or a module's name, or else any prefix of parameter names.
    inputs : tree of tensors
        For "last": one sample to run.

    Returns
    -------
    dict of str to Parameter
    """
    trainable = _trainable(model.module)
    if not is_layers(layers):
        raise InvalidParameterError(
            'layers must be "all", "last" or prefixes of parameter names; got '
            f"{layers!r}."
        )
    if isinstance(layers, str) and layers == "all":
        return trainable
    names = _all_names(model.module, trainable)
    if isinstance(layers, str) and layers == "last":
        module_name = _last_module(model, inputs)
        prefix = f"{module_name}." if module_name else ""
        matches = [name for name in names if name.startswith(prefix)]
    else:
        prefixes = [layers] if isinstance(layers, str) else layers
        matches = [name for prefix in prefixes for name in _matches(prefix, names)]
    chosen = {names[name] for name in matches}
    return {name: p for name, p in trainable.items() if name in chosen}


def is_layers(layers):
    """Tell whether `layers` is a non-empty string or a non-empty list of them."""
    prefixes = [layers] if isinstance(layers, str) else layers
    if not isinstance(prefixes, (list, tuple)) or not prefixes:
        return False
    return all(prefix and isinstance(prefix, str) for prefix in prefixes)


def _trainable(module):
    """Return the trainable parameters of a module by name; refuse those without gradients."""
    trainable = {
        name: p
        for name, p in module.named_parameters()
        if p.requires_grad and p.numel()
    }
    if not trainable:
        raise InvalidParameterError(
            "the net's module has no trainable parameter; unfreeze some "
            "(requires_grad_(True))."
        )
    complex_ones = [name for name, p in trainable.items() if p.is_complex()]
    if complex_ones:
        raise UnsupportedLayerError(
            "trainable parameters of complex numbers are not supported: "
            f"{', '.join(complex_ones)}. Freeze them (requires_grad_(False)), or hold real "
            "and imaginary parts as real parameters."
        )
    inference = [name for name, p in trainable.items() if p.is_inference()]
    if inference:
        raise UnsupportedLayerError(
            "parameters made under torch.inference_mode() cannot be differentiated: "
            f"{', '.join(inference)}. Make or load the net outside of it."
        )
    return trainable


def _all_names(module, trainable):
    """Return all names of trainable parameters, to the first of each.

    A parameter that two modules share has one name in `trainable`, but answers to each.
    """
    first = {id(p): name for name, p in trainable.items()}
    return {
        name: first[id(p)]
        for name, p in module.named_parameters(remove_duplicate=False)
        if id(p) in first
    }


def _matches(prefix, names):
    """Return the names that `prefix` means, in its most specific reading."""
    if prefix in names:
        return [prefix]
    for start in (f"{prefix}.", prefix):
        matches = [name for name in names if name.startswith(start)]
        if matches:
            return matches
    raise InvalidParameterError(
        'layers must be "all", "last" or prefixes of trainable parameters; '
        f"{prefix!r} matches none of {', '.join(names)}."
    )


def _last_module(model, inputs):
    """Return the name of the last module with trainable parameters to start running."""
    started = []
    handles = []
    try:
        for name, module in model.module.named_modules():
            if _has_trainable(module):
                handles.append(
                    module.register_forward_pre_hook(
                        lambda *_, name=name: started.append(name)
                    )
                )
        with torch.no_grad():
            model.forward(inputs)
    finally:
        for handle in handles:
            handle.remove()
    # The weights of a parametrized layer belong to a list of modules below it.
    return started[-1].partition(".parametrizations.")[0] if started else ""


def _has_trainable(module):
    """Tell whether a module owns trainable parameters and takes hooks."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    return any(p.requires_grad for p in module.parameters(recurse=False))


def check_direction(direction, parameters):
    """Return `direction` on the parameters' devices and dtypes, or None.

    Raises
    ------
    InvalidParameterError
        An entry is missing, has another shape than its parameter, or is not finite; all of
        them are listed.
    """
    if direction is None:
        return None
    if not isinstance(direction, Mapping):
        raise InvalidParameterError(
            "direction must map parameter names to tensors, as labeled_gradient returns "
            f"them; got {type(direction)}."
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
            "direction must map every scored parameter's name to a tensor of its shape, as "
            f"labeled_gradient returns them (with the same `layers`): {'; '.join(wrong)}."
        )
    broken = [name for name in parameters if not torch.isfinite(direction[name]).all()]
    if broken:
        raise InvalidParameterError(
            f"direction has NaN or infinite values in {', '.join(broken)}."
        )
    return {name: direction[name].to(p) for name, p in parameters.items()}


def owners_of(modules, parameters):
    """Return, by parameter name, the names of the modules that it belongs to.

    Parameters
    ----------
    modules : dict of str to torch.nn.Module
        By name, each once.
    parameters : dict of str to Parameter
        By their names in the net.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    owners = {name: [] for name in parameters}
    for module_name, module in modules.items():
        own = {id(p) for p in own_parameters(module).values()}
        for parameter_id in own & names.keys():
            owners[names[parameter_id]].append(module_name)
    return owners
