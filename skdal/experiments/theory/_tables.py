"""Tables of the verification experiments, with the paper's values."""

import numpy as np
from tabulate import tabulate

from skdal.dynamics._spectrum import resolution
from skdal.experiments._tables import STYLES
from skdal.experiments.theory._correlation import LABELS, PREDICTIONS, degenerate, rank_correlations
from skdal.experiments.theory._discrepancy import ratio

PAPER_TAU = {"fig2": "strong agreement", "fig6": 0.46, "fig7": -0.253}
PAPER_DISCREPANCY = {"fig1": "MMD is much smaller than B", "fig9": "B is much larger than MMD"}  # no numbers are given
PAPER_TABLE_10 = {(10, 100): 0.004999, (4, 250): 0.005253, (2, 500): 0.005367, (1, 1000): 0.005455}


def correlation_table(found, settings, name, style):
    """Return Kendall's tau of each variant of G with alignment (Figures 2 and 6) or B (Figure 7)."""
    taus = rank_correlations(found, "bound" if name == "fig7" else "alignment")
    labels = {"fig2": LABELS[:1], "fig6": LABELS[1:], "fig7": LABELS}[name]
    rows = []
    for f in PREDICTIONS:
        for y in labels:
            tau, p = taus[f"{f}, {y}"]
            known = degenerate(f, y) or ("" if np.isfinite(tau) else "G does not vary")
            if name == "fig7" and (f, y) == ("zero", "true"):
                known = "G is the alignment"
            rows.append([f, y, "" if np.isnan(tau) else f"{tau:+.3f}", "" if np.isnan(tau) else f"{p:.1g}", known])
    rows.append(["paper", "", PAPER_TAU[name] if name == "fig2" else f"{PAPER_TAU[name]:+.3f}", "", "f is not said"])
    note, n = "", settings.n_initial + settings.n_candidates
    if name == "fig7" and _is_raised(found["kernel"]["eigenvalues"], n, settings.dtype):
        note = "\nThe kernel of all candidates is ill-conditioned: B may be of eigenvalues that were raised.\n"
    return _table(rows, ["f", "labels of Q", "tau", "p", "by construction"], style) + note


def discrepancy_table(found, settings, name, style):
    """Return MMD, B and MMD/B: of the first query (Figure 1), of all rounds (Figure 9), at the end (Table 10)."""
    rows = [row for row in found["rows"] if _is_shown(row, found["rows"], name)]
    header = ["sampler", "rounds x labels" if name == "table10" else "labels a query"]
    header += ["round"] * (name == "fig9") + ["MMD^2", "MMD", "B", "MMD/B", "MMD/B, mean diagonal 1"]
    cells = []
    for row in rows:
        size = f"{row['round']} x {row['batch']}" if name == "table10" else row["batch"]
        line = [row["sampler"], size] + [row["round"]] * (name == "fig9")
        line += [f"{row['mmd_squared']:+.3g}", f"{np.sqrt(max(0, row['mmd_squared'])):.3g}", f"{row['bound']:.4g}"]
        line += [f"{ratio(row, normalized=False):.3g}", f"{ratio(row, normalized=True):.3g}"]
        if name == "table10":
            paper = PAPER_TABLE_10.get((row["round"], row["batch"]))
            line.append(paper if paper and row["sampler"] == "dynamical" else "")
        cells.append(line)
    if said := PAPER_DISCREPANCY.get(name):
        cells.append(["paper", said, *[""] * (len(header) - 2)])
    n_negative = sum(row["mmd_squared"] < 0 for row in rows)
    note = f"\n{n_negative} of {len(rows)} estimates of MMD^2 are negative, and count as 0.\n"
    if n_raised := sum(_is_raised(row["eigenvalues"], row["n"], settings.dtype) for row in rows):
        note += (
            f"\n{n_raised} of {len(rows)} kernels are ill-conditioned: their B is of eigenvalues that were raised.\n"
        )
    return _table(cells, header + ["paper's MMD/B"] * (name == "table10"), style) + note


def _is_raised(eigenvalues, n, dtype):
    """Tell whether B is of a kernel that was made invertible; see `generalization_bound`."""
    return eigenvalues[0] < resolution(np.dtype(dtype), n) * eigenvalues[1]


def _is_shown(row, rows, name):
    if name == "fig1":
        return row["round"] == 1
    last = max(other["round"] for other in rows if (other["sampler"], other["batch"]) == (row["sampler"], row["batch"]))
    return row["round"] == last if name == "table10" else True


def ratio_table(found, settings, name, style):
    """Return approximation ratios by net, epochs and size of a query: mean and median over random ones, and own."""
    rows = []
    for row in found["rows"]:
        values = np.array(row["random"], dtype=float)  # NaN where the change is zero
        values = values[np.isfinite(values)]
        line = [row["model"], row["epoch"], f"{100 * row['train_accuracy']:.1f} %", row["batch"]]
        if len(values) > 1:
            low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
            line += [f"{values.mean():.3g} ± {values.std(ddof=1):.2g}", f"{median:.3g} ({low:.3g} to {high:.3g})"]
        else:
            line += ["no change", ""]
        rows.append([*line, "no change" if row["own"] is None else f"{row['own']:.3g}"])
    rows.append(["paper", "converged", "", "", "about 1", "", ""])
    header = ["net", "epochs", "training accuracy", "labels a query", "random queries", "median (quartiles)"]
    header.append("dynamicAL's own")
    return _table(rows, header, style)


def _table(rows, header, style):
    text = tabulate(rows, header, tablefmt=STYLES[style], disable_numparse=True) + "\n"
    return text.replace("±", "$\\pm$") if style == "latex" else text
