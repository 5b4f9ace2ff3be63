"""The candidate stage of samplers that look at more than one sample at a time."""

from skdal.exceptions import InvalidParameterError
from skdal.utils import is_positive_integer

IS_N_CANDIDATES = (
    lambda v: v is None or is_positive_integer(v),
    "None or an integer of at least 1",
)


def check_n_candidates(n_candidates, n_instances):
    """Raise if there are fewer candidates than samples asked for."""
    if n_candidates is not None and n_candidates < n_instances:
        raise InvalidParameterError(
            f"n_instances is {n_instances}, and n_candidates={n_candidates} leaves fewer to "
            "choose from; raise n_candidates or ask for fewer."
        )
