"""Figures of the verification experiments."""

import warnings
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from skdal.experiments.theory._correlation import (
    LABELS,
    PREDICTIONS,
    degenerate,
    rank_correlations,
)
from skdal.experiments.theory._paper import PAPER_TABLE_10
from skdal.utils._style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, tidy

_COLORS = (BLUE, ORANGE, GREEN, PURPLE, GREY)


def draw_correlation(found, settings, name):
    """Return G against alignment (Figures 2 and 6) or B (Figure 7), a panel a variant that is not
    degenerate.
    """
    against = "bound" if name == "fig7" else "alignment"
    raw = found.kernels["raw"]
    labels = {"fig2": LABELS[:1], "fig6": LABELS[1:], "fig7": LABELS}[name]
    shown = [
        (f, y)
        for f in PREDICTIONS
        for y in labels
        if not degenerate(f, y) or (f == "zero" and y == "true")
    ]
    taus = rank_correlations(raw, against)
    figure = Figure(
        figsize=(3.4 * min(3, len(shown)), 3.2 * -(-len(shown) // 3)),
        layout="constrained",
    )
    axes = np.atleast_1d(
        figure.subplots(-(-len(shown) // 3), min(3, len(shown)))
    ).ravel()
    for one, (f, y) in zip(axes, shown):
        key = f"{f}, {y}"
        one.scatter(raw.dynamics[key], raw.of(against), s=10, color=_COLORS[0])
        one.set_title(
            f"f: {f}; labels of Q: {y}\ntau = {taus[key][0]:+.3f}", fontsize=9
        )
        one.set_xlabel("training dynamics G", fontsize=9)
        one.set_ylabel("bound B" if against == "bound" else "alignment A", fontsize=9)
    for one in axes[len(shown) :]:
        one.axis("off")
    return _tidied(figure)


def draw_discrepancy(found, settings, name):
    """Return MMD beside B after one query (Figure 1), MMD/B over rounds (Figure 9) or at the end
    (Table 10).
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    {"fig1": _first_queries, "fig9": _over_rounds, "table10": _ends}[name](
        figure.subplots(), found.rows
    )
    figure.axes[0].legend(
        frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1)
    )
    return _tidied(figure)


def _first_queries(axes, rows):
    first = [row for row in rows if row.round == 1]
    at = np.arange(len(first))
    mmd = np.array([row.mmd for row in first])
    axes.bar(at - 0.2, [row.bound for row in first], 0.4, label="B", color=_COLORS[0])
    axes.bar(at + 0.2, mmd, 0.4, label="MMD", color=_COLORS[1])
    for x in at[mmd == 0]:
        axes.text(
            x + 0.2,
            0.02,
            "MMD^2 < 0",
            rotation=90,
            ha="center",
            fontsize=7,
            transform=axes.get_xaxis_transform(),
        )
    axes.set_xticks(at, [f"{row.sampler}\n{row.batch}" for row in first])
    axes.set_yscale("log")
    axes.set_ylabel("B, MMD")
    axes.set_xlabel("one query of so many labels")
    axes.set_title("raw kernel", fontsize=10)


def _over_rounds(axes, rows):
    series = list(dict.fromkeys(row.series for row in rows))
    for color, (sampler, batch) in zip(cycle(_COLORS), series):
        some = [row for row in rows if row.series == (sampler, batch)]
        at = [row.n for row in some]
        values = [row.ratio(normalized=True) for row in some]
        axes.plot(
            at,
            values,
            marker="o",
            markersize=4,
            color=color,
            label=f"{sampler}, {batch}",
        )
    if negative := [row.n for row in rows if row.mmd_squared < 0]:
        axes.plot(
            negative,
            np.zeros(len(negative)),
            "x",
            color=INK,
            markersize=7,
            label="MMD^2 < 0",
        )
    axes.set_xlabel("labels")
    axes.set_ylabel("MMD / B, mean diagonal 1")


def _ends(axes, rows):
    last = {row.series: row for row in rows}  # of each series the last round
    values = {
        "raw kernel": [row.ratio(normalized=False) for row in last.values()],
        "mean diagonal 1": [row.ratio(normalized=True) for row in last.values()],
        "paper": [
            PAPER_TABLE_10.get((r.round, r.batch), 0) * (r.sampler != "random")
            for r in last.values()
        ],
    }
    values = {
        label: heights
        for label, heights in values.items()
        if any(heights) or label != "paper"
    }
    at = np.arange(len(last))
    for k, (color, (label, heights)) in enumerate(zip(cycle(_COLORS), values.items())):
        axes.bar(at + 0.27 * (k - 1), heights, 0.27, label=label, color=color)
    axes.set_xticks(
        at,
        [f"{row.sampler}\n{row.round} x {row.batch}" for row in last.values()],
        fontsize=8,
    )
    axes.set_ylabel("MMD / B")


def draw_ratio(found, settings, name):
    """Return approximation ratios over epochs: medians and quartiles of random queries, dashed
    dynamicAL's own.

    The ratio has a pole where the change of the whole query is zero: lines end where the sign
    changes.
    """
    models = list(dict.fromkeys(row.model for row in found.rows))
    figure = Figure(figsize=(4.6 * len(models) + 1.4, 4.0), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    for axes, model in zip(panels, models):
        rows = [row for row in found.rows if row.model == model]
        batches = dict.fromkeys(row.batch for row in rows)
        for color, batch in zip(cycle(_COLORS), batches):
            _draw_ratios(axes, [row for row in rows if row.batch == batch], color)
        axes.axhline(1, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_ylim(-1, 2)
        axes.set_title(f"{settings.dataset}, {model}", fontsize=10)
        axes.set_xlabel("epochs of training (0 at the left edge)")
    panels[0].set_ylabel("approximation ratio, median and quartiles")
    panels[-1].legend(
        frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1)
    )
    return _tidied(figure)


def _draw_ratios(axes, rows, color):
    """Draw the ratios of one net and one size of a query over epochs."""
    epochs = np.array([max(row.epoch, 0.5) for row in rows])
    low, median, high = _quartiles(rows)
    own = np.array([row.own for row in rows], dtype=float)
    dots = {"color": color, "marker": "o", "markersize": 3}
    dashes = {"color": color, "linestyle": "--"}
    for part in _of_one_sign(median):
        band = (epochs[part], low[part], high[part])
        axes.plot(epochs[part], median[part], **dots)
        axes.fill_between(*band, color=color, alpha=0.15, linewidth=0)
    for part in _of_one_sign(own):
        axes.plot(epochs[part], own[part], marker=".", markersize=4, **dashes)
    axes.plot([], [], label=f"random, {rows[0].batch}", **dots)
    axes.plot([], [], label=f"own, {rows[0].batch}", **dashes)


def _quartiles(rows):
    """Return the quartiles (3, n_rows) of the random queries of each row, NaN where there is no
    band.
    """
    values = np.array([row.random for row in rows], dtype=float)
    with warnings.catch_warnings():  # where all changes are zero, NaN is what is shown
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, median, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=1)
    low[np.sign(low) != np.sign(high)] = np.nan  # quartiles about a pole are not a band
    return low, median, high


def _of_one_sign(values):
    """Return slices of consecutive values of one sign."""
    ends = [
        0,
        *(np.flatnonzero(np.diff(np.sign(values)) != 0) + 1).tolist(),
        len(values),
    ]
    return [slice(start, stop) for start, stop in zip(ends, ends[1:])]


def _tidied(figure):
    for one in figure.axes:
        tidy(one, label_size=8)
    return figure
