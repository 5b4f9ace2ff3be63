"""Figures of the verification experiments."""

import warnings

import numpy as np
from matplotlib.figure import Figure

from skdal.experiments.theory._correlation import LABELS, PREDICTIONS, degenerate, rank_correlations
from skdal.experiments.theory._discrepancy import ratio

_COLORS = ("#1f5fa8", "#d9822b", "#2a9d5c", "#8e44ad", "#7f7f7f")


def draw_correlation(found, settings, name):
    """Return G against alignment (Figures 2 and 6) or B (Figure 7), a panel a variant that is not degenerate."""
    against = "bound" if name == "fig7" else "alignment"
    labels = {"fig2": LABELS[:1], "fig6": LABELS[1:], "fig7": LABELS}[name]
    shown = [(f, y) for f in PREDICTIONS for y in labels if not degenerate(f, y) or (f == "zero" and y == "true")]
    taus = rank_correlations(found, against)
    figure = Figure(figsize=(3.4 * min(3, len(shown)), 3.2 * -(-len(shown) // 3)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(-(-len(shown) // 3), min(3, len(shown)))).ravel()
    for one, (f, y) in zip(axes, shown):
        key = f"{f}, {y}"
        one.scatter(found["dynamics"][key], found[against], s=10, color=_COLORS[0])
        one.set_title(f"f: {f}; labels of Q: {y}\ntau = {taus[key][0]:+.3f}", fontsize=9)
        one.set_xlabel("training dynamics G", fontsize=9)
        one.set_ylabel("bound B" if against == "bound" else "alignment A", fontsize=9)
    for one in axes[len(shown) :]:
        one.axis("off")
    return _tidy(figure)


def draw_discrepancy(found, settings, name):
    """Return MMD beside B after one query (Figure 1), or MMD/B over rounds (Figure 9, Table 10)."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    series = list(dict.fromkeys((row["sampler"], row["batch"]) for row in found["rows"]))
    if name == "fig1":
        first = [row for row in found["rows"] if row["round"] == 1]
        at = np.arange(len(first))
        axes.bar(at - 0.2, [row["bound"] for row in first], 0.4, label="B", color=_COLORS[0])
        mmd = [np.sqrt(max(0, row["mmd_squared"])) for row in first]
        axes.bar(at + 0.2, mmd, 0.4, label="MMD", color=_COLORS[1])
        axes.set_xticks(at, [f"{row['sampler']}\n{row['batch']}" for row in first])
        axes.set_xlabel("one query of so many labels")
        axes.set_title("raw kernel", fontsize=10)
    for color, (sampler, batch) in zip(_COLORS, series if name != "fig1" else []):
        rows = [row for row in found["rows"] if (row["sampler"], row["batch"]) == (sampler, batch)]
        values = [ratio(row, normalized=True) for row in rows]
        axes.plot(
            [row["n"] for row in rows], values, marker="o", markersize=4, color=color, label=f"{sampler}, {batch}"
        )
        axes.set_xlabel("labels")
        axes.set_ylabel("MMD / B, mean diagonal 1")
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return _tidy(figure)


def draw_ratio(found, settings, name):
    """Return approximation ratios over epochs: medians and quartiles of random queries, dashed dynamicAL's own."""
    models = list(dict.fromkeys(row["model"] for row in found["rows"]))
    figure = Figure(figsize=(4.6 * len(models) + 1.4, 4.0), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    for one, model in zip(panels, models):
        rows = [row for row in found["rows"] if row["model"] == model]
        for color, batch in zip(_COLORS, dict.fromkeys(row["batch"] for row in rows)):
            some = [row for row in rows if row["batch"] == batch]
            at = [max(row["epoch"], 0.5) for row in some]
            values = np.array([row["random"] for row in some], dtype=float)  # NaN where the change is zero
            with warnings.catch_warnings():  # where there is nothing else, NaN is what is shown
                warnings.filterwarnings("ignore", "All-NaN slice")
                low, median, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=1)
            own = np.array([row["own"] for row in some], dtype=float)
            one.plot(at, median, marker="o", markersize=3, color=color, label=f"random, {batch}")
            one.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
            one.plot(at, own, linestyle="--", color=color, label=f"own, {batch}")
        one.axhline(1, color="#444444", linewidth=0.8)
        one.set_xscale("log")
        one.set_yscale("symlog", linthresh=0.01)
        one.set_title(f"{settings.dataset}, {model}", fontsize=10)
        one.set_xlabel("epochs of training (0 at the left edge)")
    panels[0].set_ylabel("approximation ratio, median and quartiles")
    panels[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _tidy(figure)


def _tidy(figure):
    for one in figure.axes:
        one.tick_params(labelsize=8)
        one.grid(alpha=0.25, linewidth=0.6)
        one.spines[["top", "right"]].set_visible(False)
    return figure
