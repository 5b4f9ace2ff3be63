"""Keep the results of experiments in the documentation.

`python benchmarks/render_results.py [--add DIR ...] [--theory DIR ...]` adds the specs and records
of all finished runs below each DIR (a folder that `skdal run` wrote) to docs/results/records, one
compressed file a suite, and copies the results of `skdal theory` to docs/results/theory; it draws
the tables and plots of all of them anew: docs/results/tables/*.rst and docs/results/plots. A test
holds the tables against the records.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from tabulate import tabulate

from skdal.experiments import (
    SUITES,
    comparisons,
    format_comparison,
    read_records,
    write_plots,
    write_records,
)
from skdal.experiments._statistics import area_under_curve, paired_difference
from skdal.experiments._store import data_name
from skdal.experiments.theory import THEORY, figure_stem, stored_results
from skdal.utils._style import save_figure

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
RECORDS = RESULTS / "records"
MEASURES = ("accuracy", "optimistic_accuracy")


def add(folders):
    """Put the finished runs of some folders, in which nothing was queried after the last round, to
    the records.
    """
    runs = {run.spec: run for run in _records()}
    for folder in folders:
        for run in read_records(folder):
            if run.records and not run.records[-1]["queried"]:
                runs[run.spec] = run
    by_suite = {}
    for spec, run in runs.items():
        by_suite.setdefault(_suite_of(spec), []).append(run)
    RECORDS.mkdir(exist_ok=True)
    for file in RECORDS.glob("*.runs.xz"):
        file.unlink()
    for name, found in by_suite.items():
        write_records(RECORDS / f"{name}.runs.xz", found)


def _records():
    return read_records(RECORDS) if RECORDS.exists() else []


def _suite_of(spec):
    """Return the name of the suite whose file a run goes to; several suites have plain runs in
    common.

    It is the first one for such data, those of table 1 last, whose runs are parts of others.
    """
    own = [suite for suite in SUITES.values() if suite.label(spec) is not None]
    rank = {
        suite.name: (
            not data_name(spec.dataset).startswith(suite.base["dataset"]),
            suite.name.startswith("table1-"),
        )
        for suite in own
    }
    return min(rank, key=rank.get, default="other")


def picks_table(comparison):
    """Return a table of what samplers ask for: shared picks of the first query, where all ask the
    same net; classes.

    "Classes" is the exponential of the entropy of the classes in a query, K for equal shares,
    averaged over queries.
    """
    labels, runs = comparison.labels, comparison.runs
    seeds = set.intersection(*(set(runs[label]) for label in labels))
    first = {
        label: [set(runs[label][seed][0]["queried"]) for seed in seeds]
        for label in labels
    }
    rows = []
    for label in labels:
        shared = {
            name: np.mean(
                [len(a & b) / len(a) for a, b in zip(first[label], first[name])]
            )
            for name in labels
        }
        classes = [
            _effective(r["classes"])
            for seed in seeds
            for r in runs[label][seed]
            if r["queried"]
        ]
        cells = [
            "" if name == label else f"{100 * share:.0f} %"
            for name, share in shared.items()
        ]
        rows.append([label, *cells, f"{np.mean(classes):.2f}"])
    return (
        tabulate(rows, ["", *labels, "classes"], tablefmt="rst", disable_numparse=True)
        + "\n"
    )


def versus_table(comparison, label):
    """Return a table of a sampler minus each other, paired by seed: at the end and over the curve,
    95% intervals.
    """
    ours, rows = 100 * comparison.curves(label), []
    for other in comparison.labels:
        theirs = 100 * comparison.curves(other)
        areas = (
            area_under_curve(comparison.n_labeled, curves) for curves in (ours, theirs)
        )
        cells = [
            paired_difference(ours[:, -1], theirs[:, -1]),
            paired_difference(*areas),
        ]
        if other != label and cells[0].n_pairs > 1:
            rows.append(
                [
                    other,
                    *(f"{d.mean:+.2f} ({d.low:+.2f} to {d.high:+.2f})" for d in cells),
                ]
            )
    header = [
        f"{label} minus",
        f"at {comparison.n_labeled[-1]} labels",
        "mean of the curve",
    ]
    return tabulate(rows, header, tablefmt="rst", disable_numparse=True) + "\n"


def _effective(counts):
    shares = np.array([count for count in counts if count]) / sum(counts)
    return np.exp(-(shares * np.log(shares)).sum())


def tables():
    """Return the text of every table of the records, by name."""
    found = {}
    for comparison in comparisons(RECORDS):
        stem = f"{comparison.name}-{comparison.dataset}"
        for measure in MEASURES:
            for part in ("rounds", "summary", "penalty"):
                text = format_comparison(
                    comparison, measure=measure, style="rst", parts=[part]
                )
                if "===" in text:
                    found[f"{stem}-{measure}-{part}"] = text.split("\n\n", 2)[
                        2
                    ]  # below the heading
        if (
            len(
                {
                    record["n_labeled"]
                    for record in comparison.records
                    if record["round"] == 1
                }
            )
            == 1
        ):
            found[f"{stem}-picks"] = picks_table(comparison)
        for label in ("dynamical", "gamma 2", "kappa 0"):  # the paper's
            if label in comparison.labels:
                found[f"{stem}-versus"] = versus_table(comparison, label)
    for name, settings, result in stored_results(RESULTS / "theory"):
        stem = f"theory-{figure_stem(name, settings)}"
        if stem in found:
            raise SystemExit(
                f"docs/results/theory has two results of the name {stem}: remove one of them."
            )
        found[stem] = THEORY[name].table(result, settings, name, "rst")
    return found


def main():
    """Copy, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs="+", default=[], metavar="DIR")
    parser.add_argument("--theory", nargs="+", default=[], metavar="DIR")
    args = parser.parse_args()
    if args.add:
        add(args.add)
    for folder in args.theory:
        (RESULTS / "theory").mkdir(exist_ok=True)
        for file in Path(folder).glob("*.json"):
            shutil.copyfile(file, RESULTS / "theory" / file.name)
    shutil.rmtree(RESULTS / "tables", ignore_errors=True)
    (RESULTS / "tables").mkdir(parents=True)
    for name, text in tables().items():
        (RESULTS / "tables" / f"{name}.rst").write_text(text)
    for comparison in comparisons(RECORDS):
        for measure in MEASURES:
            write_plots(comparison, RESULTS / "plots", measure=measure)
    for name, settings, result in stored_results(RESULTS / "theory"):
        figure = THEORY[name].draw(result, settings, name)
        for kind in ("png", "svg"):
            with open(
                RESULTS / "plots" / f"theory-{figure_stem(name, settings)}.{kind}", "wb"
            ) as out:
                save_figure(figure, kind, out)


if __name__ == "__main__":
    main()
