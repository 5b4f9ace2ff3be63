"""Learning curves of comparisons."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from skdal.experiments._tables import MEASURES
from skdal.utils import digest, prepare_folder, write_atomically
from skdal.utils._style import (
    BLUE,
    BROWN,
    CYAN,
    GREEN,
    GREY,
    OLIVE,
    ORANGE,
    PINK,
    PURPLE,
    RED,
    save_figure,
    tidy,
)

# Samplers without a colour of their own take the next of the others, in the order of the variants.
_COLORS = {"dynamical": BLUE, "random": GREY}
_OTHERS = (ORANGE, GREEN, RED, PURPLE, CYAN, OLIVE, PINK, BROWN)
_FORMATS = ("png", "svg")


def write_plots(
    comparison: Any, folder: str | Path, *, measure: str = "accuracy"
) -> Any:
    """Write the learning curves of a comparison as PNG and SVG.

    Parameters
    ----------
    comparison : Comparison
    folder : str or Path
        Made where it does not exist.
    measure : str
        A key of `MEASURES`.

    Returns
    -------
    list of Path
    """
    out = prepare_folder(folder)
    figure = draw(comparison, measure=measure)
    paths = [out / f"{_stem(comparison, measure)}.{kind}" for kind in _FORMATS]
    for path, kind in zip(paths, _FORMATS):
        write_atomically(path, partial(save_figure, figure, kind))
    return paths


def _stem(comparison, measure):
    """Return a file name for a comparison; settings of no suite share a name, so theirs has a
    digest.
    """
    parts = [comparison.name, comparison.dataset]
    if comparison.name == "other":
        parts.append(digest([comparison.title.encode()], n_digits=6, method="sha256"))
    if measure != "accuracy":
        parts.append(measure)
    return re.sub(r"[^\w.-]+", "-", "-".join(parts)).rstrip("-")


def draw(comparison, *, measure="accuracy"):
    """Return a Figure: curves on the left, on the right their paired differences to random with
    standard errors.
    """
    with_differences = comparison.baseline is not None and len(comparison.labels) > 1
    figure = Figure(
        figsize=(11 if with_differences else 6.5, 4.6), layout="constrained"
    )
    figure.suptitle(
        f"{comparison.title} ({comparison.dataset}, {_seeds(comparison)})",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    axes = figure.subplots(1, 2 if with_differences else 1, squeeze=False)[0]
    colors = _colors(comparison.labels)
    n_labeled = np.array(comparison.n_labeled)
    for label in comparison.labels:
        curves = 100 * comparison.curves(label, measure)
        _band(axes[0], n_labeled, curves, np.nanstd, colors[label], label)
        if with_differences:
            difference = curves - 100 * comparison.curves(comparison.baseline, measure)
            _band(axes[1], n_labeled, difference, _standard_error, colors[label], label)
    axes[0].set_ylabel(MEASURES[measure].partition(",")[0])
    axes[0].set_title("mean and standard deviation over seeds", fontsize=10)
    if axes[0].lines:
        axes[0].legend(frameon=False, fontsize=9, loc="lower right")
    if with_differences:
        axes[1].set_title(
            "minus random, paired by seed: mean and standard error", fontsize=10
        )
        axes[1].set_ylabel("points")
    for one in axes:
        one.set_xlabel("labels")
        tidy(one)
    return figure


def _band(axes, n_labeled, curves, spread, color, label):
    seen = ~np.isnan(curves).all(axis=0)
    n_labeled = n_labeled[seen]
    curves = curves[:, seen]
    if not curves.size:
        return
    mean = np.nanmean(curves, axis=0)
    axes.plot(
        n_labeled,
        mean,
        marker="o",
        markersize=3,
        linewidth=1.4,
        color=color,
        label=label,
    )
    if (np.sum(~np.isnan(curves), axis=0) > 1).all():
        half = spread(curves, axis=0, ddof=1)
        axes.fill_between(
            n_labeled, mean - half, mean + half, color=color, alpha=0.13, linewidth=0
        )


def _standard_error(values, axis, ddof):
    return np.nanstd(values, axis=axis, ddof=ddof) / np.sqrt(
        np.sum(~np.isnan(values), axis=axis)
    )


def _colors(labels):
    others = iter(_OTHERS * len(labels))
    return {label: _COLORS.get(label) or next(others) for label in labels}


def _seeds(comparison):
    counts = {len(seeds) for seeds in comparison.runs.values()}
    words = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"{words} seed{'' if counts == {1} else 's'}"
