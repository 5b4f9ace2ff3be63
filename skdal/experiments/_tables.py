"""Tables of comparisons: accuracy by round, differences to random, who beats whom."""

import csv
import io

import numpy as np
from tabulate import tabulate

from skdal.experiments._statistics import area_under_curve, labels_saved, paired_difference, penalty_matrix
from skdal.utils import check_known

MEASURES = {
    "accuracy": "accuracy in %, after the last epoch of the round",
    "optimistic_accuracy": "accuracy in %, best over the round's looks at the test set: optimistic",
    "macro_f1": "macro-F1 in %, after the last epoch of the round",
}
FORMATS = ("markdown", "latex", "rst", "csv")
_TABULATE = {"markdown": "github", "latex": "latex_booktabs", "rst": "rst"}
PARTS = ("rounds", "summary", "penalty")


def format_comparison(comparison, *, measure="accuracy", style="markdown", parts=PARTS):
    """Return a comparison as text.

    Parameters
    ----------
    comparison : Comparison
    measure : str
        A key of `MEASURES`.
    style : str
        One of `FORMATS`; in csv a table follows the other after an empty line.
    parts : sequence of str
        Of `PARTS`.
    """
    check_known("measure", measure, MEASURES)
    check_known("format", style, FORMATS)
    makers = {"rounds": rounds_table, "summary": summary_table, "penalty": penalty_table}
    tables = [makers[check_known("part", part, PARTS)](comparison, measure) for part in parts]
    shown = [_as_text(title, header, rows, style) for title, header, rows in tables if rows]
    return "\n\n".join([*_heading(comparison, measure, style), *shown]) + "\n"


def rounds_table(comparison, measure):
    """Return (title, header, rows): mean and deviation over seeds by number of labels, the paper's in brackets."""
    header, rows = ["labels", *comparison.labels], []
    for i, n in enumerate(comparison.n_labeled):
        cells = []
        for label in comparison.labels:
            ours = _spread(100 * comparison.curves(label, measure)[:, i])
            mean, deviation = comparison.of_paper(label)[:, i]
            cells.append(ours if np.isnan(mean) else f"{ours} [{_plus_minus(mean, deviation)}]")
        rows.append([n, *cells])
    source = f"; in brackets the paper's ({comparison.paper['source']})" if comparison.paper else ""
    return f"Mean ± standard deviation over seeds{source}", header, rows


def summary_table(comparison, measure):
    """Return (title, header, rows): a row a sampler, at the last number of labels that the paper has, else the last."""
    at = _last_of_paper(comparison)
    n_labeled, base = comparison.n_labeled[: at + 1], comparison.baseline
    header = ["sampler", "seeds", "at the end", "minus random", "paper", "paper minus random"]
    header += ["mean of the curve", "curve minus random", "labels saved", "s training", "s query"]
    rows = []
    for label in comparison.labels:
        curves = 100 * comparison.curves(label, measure)[:, : at + 1]
        random = np.nan * curves if base is None else 100 * comparison.curves(base, measure)[:, : at + 1]
        paper = comparison.of_paper(label)[0, at]
        paper_random = np.nan if base is None else comparison.of_paper(base)[0, at]
        area, random_area = area_under_curve(n_labeled, curves), area_under_curve(n_labeled, random)
        whole = ~np.isnan(curves - random).any(axis=1)
        saved = labels_saved(n_labeled, curves[whole].mean(0), random[whole].mean(0)) if whole.any() else np.nan
        is_other = label != base
        rows.append(
            [
                label,
                int((~np.isnan(curves[:, -1])).sum()),
                _spread(curves[:, -1]),
                _interval(paired_difference(curves[:, -1], random[:, -1])) if is_other else "",
                _number(paper),
                _number(paper - paper_random, "+.2f") if is_other else "",
                _spread(area),
                _interval(paired_difference(area, random_area)) if is_other else "",
                _number(saved, "+.0f") if is_other else "",
                _number(np.nanmean(np.nansum(comparison.curves(label, "train_seconds"), axis=1)), ".0f"),
                _number(_mean(comparison.curves(label, "query_seconds")), ".2f"),
            ]
        )
    title = f"At {n_labeled[-1]} labels; differences are paired by seed, with 95% confidence intervals"
    return title, header, rows


def penalty_table(comparison, measure):
    """Return (title, header, rows): how often the row's sampler is significantly better than the column's."""
    labels = comparison.labels
    curves = [100 * comparison.curves(label, measure)[:, 1:] for label in labels]
    if len(labels) < 2 or len(comparison.seeds) < 2 or not curves[0].size:
        return "", [], []
    found = penalty_matrix(curves)
    rows = [[label, *(f"{value:.2f}" for value in row)] for label, row in zip(labels, found)]
    rows.append(["mean of the column", *(f"{value:.2f}" for value in found.sum(0) / (len(labels) - 1))])
    title = (
        "Share of the rounds in which the row's sampler beats the column's (paired t-test, 5%); low columns are good"
    )
    return title, ["", *labels], rows


def _heading(comparison, measure, style):
    if style == "csv":
        return []
    mark = {"markdown": "## ", "latex": "% ", "rst": ""}[style]
    lines = [f"{mark}{comparison.name}: {comparison.title}", f"Data: {comparison.dataset}; {MEASURES[measure]}."]
    if style == "rst":
        lines[0] += "\n" + "-" * len(lines[0])
    if comparison.n_failed:
        runs = "run" if comparison.n_failed == 1 else "runs"
        lines.append(f"{comparison.n_failed} {runs} failed; failed.txt in the folder of each says why.")
    return [lines[0], ("% " if style == "latex" else "") + " ".join(lines[1:])]


def _as_text(title, header, rows, style):
    if style == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([header, *rows])
        return out.getvalue().rstrip("\n")
    if style == "latex":
        body = tabulate(rows, header, tablefmt=_TABULATE[style], disable_numparse=True)
        return f"% {title}\n{body}".replace("±", "$\\pm$")
    return f"{title}.\n\n{tabulate(rows, header, tablefmt=_TABULATE[style], disable_numparse=True)}"


def _last_of_paper(comparison):
    held = [~np.isnan(comparison.of_paper(label)[0]) for label in comparison.labels]
    rows = np.flatnonzero(np.any(held, axis=0))
    return int(rows[-1]) if len(rows) else len(comparison.n_labeled) - 1


def _mean(values):
    return np.nan if np.isnan(values).all() else np.nanmean(values)


def _spread(values):
    values = values[~np.isnan(values)]
    if not len(values):
        return ""
    return _plus_minus(values.mean(), values.std(ddof=1) if len(values) > 1 else np.nan)


def _plus_minus(mean, deviation):
    return f"{mean:.2f}" if np.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def _interval(difference):
    if not difference.n_pairs:
        return ""
    bounds = "" if np.isnan(difference.low) else f" ({difference.low:+.2f} to {difference.high:+.2f})"
    return f"{difference.mean:+.2f}{bounds}"


def _number(value, how=".2f"):
    return "" if np.isnan(value) else format(value, how)
