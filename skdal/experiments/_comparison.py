"""From folders of runs to comparisons: which runs answer the same question."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skdal.exceptions import InvalidDataError
from skdal.experiments._spec import RunSpec, Training
from skdal.experiments._store import RunFolder
from skdal.experiments._suites import SUITES


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
    def labels(self):
        """Labels of the variants that have runs."""
        return list(self.runs)

    @property
    def n_labeled(self):
        """Numbers of labels at which anything was measured, ascending."""
        return sorted({r["n_labeled"] for seeds in self.runs.values() for records in seeds.values() for r in records})

    @property
    def seeds(self):
        """Seeds of any run, ascending."""
        return sorted({seed for seeds in self.runs.values() for seed in seeds})

    def curves(self, label, measure="accuracy"):
        """Return a measure of a variant, (n_seeds, n_points) for `seeds` and `n_labeled`, NaN where there is none."""
        column = {n: i for i, n in enumerate(self.n_labeled)}
        found = np.full((len(self.seeds), len(column)), np.nan)
        for row, seed in enumerate(self.seeds):
            for record in self.runs[label].get(seed, ()):
                if record[measure] is not None:
                    found[row, column[record["n_labeled"]]] = record[measure]
        return found

    def of_paper(self, label):
        """Return the paper's (means, deviations) in percent, (n_points,) each, NaN where it has none."""
        held = {} if self.paper is None else self.paper["columns"].get(label, {})
        pairs = [held.get(str(n), (None, None)) for n in self.n_labeled]
        return np.array(pairs, dtype=float).reshape(-1, 2).T

    @property
    def baseline(self):
        """The label that others are compared with: "random", None where it has no runs."""
        return "random" if "random" in self.runs else None


def comparisons(root, suites=None):
    """Return what the runs below a folder compare.

    Parameters
    ----------
    root : str or Path
    suites : list of Suite, optional
        Only these. None: all that have runs which are not all in another one, and by setting what belongs to none.

    Returns
    -------
    list of Comparison

    Raises
    ------
    InvalidDataError
        The folder holds no runs, or none of these suites.
    """
    found = stored_runs(root)
    groups = {}
    for suite in SUITES.values() if suites is None else suites:
        for i, (spec, _, _) in enumerate(found):
            label = suite.label(spec)
            if label is not None:
                key = (suite.name, suite.title, _data_name(spec), suite.is_paper_setting(spec), suite)
                groups.setdefault(key, []).append((label, i))
    if suites is None:
        groups = _without_parts(groups)
        used = {i for members in groups.values() for _, i in members}
        for i, (spec, _, _) in enumerate(found):
            if i not in used:
                key = ("other", _setting(spec), _data_name(spec), False, None)
                groups.setdefault(key, []).append((_label(spec), i))
    if not groups:
        raise InvalidDataError(f"{root} holds no runs of {', '.join(suite.name for suite in suites)}.")
    return [_comparison(key, members, found) for key, members in groups.items()]


def stored_runs(root):
    """Return (spec, records, failure) of each run below a folder.

    Raises
    ------
    InvalidDataError
        There is none, or a spec cannot be read.
    """
    found = []
    for file in sorted(Path(root).glob("*/spec.json")):
        spec = RunSpec.from_json(file.read_text())
        folder = RunFolder(root, spec)
        if folder.path != file.parent:
            raise InvalidDataError(f"{file} is the spec of {folder.path.name}; the folder has another name.")
        found.append((spec, folder.rounds(), folder.failure))
    if not found:
        raise InvalidDataError(f"there are no runs in {Path(root).resolve()}; `skdal run SUITE --out DIR` makes some.")
    return found


def _comparison(key, members, found):
    name, title, dataset, is_paper, suite = key
    order = {label: i for i, label in enumerate(suite.variants if suite else ())}
    runs, n_failed = {}, 0
    for label, i in sorted(members, key=lambda member: (order.get(member[0], 0), member[0])):
        spec, records, failure = found[i]
        n_failed += failure is not None
        if suite is not None:  # the first rounds of a longer run are the same run
            records = records[: suite.spec(label, 0).n_rounds + 1]
        held = runs.setdefault(label, {}).get(spec.seed, [])
        if len(records) > len(held):
            runs[label][spec.seed] = records
    runs = {label: seeds for label, seeds in runs.items() if seeds}
    return Comparison(name, title, dataset, runs, suite.paper if is_paper else None, n_failed)


def _without_parts(groups):
    """Return the groups whose runs are not all in one other group: suites share their plain runs."""
    members = [{i for _, i in group} for group in groups.values()]
    return {
        key: group
        for n, (key, group) in enumerate(groups.items())
        if not any(members[n] < other or members[n] == other and m < n for m, other in enumerate(members))
    }


def _data_name(spec):
    ratio = f", imbalance ratio {spec.imbalance_ratio:g}" if spec.imbalance_ratio != 1 else ""
    return Path(spec.dataset).stem + ratio


def _label(spec):
    params = ", ".join(f"{name}={value}" for name, value in spec.sampler_params.items())
    return f"{spec.sampler} ({params})" if params else spec.sampler


def _setting(spec):
    """Return in words what is alike in runs that differ in sampler and seed: what is not the default."""
    plain = replace(spec, training=Training())
    words = [spec.model, f"{spec.n_initial} labels, then {spec.n_rounds} x {spec.n_instances}"]
    words += [
        f"{name} {value}" for name, value in vars(spec.training).items() if value != getattr(plain.training, name)
    ]
    return ", ".join(words)
