"""Parameters of a sampler on the command line."""

import ast
import math

from skdal.exceptions import InvalidParameterError

_NUMBERS = {"inf": math.inf, "-inf": -math.inf}  # which are not literals of Python


def sampler_params_of(texts, **options):
    """Return the parameters in texts "NAME=VALUE", a dict.

    Parameters
    ----------
    texts : list of str
        A value is a literal of Python, else the text itself.
    **options
        Parameters that have an option of their own; None where it was not given.

    Raises
    ------
    InvalidParameterError
        A text has no name or no value, or a parameter is given twice.
    """
    params = {name: value for name, value in options.items() if value is not None}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not name or not equals:
            raise InvalidParameterError(
                f"--sampler-param must be NAME=VALUE, such as gamma=0; got {text!r}."
            )
        if name in params:
            raise InvalidParameterError(
                f"the sampler's parameter {name!r} is given twice; give it once."
            )
        params[name] = _value_of(value.strip())
    return params


def _value_of(text):
    if text in _NUMBERS:
        return _NUMBERS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
