"""From folders of runs to comparisons: which runs answer the same question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skdal.exceptions import InvalidDataError
from skdal.experiments._records import read_records
from skdal.experiments._spec import Training
from skdal.experiments._store import data_name
from skdal.experiments._suites import SUITES, Suite


@dataclass(frozen=True)
class Comparison:
    """Runs that differ in their sampler and seed alone.

    Attributes
    ----------
    name, title, dataset : str
    runs : dict of str to dict of int to list of dict
        Label, seed: the records of the rounds.
    paper : dict or None
        See `Suite`; None where the paper has no numbers for such runs.
    n_failed : int
        Runs that failed.
    """

    name: str
    title: str
    dataset: str
    runs: dict
    paper: dict | None
    n_failed: int

    @property
    def labels(self) -> Any:
        """Labels of the variants that have runs."""
        return list(self.runs)

    @property
    def records(self) -> Any:
        """The records of all rounds of all runs."""
        return [
            r
            for seeds in self.runs.values()
            for records in seeds.values()
            for r in records
        ]

    @property
    def n_labeled(self) -> Any:
        """Numbers of labels at which anything was measured, ascending."""
        return sorted({record["n_labeled"] for record in self.records})

    @property
    def seeds(self) -> Any:
        """Seeds of any run, ascending."""
        return sorted({seed for seeds in self.runs.values() for seed in seeds})

    def curves(self, label: str, measure: str = "accuracy") -> Any:
        """Return a measure of a variant, (n_seeds, n_points) for `seeds` and `n_labeled`, NaN where
        there is none.
        """
        column = {n: i for i, n in enumerate(self.n_labeled)}
        found = np.full((len(self.seeds), len(column)), np.nan)
        for row, seed in enumerate(self.seeds):
            for record in self.runs[label].get(seed, ()):
                if record[measure] is not None:
                    found[row, column[record["n_labeled"]]] = record[measure]
        return found

    def of_paper(self, label: str) -> Any:
        """Return the paper's accuracy in percent, (means, deviations) of (n_points,) each, NaN
        where it has none.
        """
        held = {} if self.paper is None else self.paper["columns"].get(label, {})
        pairs = [held.get(str(n), (None, None)) for n in self.n_labeled]
        return np.array(pairs, dtype=float).reshape(-1, 2).T

    @property
    def baseline(self) -> Any:
        """The label that others are compared with: "random", None where it has no runs."""
        return "random" if "random" in self.runs else None


def comparisons(root: str | Path, suites: Any = None) -> Any:
    """Return what the runs below a folder compare.

    Runs on different data, or on other data under the same name, are kept apart.

    Parameters
    ----------
    root : str or Path
        As in `read_records`.
    suites : list of Suite, optional
        Only these. None: all that have runs which are not all in another one, and by setting what
        belongs to none.

    Returns
    -------
    list of Comparison

    Raises
    ------
    InvalidDataError
        The folder holds no finished round of these suites, or what cannot be read.
    """
    found = read_records(root)
    names = _data_names(found)
    groups: dict = {}
    for suite in SUITES.values() if suites is None else suites:
        for run in found:
            label = suite.label(run.spec)
            if label is not None:
                key = _Group(suite, suite.title, names[run.spec])
                groups.setdefault(key, []).append((label, run))
    if suites is None:
        groups = _without_parts(groups)
        used = {run.spec for members in groups.values() for _, run in members}
        for run in found:
            if run.spec not in used:
                key = _Group(None, _setting(run.spec), names[run.spec])
                groups.setdefault(key, []).append((_label(run.spec), run))
    made = [_comparison(group, members) for group, members in groups.items()]
    made = [comparison for comparison in made if comparison.runs]
    if not made:
        what = (
            "any run" if suites is None else ", ".join(suite.name for suite in suites)
        )
        n_failed = sum(run.failure is not None for run in found)
        raise InvalidDataError(
            f"{root} holds no finished round of {what} ({n_failed} of {len(found)} runs there "
            "failed); `skdal run` makes some."
        )
    return made


def comparison_of(suite, runs):
    """Return the Comparison of some runs of one suite, on the same data.

    Parameters
    ----------
    suite : Suite
    runs : list of StoredRun
    """
    group = _Group(suite, suite.title, _data_names(runs)[runs[0].spec])
    return _comparison(group, [(suite.label(run.spec), run) for run in runs])


class _Group(NamedTuple):
    """What runs have in common that are compared; the suite is None where they belong to none."""

    suite: Suite | None
    title: str
    dataset: str


def _comparison(group, members):
    """Return the Comparison of the pairs (label, StoredRun) of a group."""
    suite = group.suite
    order = {label: i for i, label in enumerate(suite.variants if suite else ())}
    runs = {}
    for label, run in sorted(
        members, key=lambda member: (order.get(member[0], 0), member[0])
    ):
        records = run.records
        if suite is not None:  # the first rounds of a longer run are the same run
            records = records[: suite.spec(label, 0).n_rounds + 1]
        if len(records) > len(runs.get(label, {}).get(run.spec.seed, [])):
            runs.setdefault(label, {})[run.spec.seed] = records
    return Comparison(
        name="other" if suite is None else suite.name,
        title=group.title,
        dataset=group.dataset,
        runs=runs,
        paper=suite.paper if _is_paper_setting(group, members) else None,
        n_failed=sum(run.failure is not None for _, run in members),
    )


def _is_paper_setting(group, members):
    return group.suite is not None and all(
        group.suite.is_paper_setting(run.spec) for _, run in members
    )


def _without_parts(groups):
    """Return the groups whose runs are not all in one other group: suites share their plain runs.

    Of groups of the same runs that of the data which the paper's numbers are for stays, else the
    first.
    """
    members = [{run.spec for _, run in found} for found in groups.values()]
    rank = [
        (not _is_paper_setting(group, found), n)
        for n, (group, found) in enumerate(groups.items())
    ]
    return {
        group: found
        for n, (group, found) in enumerate(groups.items())
        if not any(
            members[n] < other or members[n] == other and rank[m] < rank[n]
            for m, other in enumerate(members)
        )
    }


def _data_names(found):
    """Return what to call the data of each run's spec: short, but other names for other data."""
    sources = {}
    for run in found:
        held = sources.setdefault(data_name(run.spec.dataset), {}).setdefault(
            run.spec.dataset, set()
        )
        if (
            run.records and run.spec.imbalance_ratio == 1
        ):  # an imbalanced form is another for each seed
            held.add(run.records[0]["data"])
    names = {}
    for run in found:
        dataset = run.spec.dataset
        ratio = run.spec.imbalance_ratio
        paths = sources[data_name(dataset)]
        name = data_name(dataset) if len(paths) == 1 else dataset
        if ratio != 1:
            name += f", imbalance ratio {ratio:g}"
        elif len(paths[dataset]) > 1 and run.records:
            name += f" ({run.records[0]['data']})"
        names[run.spec] = name
    return names


def _label(spec):
    params = ", ".join(f"{name}={value}" for name, value in spec.sampler_params.items())
    return f"{spec.sampler} ({params})" if params else spec.sampler


def _setting(spec):
    """Return in words what is alike in runs that differ in sampler and seed: what is not the
    default.
    """
    words = [
        spec.model,
        f"{spec.n_initial} labels, then {spec.n_rounds} x {spec.n_instances}",
    ]
    words += [
        f"{name} {value}"
        for name, value in vars(spec.training).items()
        if value != getattr(Training(), name)
    ]
    return ", ".join(words)
