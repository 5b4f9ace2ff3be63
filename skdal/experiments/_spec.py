"""A run as a frozen spec: what is trained on what, how samples are asked for, and every seed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdal.exceptions import InvalidParameterError
from skdal.utils import check_values, digest, integer_from, is_boolean, is_number

# The order is part of every seed: new sources go last.
_SOURCES = ("split", "initial", "weights", "order", "query")


def _is_name(value):
    return isinstance(value, str) and bool(value)


def _is_last_round(value):
    return value in ("refuse", "partial")


def _is_ratio(value):
    return is_number(value) and 1 <= value < math.inf


def _is_share(value):
    return is_number(value) and 0 <= value <= 1


def _is_rate(value):
    return is_number(value) and 0 < value < math.inf


_FLAG = (is_boolean, "True or False")
_CHECKS = {
    "n_initial": integer_from(1),
    "n_instances": integer_from(1),
    "n_rounds": integer_from(0),
    "seed": integer_from(0),
    "eval_every": integer_from(0),
    "dataset": (_is_name, "a name"),
    "model": (_is_name, "a name"),
    "sampler": (_is_name, "a name"),
    "last_round": (_is_last_round, '"refuse" or "partial"'),
    "imbalance_ratio": (_is_ratio, "a number of at least 1"),
    "training.accuracy": (_is_share, "a number from 0 to 1"),
    "training.lr": (_is_rate, "a number above 0"),
    "training.n_epochs_above": integer_from(1),
    "training.max_epochs": integer_from(1),
    "training.batch_size": integer_from(1),
    "training.warm_start": _FLAG,
    "training.reset_optimizer": _FLAG,
}


@dataclass(frozen=True)
class Training:
    """How a net is trained in each round.

    Parameters
    ----------
    accuracy : float
        The paper's "until convergence": training stops when the accuracy on the labeled set, as
        measured in passing while training, has been above this ...
    n_epochs_above : int
        ... for so many epochs of the round ...
    max_epochs : int
        ... or at the latest after so many.
    lr, batch_size
        Of Adam, and samples a step.
    warm_start : bool
        Go on from the current weights; False: from the run's initial weights in every round.
    reset_optimizer : bool
        Rebuild the optimizer before each round.
    """

    accuracy: float = 0.97
    n_epochs_above: int = 10
    max_epochs: int = 200
    lr: float = 0.001
    batch_size: int = 64
    warm_start: bool = True
    reset_optimizer: bool = True


@dataclass(frozen=True)
class RunSpec:
    """One run of active learning.

    Parameters
    ----------
    dataset, model, sampler : str
        Keys of `DATASETS` (or a path), `MODELS`, `SAMPLERS`.
    sampler_params : dict
        Of the sampler.
    n_initial, n_instances, n_rounds : int
        Labels at the start, asked for in each query, and the number of queries.
    last_round : {"refuse", "partial"}
        What if the pool has fewer samples left than the last query asks for.
    imbalance_ratio : float
        See `skdal.datasets.imbalanced`.
    seed : int
        Of everything: the split, the initial set and the weights depend on it and not on the
        sampler.
    eval_every : int
        Epochs between two looks at the test accuracy, which steer nothing; 0: only after the last.
    training : Training

    Raises
    ------
    InvalidParameterError
        All values that are not allowed are listed.
    """

    dataset: str
    model: str
    sampler: str
    sampler_params: Mapping = field(default_factory=dict)
    n_initial: int = 500
    n_instances: int = 500
    n_rounds: int = 10
    last_round: str = "refuse"
    imbalance_ratio: float = 1.0
    seed: int = 0
    eval_every: int = 5
    training: Training = Training()

    def __post_init__(self):
        if not isinstance(self.sampler_params, Mapping) or not isinstance(
            self.training, Training
        ):
            raise InvalidParameterError(
                "sampler_params must be a dict and training a Training; got "
                f"{self.sampler_params!r} and {self.training!r}."
            )
        object.__setattr__(
            self, "sampler_params", _canonical(dict(self.sampler_params))
        )
        training = {f"training.{k}": v for k, v in vars(self.training).items()}
        check_values(vars(self) | training, _CHECKS)
        object.__setattr__(self, "imbalance_ratio", float(self.imbalance_ratio))
        own = {name: float(getattr(self.training, name)) for name in ("accuracy", "lr")}
        object.__setattr__(self, "training", dataclasses.replace(self.training, **own))

    def __hash__(self):
        return hash(self.to_json())

    def to_json(self) -> Any:
        """Return canonical JSON: sorted keys, no blanks, infinity as the string "inf"."""
        return json.dumps(
            _plain(dataclasses.asdict(self)),
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Any:
        """Return the spec of a JSON text.

        Raises
        ------
        InvalidParameterError
            It is no JSON object, or has unknown or missing entries.
        """
        try:
            found = _read(json.loads(text))
            return cls(**{**found, "training": Training(**found.get("training", {}))})
        except InvalidParameterError:
            raise  # an entry is wrong, and the message says which
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise InvalidParameterError(
                f"this is not a spec of a run ({error}): {text[:200]!r}"
            ) from error

    @property
    def digest(self) -> Any:
        """A name for this spec, 12 hexadecimal digits."""
        return digest([self.to_json().encode()], n_digits=12, method="sha256")

    def seed_of(self, source: str, *counters: Any) -> Any:
        """Return the seed (32 bits) of one source of chance: "split", "initial", "weights", "order"
        or "query".

        `counters`, such as the round, tell its uses apart. Neither sampler nor training settings go
        into it.
        """
        sequence = np.random.SeedSequence(
            self.seed, spawn_key=(_SOURCES.index(source), *counters)
        )
        return int(sequence.generate_state(1)[0])


def _canonical(value):
    """Return a parameter in the one form that its JSON gives back: whole numbers as integers,
    tuples as lists.

    Raises
    ------
    InvalidParameterError
        It is nothing that JSON can hold.
    """
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (str, bool, int, float)) and value == value:
        return value
    raise InvalidParameterError(
        f"sampler_params must be numbers, strings, lists and dicts of these; got {value!r}."
    )


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _read(value):
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(item) for item in value]
    return (
        float(value) if isinstance(value, str) and value in ("inf", "-inf") else value
    )
