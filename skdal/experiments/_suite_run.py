"""A suite from the beginning, or from where it was left, to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from skdal.datasets import load_dataset
from skdal.experiments._jobs import Ended, run_all
from skdal.experiments._run import check, check_net, check_same_data, load, n_labeled
from skdal.experiments._store import RunFolder
from skdal.experiments._suites import specs_of, suites_of
from skdal.utils import prepare_folder


def run_suite(
    name: str,
    root: str | Path,
    *,
    n_seeds: int = 5,
    n_jobs: int = 1,
    labels: Any = None,
    data_root: str | Path = "data",
    download: bool = False,
    device: Any = "cpu",
    verbose: int = 0,
    **changes: Any,
) -> Any:
    """Do what is left of the runs of a suite.

    Parameters
    ----------
    name : str
        A key of `SUITES`, or the beginning of several ("table1").
    root : str or Path
        Folder of the runs. What is there already is not done again.
    n_seeds : int, default=5
    n_jobs : int, default=1
        Runs at once; they share the cores.
    labels : list of str, optional
        Only these variants.
    data_root : str or Path, default="data"
    download : bool, default=False
        Fetch data sets that are missing, through torchvision.
    device : str, default="cpu"
    verbose : int, default=0
        1 shows a progress bar.
    **changes
        Entries of the specs that take precedence over the suite's, such as `dataset` or `n_rounds`.

    Returns
    -------
    Ended

    Raises
    ------
    InvalidParameterError, InvalidDataError
        Before any training, of any run that could not be done.

    Examples
    --------
    >>> import tempfile
    >>> from skdal.experiments import run_suite
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ended = run_suite("digits-quick", folder, n_seeds=1, labels=["random"], n_rounds=1)
    >>> [spec.sampler for spec in ended.done]
    ['random']
    """
    specs = specs_of(suites_of(name), n_seeds=n_seeds, labels=labels, **changes)
    plans = _plans(specs, data_root, download, device)
    folders = [RunFolder(root, spec) for spec in specs]
    stored = [folder.rounds() for folder in folders]
    todo = [
        spec
        for spec, plan, records in zip(specs, plans, stored)
        if len(records) < len(plan)
    ]
    for folder, records in zip(folders, stored):
        if records and folder.spec not in todo:  # a run that goes on looks by itself
            folder.keep_spec()
            check_same_data(records, load(folder.spec, data_root)[1], folder)
    prepare_folder(root)
    with _Progress(plans, stored, verbose) as progress:
        ended = run_all(
            todo,
            root,
            n_jobs=n_jobs,
            data_root=data_root,
            device=device,
            report=progress.report,
        )
    before = [spec for spec in specs if spec not in todo]
    return Ended(before + ended.done, ended.failed, ended.in_use)


def _plans(specs, data_root, download, device):
    """Return the numbers of labels in the rounds of each run, after checking it on its data."""
    tried = set()  # combinations of data, net and sampler
    plans = {}
    for spec in sorted(specs, key=lambda spec: spec.dataset):
        if download and spec.dataset not in {dataset for dataset, *_ in tried}:
            load_dataset(spec.dataset, data_root, download=True)
        data, _ = load(spec, data_root)
        check(spec, data)
        combination = (spec.dataset, spec.model, spec.sampler)
        if combination not in tried:
            check_net(spec, data, device)
            tried.add(combination)
        plans[spec] = n_labeled(spec, len(data.train))
    return [plans[spec] for spec in specs]


class _Progress:
    """A bar whose unit is a label trained on in a round: what a round costs grows about with
    these.
    """

    def __init__(self, plans, stored, verbose):
        self._n_runs = len(plans)
        self._n_rounds = sum(map(len, plans))
        self._runs_done = sum(
            len(records) == len(plan) for plan, records in zip(plans, stored)
        )
        self._rounds_done = sum(map(len, stored))
        self._bar = tqdm(
            total=sum(map(sum, plans)),
            initial=sum(
                record["n_labeled"] for records in stored for record in records
            ),
            bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed}, left {remaining}]",
            disable=not verbose,
        )
        self._describe()

    def report(self, spec, record):
        """Take note of a round, or of the end of a run."""
        if record is None:
            self._runs_done += 1
        else:
            self._rounds_done += 1
            self._bar.update(record["n_labeled"])
        self._describe()

    def _describe(self):
        self._bar.set_description(
            f"runs {self._runs_done}/{self._n_runs}, rounds {self._rounds_done}/{self._n_rounds}"
        )

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._bar.close()
