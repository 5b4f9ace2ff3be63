"""The demonstration: a small suite on handwritten digits, and the digits that dynamicAL asks for
next.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from skdal.exceptions import InvalidParameterError, RunInUseError, SkdalError
from skdal.experiments._comparison import comparison_of
from skdal.experiments._plots import draw
from skdal.experiments._records import StoredRun
from skdal.experiments._run import next_query
from skdal.experiments._statistics import area_under_curve, paired_difference
from skdal.experiments._store import RunFolder
from skdal.experiments._suite_run import run_suite
from skdal.experiments._suites import SUITES
from skdal.experiments._tables import format_comparison
from skdal.utils import one_thread, prepare_folder, write_atomically
from skdal.utils._style import INK, RED, save_figure

_SUITE = "digits-quick"
_SHOWN = "dynamical"  # the sampler whose wishes are drawn
_N_COLUMNS = 6
_N_SHOWN = 12  # images in each half of queries.png


def run_demo(
    root: str | Path,
    *,
    n_seeds: int = 5,
    n_jobs: int = 1,
    verbose: int = 0,
    **changes: Any,
) -> Any:
    """Compare dynamicAL with other samplers on handwritten digits; write two figures and return a
    table.

    Parameters
    ----------
    root : str or Path
        Folder of the figures; its folder "runs" has what `run_suite` stores, and is not done again.
    n_seeds : int, default=5
        Repetitions; a seed decides the initial labels and weights, the same for all samplers.
    n_jobs : int, default=1
        Runs at once; they share the cores.
    verbose : int, default=0
        1 shows a progress bar.
    **changes
        Entries of the specs that take precedence over those of the suite "digits-quick": `n_rounds`
        (at most as many as it has), `n_instances`, `n_initial`.

    Returns
    -------
    text : str
        Accuracies by number of labels, and differences between samplers.
    paths : list of Path
        learning_curve.png and queries.png, the digits most and least wanted.

    Raises
    ------
    InvalidParameterError
        Before any training, of sizes that the digits are too few for.
    SkdalError
        A run failed, or another process is busy with one.

    Examples
    --------
    >>> import tempfile
    >>> from skdal.experiments import run_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text, paths = run_demo(folder, n_seeds=1, n_rounds=1)
    >>> [path.name for path in paths]
    ['learning_curve.png', 'queries.png']
    """
    suite = _suite(changes)
    out = prepare_folder(root)
    runs = out / "runs"
    with one_thread():  # more do not help so small a net, and stall on a busy machine
        ended = run_suite(
            _SUITE, runs, n_seeds=n_seeds, n_jobs=n_jobs, verbose=verbose, **changes
        )
    _check_all_done(ended, runs)
    stored = [StoredRun(spec, RunFolder(runs, spec).rounds()) for spec in ended.done]
    comparison = comparison_of(suite, stored)
    shown = suite.spec(_SHOWN, 0)
    figures = {
        out / "learning_curve.png": draw(comparison),
        out / "queries.png": draw_query(next_query(shown, runs)),
    }
    for path, figure in figures.items():
        write_atomically(path, partial(save_figure, figure, "png"))
    return format_demo(comparison), list(figures)


def _suite(changes):
    """Return the demonstration's suite with other sizes.

    Raises
    ------
    InvalidParameterError
        More rounds are asked for than it has.
    """
    suite = SUITES[_SUITE]
    most = suite.base["n_rounds"]
    if changes.get("n_rounds", most) > most:
        raise InvalidParameterError(
            f"n_rounds must be from 1 to {most}, the queries of a run of {_SUITE}; got "
            f"{changes['n_rounds']}. RunSpec and run take any number."
        )
    return dataclasses.replace(suite, base=suite.base | changes)


def _check_all_done(ended, folder):
    if ended.in_use:
        raise RunInUseError(
            f"another process is busy with {len(ended.in_use)} runs in {folder}; wait for it, or "
            "use another folder."
        )
    if ended.failed:
        _, why = ended.failed[0]
        raise SkdalError(
            f"{len(ended.failed)} runs in {folder} failed, the first one with\n{why}"
        )


def format_demo(comparison):
    """Return the comparison as text: a table by number of labels, and what dynamicAL is ahead or
    behind.
    """
    text = format_comparison(comparison, parts=["rounds"])
    seconds = ", ".join(
        f"{label} {np.nanmean(comparison.curves(label, 'query_seconds')):.2f}"
        for label in comparison.labels
    )
    lines = [f"Seconds per query: {seconds}.", ""]
    for other in comparison.labels:
        if other != _SHOWN:
            lines.append(_difference(comparison, other))
    return "\n".join([text, *lines])


def _difference(comparison, other):
    """Return a sentence: how far the mean height of dynamicAL's curve is from that of another
    sampler.
    """
    ours, theirs = (
        area_under_curve(comparison.n_labeled, 100 * comparison.curves(label))
        for label in (_SHOWN, other)
    )
    found = paired_difference(ours, theirs)
    interval = ""
    if not np.isnan(found.low):
        interval = f" (95% interval {found.low:+.1f} to {found.high:+.1f})"
    return (
        f"{_SHOWN} minus {other}, mean of the curve: {found.mean:+.1f} points{interval}"
    )


def draw_query(query):
    """Return a Figure: the most and the least wanted images of a query, with their scores.

    Parameters
    ----------
    query : NextQuery
    """
    figure = Figure(figsize=(7.6, 6.4), layout="constrained")
    figure.suptitle(
        f"What dynamicAL asks for after {query.n_labeled} labels (scores)", fontsize=12
    )
    ranks = np.arange(len(query.scores))
    most, least = figure.subfigures(2, 1, hspace=0.05)
    _draw_half(most, "most wanted", query, ranks[:_N_SHOWN])
    _draw_half(least, "least wanted", query, ranks[::-1][:_N_SHOWN])
    return figure


def _draw_half(figure, title, query, ranks):
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    panels = figure.subplots(-(-_N_SHOWN // _N_COLUMNS), _N_COLUMNS).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, rank in zip(panels, ranks):
        _draw_image(axes, query, rank)


def _draw_image(axes, query, rank):
    predicted = query.predicted[rank]
    true = query.true[rank]
    score = query.scores[rank]
    axes.imshow(query.images[rank, ..., 0], cmap="gray_r", vmin=0, vmax=255)
    number = f"{score:,.0f}" if abs(score) >= 100 else f"{score:.2g}"
    if predicted == true:
        axes.set_title(f"{number}\nnet: {predicted}", fontsize=9, color=INK)
    else:
        words = f"net: {predicted}, true: {true}"
        axes.set_title(f"{number}\n{words}", fontsize=9, color=RED)
