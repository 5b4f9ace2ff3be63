"""The suites: the paper's settings as data, and the runs that they consist of."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from skdal.exceptions import InvalidParameterError
from skdal.experiments._spec import RunSpec
from skdal.experiments._store import data_name
from skdal.utils import check_known

_STAND_INS = (
    "",
    "-jpeg",
    "-64",
)  # compressed pixels, and squares of 64 pixels, of the same images


@dataclass(frozen=True, eq=False)
class Suite:
    """A comparison: one setting, several variants.

    Attributes
    ----------
    name, title : str
    base : dict
        What all runs share, as in the JSON of a `RunSpec`.
    variants : dict of str to dict
        By label what is different; a variant without a "sampler" is the sampler of that name.
    paper : dict or None
        The paper's numbers: their "source", and "columns" of label to {number of labels: [mean,
        deviation or None]} in percent.
    """

    name: str
    title: str
    base: dict
    variants: dict
    paper: dict | None

    def spec(self, label: str, seed: int, **changes: Any) -> Any:
        """Return the spec of one run.

        Parameters
        ----------
        label : str
            Of the variant.
        seed : int
        **changes
            Entries of the spec that take precedence over the suite's; of `n_rounds` the smaller
            one.
        """
        entries = {"sampler": label} | self.base | self.variants[label]
        changes = dict(changes)
        training = entries.get("training", {}) | changes.pop("training", {})
        if "n_rounds" in changes:
            changes["n_rounds"] = min(changes["n_rounds"], entries["n_rounds"])
        return RunSpec.from_json(
            json.dumps(entries | changes | {"seed": seed, "training": training})
        )

    def label(self, spec: Any) -> Any:
        """Return which variant a run is of, None if it is of another suite.

        Data sets, seeds, evaluations and the number of rounds may differ: they are not different
        question.
        """
        for label in self.variants:
            own = self.spec(label, spec.seed)
            free = {
                name: getattr(spec, name)
                for name in ("dataset", "imbalance_ratio", "n_rounds", "eval_every")
            }
            if dataclasses.replace(own, **free) == spec:
                return label
        return None

    def is_paper_setting(self, spec: Any) -> Any:
        """Tell whether the paper's numbers are for such data: for CIFAR-10 "cifar10", and
        "cifar10-jpeg.npz".
        """
        names = [self.base["dataset"] + stand_in for stand_in in _STAND_INS]
        return (
            self.paper is not None
            and data_name(spec.dataset) in names
            and spec.imbalance_ratio == 1
        )


@cache
def _suites():
    folder = files("skdal.experiments")
    paper = json.loads((folder / "paper.json").read_text(encoding="utf-8"))
    found = json.loads((folder / "suites.json").read_text(encoding="utf-8"))
    return {
        name: Suite(name, **entry, paper=paper.get(name))
        for name, entry in found.items()
    }


SUITES = _suites()


def suites_of(name: str) -> Any:
    """Return the suites that a name stands for: itself, or all whose names go on from it
    ("table1").

    Raises
    ------
    InvalidParameterError
        There is none; the known ones are listed.
    """
    parts = [suite for key, suite in SUITES.items() if key.startswith(f"{name}-")]
    return (
        [SUITES[name]]
        if name in SUITES
        else parts or [SUITES[check_known("suite", name, SUITES)]]
    )


def specs_of(
    suites: Any, *, n_seeds: int = 5, labels: Any = None, **changes: Any
) -> Any:
    """Return the specs of all runs of some suites, all variants of a seed before the next seed.

    Parameters
    ----------
    suites : list of Suite
    n_seeds : int, default=5
        Repetitions; seeds count from 0.
    labels : list of str, optional
        Only these variants.
    **changes
        Entries of the specs that take precedence, such as `dataset`.

    Raises
    ------
    InvalidParameterError
        A label is of none of the suites.
    """
    known = list(dict.fromkeys(label for suite in suites for label in suite.variants))
    for label in labels or ():
        check_known(
            f"sampler of {', '.join(suite.name for suite in suites)}", label, known
        )
    chosen = [
        (suite, label)
        for suite in suites
        for label in suite.variants
        if labels is None or label in labels
    ]
    if not chosen or n_seeds < 1:
        raise InvalidParameterError(
            f"at least one sampler and one seed are needed; got {labels} and {n_seeds}."
        )
    specs = [
        suite.spec(label, seed, **changes)
        for seed in range(n_seeds)
        for suite, label in chosen
    ]
    return list(dict.fromkeys(specs))
