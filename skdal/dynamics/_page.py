"""The page that `diagnose` draws."""

import os
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from skdal.exceptions import InvalidParameterError
from skdal.utils._style import BLUE, ORANGE, PALE, tidy


def check_figure_file(path):
    """Raise if no figure can be written to a file of that name.

    Raises
    ------
    InvalidParameterError
        It is not a path, its folder does not exist, or matplotlib knows no such format.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidParameterError(
            f"figure must be the name of a file, a str or a Path; got {path!r}."
        )
    path = Path(path)
    if path.suffix[1:].lower() not in formats or not path.parent.is_dir():
        raise InvalidParameterError(
            "figure must be a file in a folder that exists, ending in one of "
            f"{', '.join(formats)}; got {str(path)!r}."
        )


def draw_page(found, picks):
    """Return a Figure of what `diagnose` found.

    Parameters
    ----------
    found : dict
    picks : array (b,)
    """
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    title = (
        f"{found['n_instances']} picks of {found['n_pool']}, gamma = {found['gamma']:g}"
    )
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    axes = figure.subplots(2, 3)
    _terms(axes[0, 0], found, picks)
    _overlap(axes[0, 1], found)
    _words(axes[0, 2], found)
    _classes(axes[1, 0], found)
    _spectrum(axes[1, 1], found)
    _cosines(axes[1, 2], found)
    for one in axes.flat:
        one.title.set_fontsize(10)
        tidy(one, grid=False, label_size=8)
    return figure


def _terms(axes, found, picks):
    dot = found["dot"] if np.isinf(found["gamma"]) else found["gamma"] * found["dot"]
    axes.scatter(found["sq_norm"], dot, s=4, color=PALE, label="pool", rasterized=True)
    axes.scatter(found["sq_norm"][picks], dot[picks], s=6, color=BLUE, label="picks")
    axes.set_title(f"the two terms (correlation {found['correlation']:+.2f})")
    axes.set_xlabel("squared gradient length")
    axes.set_ylabel(
        "inner product" if np.isinf(found["gamma"]) else "gamma x inner product"
    )
    axes.legend(frameon=False, fontsize=8)


def _overlap(axes, found):
    names = list(found["overlap"])[::-1]
    axes.barh(names, [found["overlap"][name] for name in names], color=BLUE)
    axes.set_xlim(0, 1)
    axes.set_title("picks that another criterion would take")
    axes.set_xlabel("share")


def _words(axes, found):
    axes.axis("off")
    lines = [
        f"share of the norm term: {found['norm_share']:.0%} of the picks' Delta, "
        f"{found['norm_share_pool']:.0%} of the pool's",
        f"rank correlation of Delta and gradient length: {found['rank_correlation']:+.2f}",
        f"approximation ratio: {found['approximation_ratio']:.3g}",
        f"effective rank: {found['effective_rank']:.1f} of {found['n_instances']}",
        "",
        *(found["findings"] or ["Nothing stands out."]),
    ]
    text = "\n".join(textwrap.fill(line, 46, subsequent_indent="   ") for line in lines)
    axes.text(0, 1, text, va="top", fontsize=9, transform=axes.transAxes)


def _classes(axes, found):
    at = np.arange(len(found["classes_pool"]))
    axes.bar(
        at - 0.2,
        found["classes_pool"] / found["n_pool"],
        0.4,
        color=PALE,
        label="pool",
    )
    axes.bar(
        at + 0.2,
        found["classes_picked"] / found["n_instances"],
        0.4,
        color=BLUE,
        label="picks",
    )
    axes.set_title("predicted classes")
    axes.set_xlabel("class")
    axes.set_ylabel("share")
    axes.legend(frameon=False, fontsize=8)


def _spectrum(axes, found):
    total = found["eigenvalues"].sum()
    shares = np.cumsum(found["eigenvalues"]) / (total if total > 0 else 1)
    axes.plot(np.arange(1, len(shares) + 1), shares, color=BLUE)
    axes.axvline(
        found["effective_rank"], color=ORANGE, linewidth=1, label="effective rank"
    )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_title("directions that the picks' gradients span")
    axes.set_xlabel("eigenvectors of their Gram matrix")
    axes.set_ylabel("share of squared length")
    axes.legend(frameon=False, fontsize=8)


def _cosines(axes, found):
    cosines = found["nearest_cosine"]
    axes.hist(cosines[np.isfinite(cosines)], bins=np.linspace(-1, 1, 41), color=BLUE)
    axes.set_title("each pick's nearest pick")
    axes.set_xlabel("cosine of their gradients")
    axes.set_ylabel("picks")
