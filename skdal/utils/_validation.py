"""Checks of arguments and of scores; each error names what came, what is allowed, the remedy."""

import difflib
import numbers

import numpy as np

from skdal.exceptions import EmptyPoolError, InvalidParameterError, NonFiniteScoreError


def check_n_instances(n_instances, n_pool):
    """Return `n_instances` as an int after checking it against the pool.

    Raises
    ------
    EmptyPoolError
        The pool holds no sample.
    InvalidParameterError
        Not an integer, below 1, or above the size of the pool.
    """
    if n_pool == 0:
        raise EmptyPoolError(
            "the pool is empty: pass at least one unlabeled sample as X."
        )
    if is_boolean(n_instances) or not isinstance(n_instances, numbers.Integral):
        raise InvalidParameterError(
            f"n_instances must be an integer from 1 to {n_pool}; got {n_instances!r}."
        )
    if not 1 <= n_instances <= n_pool:
        raise InvalidParameterError(
            f"n_instances must be from 1 to {n_pool}, the size of the pool; got {n_instances}. "
            "Ask for fewer labels or pass a larger pool."
        )
    return int(n_instances)


def check_parameters(owner, checks):
    """Check constructor parameters of `owner`.

    Parameters
    ----------
    owner : estimator
        Its attributes are checked.
    checks : dict of str to (predicate, str)
        Parameter name to a predicate and the words for what is allowed.

    Raises
    ------
    InvalidParameterError
        Names the parameter, what is allowed and what came; all that are wrong are listed.
    """
    values = {name: getattr(owner, name) for name in checks}
    check_values(values, checks, type(owner).__name__)


def check_values(values, checks, owner=None):
    """Check values that belong together, and list all that are wrong.

    Parameters
    ----------
    values : dict of str to object
        By name; values without a check are left alone.
    checks : dict of str to (predicate, str)
        As for `check_parameters`.
    owner : str, optional
        Whose values they are, for the message.

    Raises
    ------
    InvalidParameterError
        Names the value, what is allowed and what came; all that are wrong are listed.
    """
    wrong = [
        f"{name} must be {allowed}; got {values[name]!r}"
        for name, (is_allowed, allowed) in checks.items()
        if not is_allowed(values[name])
    ]
    if wrong:
        prefix = "" if owner is None else f"{owner}: "
        raise InvalidParameterError(f"{prefix}{'; '.join(wrong)}.")


def integer_from(least):
    """Return the check of an integer of at least `least`: a predicate, and the words for what is
    allowed.
    """

    def is_allowed(value):
        is_integer = isinstance(value, numbers.Integral) and not is_boolean(value)
        return is_integer and value >= least

    return is_allowed, f"an integer of at least {least}"


def optional(check):
    """Return the check that allows None besides what another one allows."""
    is_allowed, allowed = check

    def is_none_or_allowed(value):
        return value is None or is_allowed(value)

    return is_none_or_allowed, f"None or {allowed}"


def check_known(kind, name, known):
    """Return `name` if it is one of the names in `known`.

    Raises
    ------
    InvalidParameterError
        Lists the known ones, and the nearest.
    """
    if isinstance(name, str) and name in known:
        return name
    raise InvalidParameterError(
        f"{name!r} is no {kind}{did_you_mean(name, known)}; known are {', '.join(known)}."
    )


def did_you_mean(name, known):
    """Return " (did you mean ...?)" with the known name that is nearest, or nothing where none is
    near.
    """
    near = difflib.get_close_matches(str(name), known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def check_finite_scores(scores):
    """Return `scores` (n_samples,) if all are finite.

    Raises
    ------
    NonFiniteScoreError
        Says how many are not, and the first positions.
    """
    refuse_non_finite(np.flatnonzero(~np.isfinite(scores)), len(scores))
    return scores


def refuse_non_finite(positions, n_pool):
    """Raise if there are positions (m,) in the pool whose scores are not finite; see
    `check_finite_scores`.
    """
    if len(positions):
        first = ", ".join(map(str, positions[:10]))
        raise NonFiniteScoreError(
            f"{len(positions)} of {n_pool} scores are NaN or infinite, at pool positions "
            f"{first}{', ...' if len(positions) > 10 else ''}. Look for NaN or infinite values "
            "in these samples or in the weights of the net (a diverged training), and remove "
            "them."
        )


def is_boolean(value):
    """Tell whether `value` is True or False."""
    return isinstance(value, (bool, np.bool_))


def is_number(value):
    """Tell whether `value` is a real number; infinity is one, NaN and booleans are not."""
    return isinstance(value, numbers.Real) and not is_boolean(value) and value == value


def is_count(value):
    """Tell whether `value` is an integer of at least 0 (`verbose` may be a boolean)."""
    return isinstance(value, numbers.Integral) and value >= 0


def is_positive_integer(value):
    """Tell whether `value` is an integer of at least 1."""
    return isinstance(value, numbers.Integral) and not is_boolean(value) and value >= 1


def is_random_state(value):
    """Tell whether `value` can be a `random_state`."""
    if isinstance(value, numbers.Integral):
        return not is_boolean(value) and 0 <= value < 2**32
    return value is None or isinstance(value, np.random.RandomState)
