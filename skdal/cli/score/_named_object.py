"""What a module holds by its name, such as the function that makes a net."""

import importlib
import sys

from skdal.exceptions import InvalidParameterError


def named_function(name, option="--net-factory"):
    """Return the function "package.module:function" of a module that is installed, or in this
    folder.

    Raises
    ------
    InvalidParameterError
        There is none; the message names the option.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise InvalidParameterError(
            f"{option} must be package.module:function; got {name!r}."
        )
    if "" not in sys.path:
        sys.path.insert(
            0, ""
        )  # a module of the folder that one is in, as with python -m
    try:
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InvalidParameterError(
            f"{option} {name!r} cannot be imported ({error}); give package.module:function of "
            "a module that is installed, or in this folder."
        ) from error
    if not callable(made):
        raise InvalidParameterError(
            f"{option} {name!r} is not a function but {type(made).__name__}."
        )
    return made
