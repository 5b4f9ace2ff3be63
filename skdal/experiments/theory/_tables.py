"""Tables of the verification experiments, with the paper's values."""

import numpy as np
from tabulate import tabulate

from skdal.dynamics._spectrum import resolution
from skdal.experiments._tables import STYLES
from skdal.experiments.theory._correlation import (
    KERNELS,
    LABELS,
    PREDICTIONS,
    STEPS,
    degenerate,
    rank_correlations,
    tau,
)
from skdal.experiments.theory._paper import PAPER_DISCREPANCY, PAPER_TABLE_10, PAPER_TAU

_OF_FIGURE = {"fig2": LABELS[:1], "fig6": LABELS[1:], "fig7": LABELS}


def correlation_table(found, settings, name, style):
    """Return Kendall's tau of each variant of G with alignment (Figures 2 and 6) or B (Figure 7),
    and of controls.
    """
    against = "bound" if name == "fig7" else "alignment"
    taus = {
        kernel: rank_correlations(found.kernels[kernel], against) for kernel in KERNELS
    }
    rows = [
        _variant_row(f, y, taus, name) for f in PREDICTIONS for y in _OF_FIGURE[name]
    ]
    rows += [_chance_row(f, found, against) for f in PREDICTIONS]
    raw = found.kernels["raw"]
    cells = _tau_cells(*tau(raw.trace, raw.of(against)))
    rows.append(["none", "trace of Q's kernel for G", *cells, "", "", "control"])
    paper = PAPER_TAU[name] if name == "fig2" else f"{PAPER_TAU[name]:+.3f}"
    rows.append(["paper", "", paper, "", "", "", "f is not said"])
    header = [
        "f",
        "labels of Q",
        "tau",
        "p",
        "tau, unit diagonal",
        "p",
        "by construction",
    ]
    note = _notes_of_bound(found, settings) if name == "fig7" else ""
    return _table(rows, header, style) + note


def _variant_row(f, y, taus, name):
    """Return the cells of a variant of G: on each kernel tau and p, and what it is by
    construction.
    """
    cells = []
    for kernel in KERNELS:
        cells += _tau_cells(*taus[kernel][f"{f}, {y}"])
    known = degenerate(f, y) or ("" if cells[0] else "G does not vary")
    if name == "fig7" and (f, y) == ("zero", "true"):
        known = "G is the alignment"
    return [f, y, *cells, known]


def _chance_row(f, found, against):
    """Return the cells of a control: tau of labels that were drawn by chance."""
    cells = []
    for kernel in KERNELS:
        taus = np.array(found.kernels[kernel].random[against][f])
        cells += [f"{taus.mean():+.3f} ± {taus.std(ddof=1):.2g}", ""]
    return [f, f"by chance ({len(taus)} times)", *cells, "control"]


def _notes_of_bound(found, settings):
    """Return what is to know of Figure 7 below its table."""
    n = settings.n_initial + settings.n_candidates
    note = ""
    if _is_raised(found.eigenvalues, n, settings.dtype):
        note = (
            "\nThe kernel of all candidates is ill-conditioned: B may be of eigenvalues that "
            "were raised.\n"
        )
    return note + _other_links(found)


def _tau_cells(value, p):
    return ["", ""] if np.isnan(value) else [f"{value:+.3f}", f"{p:.1g}"]


def _other_links(found):
    """Return how alignment itself goes with the bound, and with the error that training is left
    with (Theorem 1).
    """
    said = []
    for kernel, measured in found.kernels.items():
        errors = (
            tau(measured.alignment, values)[0] for values in measured.error.values()
        )
        of_steps = ", ".join(
            f"{value:+.3f} after {t}" for t, value in zip(STEPS, errors)
        )
        of_bound = tau(measured.alignment, measured.bound)[0]
        said.append(
            f"on the {kernel} kernel {of_bound:+.3f} with B and, with the training error E_t, "
            f"{of_steps} steps"
        )
    return (
        f"\nOf alignment itself tau is {'; '.join(said)} at the rate 1 / lambda_max.\n"
    )


def discrepancy_table(found, settings, name, style):
    """Return MMD, B and MMD/B: of the first query (Figure 1), of all rounds (Figure 9), at the end
    (Table 10).
    """
    rows = [row for row in found.rows if _is_shown(row, found.rows, name)]
    header = ["sampler", "rounds x labels" if name == "table10" else "labels a query"]
    header += ["round"] * (name == "fig9") + [
        "MMD^2",
        "MMD",
        "B",
        "MMD/B",
        "MMD/B, mean diagonal 1",
    ]
    cells = []
    for row in rows:
        size = f"{row.round} x {row.batch}" if name == "table10" else row.batch
        line = [row.sampler, size] + [row.round] * (name == "fig9")
        line += [
            f"{row.mmd_squared:+.3g}",
            f"{row.mmd:.3g}",
            f"{row.bound:.4g}",
        ]
        line += [
            f"{row.ratio(normalized=False):.3g}",
            f"{row.ratio(normalized=True):.3g}",
        ]
        if name == "table10":
            paper = PAPER_TABLE_10.get((row.round, row.batch))
            line.append(paper if paper and row.sampler == "dynamical" else "")
        cells.append(line)
    if said := PAPER_DISCREPANCY.get(name):
        cells.append(["paper", said, *[""] * (len(header) - 2)])
    n_negative = sum(row.mmd_squared < 0 for row in rows)
    note = f"\n{n_negative} of {len(rows)} estimates of MMD^2 are negative, and count as 0.\n"
    if n_raised := sum(
        _is_raised(row.eigenvalues, row.n, settings.dtype) for row in rows
    ):
        note += (
            f"\n{n_raised} of {len(rows)} kernels are ill-conditioned: their B is of "
            "eigenvalues that were raised.\n"
        )
    return _table(cells, header + ["paper's MMD/B"] * (name == "table10"), style) + note


def _is_raised(eigenvalues, n, dtype):
    """Tell whether B is of a kernel that was made invertible; see `generalization_bound`."""
    return eigenvalues[0] < resolution(np.dtype(dtype), n) * eigenvalues[1]


def _is_shown(row, rows, name):
    if name == "fig1":
        return row.round == 1
    last = max(other.round for other in rows if other.series == row.series)
    return row.round == last if name == "table10" else True


def ratio_table(found, settings, name, style):
    """Return approximation ratios by net, epochs and size of a query: mean and median over random
    ones, and own.
    """
    rows = []
    for row in found.rows:
        values = np.array(row.random, dtype=float)  # NaN where the change is zero
        values = values[np.isfinite(values)]
        line = [
            row.model,
            row.epoch,
            f"{100 * row.train_accuracy:.1f} %",
            row.batch,
        ]
        if len(values) > 1:
            low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
            line += [
                f"{values.mean():.3g} ± {values.std(ddof=1):.2g}",
                f"{median:.3g} ({low:.3g} to {high:.3g})",
            ]
        else:
            line += ["no change", ""]
        rows.append([*line, "no change" if row.own is None else f"{row.own:.3g}"])
    rows.append(["paper", "converged", "", "", "about 1", "", ""])
    header = [
        "net",
        "epochs",
        "training accuracy",
        "labels a query",
        "random queries",
        "median (quartiles)",
    ]
    header.append("dynamicAL's own")
    return _table(rows, header, style)


def _table(rows, header, style):
    text = tabulate(rows, header, tablefmt=STYLES[style], disable_numparse=True) + "\n"
    return text.replace("±", "$\\pm$") if style == "latex" else text
