"""The verification experiments by name: computed once, kept, shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from skdal.datasets import load_dataset
from skdal.exceptions import InvalidDataError
from skdal.experiments._environment import versions
from skdal.experiments._run import load
from skdal.experiments._spec import RunSpec
from skdal.experiments._store import data_name
from skdal.experiments._tables import STYLES
from skdal.experiments.theory import (
    _correlation,
    _discrepancy,
    _figures,
    _ratio,
    _tables,
)
from skdal.experiments.theory._settings import TheorySettings, fault_of
from skdal.utils import (
    AS_JSON,
    check_device,
    check_known,
    damaged,
    keep,
    prepare_folder,
    read_kept,
    write_atomically,
)
from skdal.utils._style import save_figure


class Theory(NamedTuple):
    """A figure or table of the paper.

    Attributes
    ----------
    title : str
    experiment : module
        With `compute`, the settings that it `USES`, the keys that its result `HOLDS` in JSON, and
        the class of its `RESULT`.
    table, draw : callable
    """

    title: str
    experiment: Any
    table: Callable
    draw: Callable


_CORRELATION = (_correlation, _tables.correlation_table, _figures.draw_correlation)
_DISCREPANCY = (_discrepancy, _tables.discrepancy_table, _figures.draw_discrepancy)
THEORY = {
    "fig1": Theory("Figure 1: MMD and B after one query", *_DISCREPANCY),
    "fig2": Theory("Figure 2: G and alignment, true labels", *_CORRELATION),
    "fig4": Theory(
        "Figure 4: the approximation ratio over training",
        _ratio,
        _tables.ratio_table,
        _figures.draw_ratio,
    ),
    "fig6": Theory("Figure 6: G and alignment, pseudo-labels", *_CORRELATION),
    "fig7": Theory("Figure 7: G and the generalization bound", *_CORRELATION),
    "fig9": Theory("Figure 9: MMD/B over rounds", *_DISCREPANCY),
    "table10": Theory("Table 10: MMD/B of one budget in several rounds", *_DISCREPANCY),
}


def run_theory(
    name: str,
    root: str | Path,
    settings: Any = None,
    *,
    data_root: str | Path = "data",
    download: bool = False,
    device: Any = "cpu",
    verbose: int = 0,
    style: str = "markdown",
) -> Any:
    """Do, or read, a verification experiment; write its figure and return its table.

    Parameters
    ----------
    name : str
        A key of `THEORY`.
    root : str or Path
        Folder of results, kernels and runs. What is there already is not done again.
    settings : TheorySettings, optional
        None: the paper's sizes; `QUICK` for a first look.
    data_root : str or Path, default="data"
    download : bool, default=False
        Fetch a data set that is missing, through torchvision.
    device : str, default="cpu"
    verbose : int, default=0
        1 shows progress bars.
    style : {"markdown", "rst", "latex"}, default="markdown"

    Returns
    -------
    text : str
        A title, what was run, and the table.
    paths : list of Path
        Of the figure, PNG and SVG.

    Raises
    ------
    InvalidParameterError, InvalidDataError
        There is no such experiment, or data are missing or too few.

    Examples
    --------
    >>> import tempfile
    >>> from skdal.experiments.theory import QUICK, run_theory
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text, paths = run_theory("fig2", folder, QUICK)
    >>> text.splitlines()[0]
    '## Figure 2: G and alignment, true labels'
    """
    theory = THEORY[check_known("verification experiment", name, THEORY)]
    settings = settings or TheorySettings()
    check_known("format", style, STYLES)
    check_device(device)
    out = prepare_folder(root)
    if download:
        load_dataset(settings.dataset, data_root, download=True)
    found = _found(theory, out, settings, data_root, device, verbose)
    used = ", ".join(
        f"{key} = {value}" for key, value in sorted(found["settings"].items())
    )
    text = _heading(theory.title, style)
    mark = "% " if style == "latex" else ""
    averaged = (
        ", and for kernels averaged" if "pixels" in theory.experiment.USES else ""
    )
    text += f"{mark}Run with {used}. Images are normalized by channel{averaged}.\n\n"
    result = _result_of(theory.experiment, found, result_file(theory, out, settings))
    text += theory.table(result, settings, name, style)
    figure = theory.draw(result, settings, name)
    # The digest is that of the result's file: figures of other settings do not replace each other.
    stem = f"{figure_stem(name, settings)}-{settings.digest(*theory.experiment.USES)}"
    paths = [out / f"{stem}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        write_atomically(path, partial(save_figure, figure, path.suffix[1:]))
    return text, paths


def _heading(title, style):
    """Return a heading; of LaTeX tables it is a comment, as a document has its own."""
    underline = f"{'-' * len(title)}\n" if style == "rst" else ""
    return {"markdown": "## ", "latex": "% ", "rst": ""}[
        style
    ] + f"{title}\n{underline}\n"


def figure_stem(name: str, settings: Any) -> Any:
    """Return the name of a figure's files, without ending."""
    parts = [name, data_name(settings.dataset)]
    parts += (
        [f"{settings.pixels}px"] if "pixels" in THEORY[name].experiment.USES else []
    )
    return "-".join(parts + [f"seed{settings.seed}"] * (settings.seed != 0))


def result_file(theory: Any, root: str | Path, settings: Any) -> Any:
    """Return where the result of an experiment with some settings is kept."""
    return (
        Path(root) / f"{_stem(theory)}-{settings.digest(*theory.experiment.USES)}.json"
    )


def stored_results(root: str | Path) -> Any:
    """Yield (name, settings, result) of every figure and table that the results in a folder are
    of.
    """
    stems = {_stem(theory) for theory in THEORY.values()}
    for file in sorted(
        file for stem in stems for file in Path(root).glob(f"{stem}-*.json")
    ):
        names = [
            name
            for name, theory in THEORY.items()
            if file.name.startswith(f"{_stem(theory)}-")
        ]
        found = _read(file, THEORY[names[0]].experiment)
        held: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in found["settings"].items()
        }
        settings = TheorySettings(**held)
        result = _result_of(THEORY[names[0]].experiment, found, file)
        for name in names:
            yield name, settings, result


def _read(file, experiment):
    return read_kept(file, AS_JSON, partial(_fault_of, experiment=experiment))


def _result_of(experiment, found, file):
    """Return what was found as the `RESULT` of an experiment; `file` is where it was read from."""
    try:
        return experiment.RESULT.from_json(found)
    except (TypeError, KeyError, AttributeError) as error:
        raise damaged(file, f"{type(error).__name__}: {error}") from error


def _fault_of(found, experiment):
    """Say what is wrong with a result that was read, or return None."""
    if fault := fault_of(found, dict):
        return fault
    missing = {"settings", "data", *experiment.HOLDS} - set(found)
    missing = missing or set(experiment.USES) - set(found["settings"])
    return f"no {min(missing)}" if missing else None


def _stem(theory):
    return theory.experiment.__name__.rpartition("._")[2]


def _found(theory, root, settings, data_root, device, verbose):
    file = result_file(theory, root, settings)
    digest = _same_data(root, settings, data_root)
    if not file.exists():
        found = theory.experiment.compute(
            settings, root, data_root=data_root, device=device, verbose=verbose
        )
        found |= {
            "settings": {key: getattr(settings, key) for key in theory.experiment.USES},
            "data": digest,
            "versions": versions(),
            "device": device,
            "threads": torch.get_num_threads(),
        }
        keep(file, found, AS_JSON)
    found = _read(file, theory.experiment)
    _check_same(file, found["data"], digest, settings)
    return found


def _same_data(root, settings, data_root):
    """Return the digest of the data, which is kept beside the results: they are of no other.

    Raises
    ------
    InvalidDataError
        The results in the folder are of other data of this name.
    """
    _, digest = load(RunSpec(settings.dataset, "cnn_gap", "random"), data_root)
    file = root / f"{data_name(settings.dataset)}.digest"
    if not file.exists():
        write_atomically(file, lambda out: out.write(digest.encode()))
    _check_same(root, file.read_text(), digest, settings)
    return digest


def _check_same(where, held, digest, settings):
    if held != digest:
        raise InvalidDataError(
            f"what is in {where} was made with other data of the name {settings.dataset} "
            f"(digest {held}) than those found now ({digest}). Restore the data, or use "
            "another folder."
        )
