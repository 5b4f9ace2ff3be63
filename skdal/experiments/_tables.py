"""Tables of comparisons: accuracy by round, differences to random, who beats whom."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from tabulate import tabulate

from skdal.experiments._statistics import (
    area_under_curve,
    labels_saved,
    paired_difference,
    penalty_matrix,
)
from skdal.utils import check_known

MEASURES = {
    "accuracy": "accuracy in %, after the last epoch of the round",
    "optimistic_accuracy": "accuracy in %, best over the round's looks at the test set: optimistic",
    "macro_f1": "macro-F1 in %, after the last epoch of the round",
}
_OF_ACCURACY = ("accuracy", "optimistic_accuracy")
STYLES = {
    "markdown": "github",
    "latex": "latex_booktabs",
    "rst": "rst",
}  # as tabulate calls them
PARTS = ("rounds", "summary", "penalty")


def format_comparison(
    comparison: Any,
    *,
    measure: str = "accuracy",
    style: str = "markdown",
    parts: Any = PARTS,
) -> Any:
    """Return a comparison as text.

    Parameters
    ----------
    comparison : Comparison
    measure : str
        A key of `MEASURES`.
    style : str
        One of `STYLES`.
    parts : sequence of str
        Of `PARTS`.
    """
    check_known("measure", measure, MEASURES)
    check_known("format", style, STYLES)
    makers = {
        "rounds": rounds_table,
        "summary": summary_table,
        "penalty": penalty_table,
    }
    tables = [
        makers[check_known("part", part, PARTS)](comparison, measure) for part in parts
    ]
    shown = [
        _as_text(title, header, rows, style) for title, header, rows in tables if rows
    ]
    return "\n\n".join([*_heading(comparison, measure, style), *shown]) + "\n"


def format_csv(found: Any, *, measure: str = "accuracy") -> Any:
    """Return comparisons as one table of comma-separated values, a row a sampler and number of
    labels.

    Its columns: suite, data, measure, sampler, labels, seeds, mean and deviation in percent, the
    difference to random with its 95% interval and its number of pairs, the paper's mean and
    deviation.

    Parameters
    ----------
    found : list of Comparison
    measure : str
        A key of `MEASURES`.
    """
    check_known("measure", measure, MEASURES)
    header = (
        "suite data measure sampler labels seeds mean deviation difference low high pairs "
        "paper_mean paper_deviation"
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header.split())
    for comparison in found:
        for label in comparison.labels:
            writer.writerows(_csv_rows(comparison, label, measure))
    return out.getvalue()


def _csv_rows(comparison, label, measure):
    """Yield a row for each number of labels at which a sampler was measured."""
    ours = _percent(comparison, label, measure)
    random = _percent(comparison, comparison.baseline, measure)
    paper = _paper(comparison, label, measure)
    for i, n in enumerate(comparison.n_labeled):
        values = ours[:, i][~np.isnan(ours[:, i])]
        if not len(values):
            continue
        difference = paired_difference(ours[:, i], random[:, i])
        numbers = [values.mean(), _deviation(values), *difference[:3]]
        yield [
            *(comparison.name, comparison.dataset, measure, label, n, len(values)),
            *("" if np.isnan(value) else f"{value:.4f}" for value in numbers),
            difference.n_pairs,
            *("" if np.isnan(value) else value for value in paper[:, i]),
        ]


def rounds_table(comparison, measure):
    """Return (title, header, rows): mean and deviation over seeds by number of labels, the paper's
    in brackets.
    """
    header = ["labels", *comparison.labels]
    rows = []
    for i, n in enumerate(comparison.n_labeled):
        cells = []
        for label in comparison.labels:
            ours = _spread(_percent(comparison, label, measure)[:, i])
            mean, deviation = _paper(comparison, label, measure)[:, i]
            cells.append(
                ours if np.isnan(mean) else f"{ours} [{_plus_minus(mean, deviation)}]"
            )
        rows.append([n, *cells])
    has_paper = comparison.paper and measure in _OF_ACCURACY
    source = (
        f"; in brackets the paper's ({comparison.paper['source']})" if has_paper else ""
    )
    return f"Mean ± standard deviation over seeds{source}", header, rows


_SECONDS = ("train_seconds", "query_seconds")
_SUMMARY = (
    "sampler",
    "seeds",
    "at the end",
    "minus random",
    "paper",
    "paper minus random",
    "mean of the curve",
    "curve minus random",
    "labels saved",
    "s training",
    "s query",
)


def summary_table(comparison, measure):
    """Return (title, header, rows): a row a sampler, at the last number of labels that the paper
    has, else the last.
    """
    at = _last_of_paper(comparison)
    rows = [_summary_row(comparison, label, measure, at) for label in comparison.labels]
    # There may be no numbers of the paper, and no random sampling to compare with.
    columns = [i for i in range(len(_SUMMARY)) if any(row[i] != "" for row in rows)]
    title = (
        f"At {comparison.n_labeled[at]} labels; differences are paired by seed, with 95% "
        "confidence intervals"
    )
    header = [_SUMMARY[i] for i in columns]
    return title, header, [[row[i] for i in columns] for row in rows]


def _summary_row(comparison, label, measure, at):
    """Return the cells of a sampler, one for each column of the summary."""
    curves = _percent(comparison, label, measure)[:, : at + 1]
    random = _percent(comparison, comparison.baseline, measure)[:, : at + 1]
    # Variants of other batch sizes have points of their own.
    own = ~np.isnan(curves).all(axis=0)
    n_labeled = np.array(comparison.n_labeled[: at + 1])[own]
    curves = curves[:, own]
    random = random[:, own]
    whole = ~np.isnan(curves).any(axis=1)
    if not whole.any():
        return [label, 0, *[""] * (len(_SUMMARY) - 2)]
    paper = _paper(comparison, label, measure)[0, at]
    paper_random = _paper(comparison, comparison.baseline, measure)[0, at]
    end, area, saved = _gains(n_labeled, curves, random)
    height = _spread(area_under_curve(n_labeled, curves))
    if label == comparison.baseline:
        beside = ["", _number(paper), "", height, "", ""]
    else:
        of_paper = [_number(paper), _number(paper - paper_random, "+.2f")]
        beside = [end, *of_paper, height, area, saved]
    seconds = [_seconds(comparison, label, name, whole, at) for name in _SECONDS]
    return [label, int(whole.sum()), _spread(curves[:, -1]), *beside, *seconds]


def _gains(n_labeled, curves, random):
    """Return in words what a sampler gains over random: at the end, over the curve, in labels."""
    area = area_under_curve(n_labeled, curves)
    area_random = area_under_curve(n_labeled, random)
    saved = [labels_saved(n_labeled, ours, base) for ours, base in zip(curves, random)]
    return (
        _interval(paired_difference(curves[:, -1], random[:, -1])),
        _interval(paired_difference(area, area_random)),
        _interval(paired_difference(saved, np.zeros(len(saved))), "+.0f"),
    )


def penalty_table(comparison, measure):
    """Return (title, header, rows): how often the row's sampler is significantly better than the
    column's.
    """
    labels = comparison.labels
    found = penalty_matrix(
        [_percent(comparison, label, measure)[:, 1:] for label in labels]
    )
    if np.isnan(found).all():
        return "", [], []
    rows = [
        [label, *(_number(value) for value in row)] for label, row in zip(labels, found)
    ]
    rows.append(["mean of the column", *(_number(_mean(column)) for column in found.T)])
    title = (
        "Share of the rounds in which the row's sampler beats the column's (paired t-test, "
        "5%); low columns are good"
    )
    return title, ["", *labels], rows


def _heading(comparison, measure, style):
    mark = {"markdown": "## ", "latex": "% ", "rst": ""}[style]
    title = f"{mark}{comparison.name}: {comparison.title}"
    if style == "rst":
        title += "\n" + "-" * len(title)
    sentences = [f"Data: {comparison.dataset}; {MEASURES[measure]}."]
    n_limited = sum(not r["converged"] for r in comparison.records)
    n_rounds = len(comparison.records)
    if n_limited:
        sentences.append(
            f"{n_limited} of {n_rounds} trainings ended at the limit of epochs, not by their rule."
        )
    if comparison.n_failed:
        runs = "run" if comparison.n_failed == 1 else "runs"
        sentences.append(
            f"{comparison.n_failed} {runs} failed; failed.txt in the folder of each says why."
        )
    return [title, ("% " if style == "latex" else "") + " ".join(sentences)]


def _as_text(title, header, rows, style):
    body = tabulate(rows, header, tablefmt=STYLES[style], disable_numparse=True)
    return (
        f"% {title}\n{body}".replace("±", "$\\pm$")
        if style == "latex"
        else f"{title}.\n\n{body}"
    )


def _percent(comparison, label, measure):
    """Return the curves of a label in percent; of no label NaN."""
    if label is None:
        return np.full((len(comparison.seeds), len(comparison.n_labeled)), np.nan)
    return 100 * comparison.curves(label, measure)


def _paper(comparison, label, measure):
    """Return the paper's (means, deviations), NaN where it has none: its numbers are accuracies."""
    found = comparison.of_paper(label)
    return found if measure in _OF_ACCURACY else np.full_like(found, np.nan)


def _last_of_paper(comparison):
    held = [~np.isnan(comparison.of_paper(label)[0]) for label in comparison.labels]
    rows = np.flatnonzero(np.any(held, axis=0))
    return int(rows[-1]) if len(rows) else len(comparison.n_labeled) - 1


def _seconds(comparison, label, name, whole, at):
    """Return the training of a whole run, or a query, in seconds, over the seeds that are
    complete.
    """
    held = comparison.curves(label, name)[whole, : at + 1]
    value = np.nansum(held, axis=1).mean() if name == "train_seconds" else _mean(held)
    return _number(value, ".0f" if name == "train_seconds" else ".2f")


def _mean(values):
    values = values[~np.isnan(values)]
    return values.mean() if len(values) else np.nan


def _deviation(values):
    return values.std(ddof=1) if len(values) > 1 else np.nan


def _spread(values):
    values = values[~np.isnan(values)]
    return _plus_minus(values.mean(), _deviation(values)) if len(values) else ""


def _plus_minus(mean, deviation):
    return f"{mean:.2f}" if np.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def _interval(difference, how="+.2f"):
    if not difference.n_pairs:
        return ""
    bounds = (
        ""
        if np.isnan(difference.low)
        else f" ({difference.low:{how}} to {difference.high:{how}})"
    )
    return f"{difference.mean:{how}}{bounds}"


def _number(value, how=".2f"):
    return "" if np.isnan(value) else format(value, how)
