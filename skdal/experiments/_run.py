"""One run: train, measure, query, and again. A round is stored before the next begins.

Every source of chance of a round is seeded from the spec and the round's number, so a round that
was cut short is done again from the checkpoint of the one before, and comes out the same.
"""

from __future__ import annotations

import functools
import itertools
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skdal.adapters import Trial
from skdal.datasets import Batches, load_dataset
from skdal.exceptions import InvalidDataError, InvalidParameterError, RunInUseError
from skdal.experiments._environment import PeakMemory, versions
from skdal.experiments._store import RunFolder
from skdal.experiments._train import (
    RunningAccuracy,
    measure,
    outputs_of,
    train_until_learned,
)
from skdal.models import MODELS
from skdal.samplers import SAMPLERS
from skdal.utils import check_known, digest, forked_rng

logger = logging.getLogger("skdal")

_QUERY_BATCH = 256


def run(
    spec: Any,
    root: str | Path,
    *,
    data_root: str | Path = "data",
    device: Any = "cpu",
    report: Any = None,
    n_records: int | None = None,
) -> Any:
    """Do what is left of a run.

    Parameters
    ----------
    spec : RunSpec
    root : str or Path
        Folder of all runs; see `RunFolder`.
    data_root : str or Path, default="data"
        Where the data sets are; nothing is downloaded.
    device : str, default="cpu"
    report : callable, optional
        Called with the record of each round, after it is stored.
    n_records : int, optional
        Stop after so many rounds in all. None: when the run is done.

    Returns
    -------
    records : list of dict
        Of all rounds so far.

    Raises
    ------
    InvalidParameterError, InvalidDataError
        Before any training: the spec names what does not exist or asks for more than there is, the
        folder belongs to another run, the data are others than those of the rounds before.
    RunInUseError
        Another process is busy with it.
    """
    data, data_digest = load(spec, data_root)
    check(spec, data)
    work = _Run(spec, data, device)
    work.try_out()
    folder = RunFolder(root, spec)
    with folder.locked() as is_mine:
        if not is_mine:
            raise RunInUseError(
                f"another process is busy with {folder.path}; wait for it, or use another folder."
            )
        records, state = folder.resume()
        folder.clear_failure()
        check_same_data(records, data_digest, folder)
        _tell_of_other_numbers(records, device)
        work.restore(records, state)
        n_left = None if n_records is None else max(0, n_records - len(records))
        for record in itertools.islice(work.rounds(), n_left):
            record |= {
                "data": data_digest,
                "device": device,
                "threads": torch.get_num_threads(),
                "versions": versions(),
            }
            folder.append(record, work.state())
            records.append(record)
            if report is not None:
                report(record)
    return records


def load(spec, data_root="data"):
    """Return (ImageData, digest) of a spec's data; the last one stays in memory for the next
    run.
    """
    seed = spec.seed_of("split") if spec.imbalance_ratio != 1 else 0
    file = Path(data_root) / spec.dataset
    file = file if file.is_file() else Path(spec.dataset)
    version = (
        (file.resolve(), file.stat().st_mtime_ns, file.stat().st_size)
        if file.is_file()
        else None
    )
    return _load(spec.dataset, str(data_root), spec.imbalance_ratio, seed, version)


@functools.lru_cache(maxsize=1)
def _load(name, root, imbalance_ratio, seed, version):
    data = load_dataset(name, root, imbalance_ratio=imbalance_ratio, seed=seed)
    parts = []
    for part in (data.train, data.test):
        parts += [np.ascontiguousarray(part.images), part.targets]
    return data, digest(parts, n_digits=16)


def check(spec, data):
    """Raise if a spec names what does not exist, or asks for more labels than there are."""
    check_known("model", spec.model, MODELS)
    make_sampler(spec)._check(make_net(spec, data, "cpu"))
    n_pool = len(data.train)
    if spec.n_initial > n_pool:
        raise InvalidParameterError(
            f"{spec.n_initial} labels at the start are more than the pool of {spec.dataset} has: "
            f"{n_pool}."
        )
    n_labels = n_labeled(spec, n_pool)[-1]
    if n_labels > n_pool:
        raise InvalidParameterError(
            f"{spec.n_initial} labels at the start and {spec.n_rounds} rounds of "
            f"{spec.n_instances} make {n_labels}; the pool of {spec.dataset} has {n_pool}. Ask "
            "for fewer rounds (n_rounds, "
            'on the command line --rounds) or fewer labels, or set last_round="partial".'
        )


def check_net(spec, data, device):
    """Raise if the net of a spec does not take the images, the sampler not the net, or if there is
    no such device.
    """
    _Run(spec, data, device).try_out()


def initial_set(spec, data):
    """Return which training images a run begins with, (n_initial,)."""
    return np.random.default_rng(spec.seed_of("initial")).choice(
        len(data.train), spec.n_initial, replace=False
    )


def prepared_net(spec, data, device):
    """Return the net of a run as its first query finds it."""
    work = _Run(spec, data, device)
    work.try_out()
    work._train()
    return work.net


@dataclass(frozen=True)
class NextQuery:
    """What the sampler of a finished run would ask for next: its whole pool, most wanted first.

    Attributes
    ----------
    images : array (n, height, width, channels)
    scores : array (n,)
    predicted, true : int arrays (n,)
        The net's classes and the right ones.
    n_labeled : int
        Labels that the net was trained on.
    """

    images: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    true: np.ndarray
    n_labeled: int


def next_query(spec, root, data_root="data"):
    """Return the `NextQuery` of a run that is done, from its net as it is stored."""
    data, _ = load(spec, data_root)
    work = _Run(spec, data, "cpu")
    work.restore(*RunFolder(root, spec).resume())
    ranked, scores = work.ask()
    images = data.train.take(ranked)
    predicted = outputs_of(work.net, images).argmax(1).numpy()
    shown = data.train.images[ranked]
    return NextQuery(shown, scores, predicted, images.targets, len(work.labeled))


def n_labeled(spec, n_pool):
    """Return the number of labels in each round: with `last_round="partial"` no more than the pool
    has.
    """
    counts = spec.n_initial + spec.n_instances * np.arange(spec.n_rounds + 1)
    if spec.last_round == "partial":
        counts = np.unique(np.minimum(counts, n_pool))
    return counts.tolist()


def make_net(spec, data, device):
    """Return the untrained net of a spec, with the weights of its seed."""
    return MODELS[spec.model](
        len(data.class_names),
        in_channels=data.train.images.shape[-1],
        seed=spec.seed_of("weights"),
        lr=spec.training.lr,
        batch_size=spec.training.batch_size,
        iterator_train=Batches,
        iterator_valid__batch_size=_QUERY_BATCH,
        callbacks=[("running_accuracy", RunningAccuracy())],
        device=device,
    )


def make_sampler(spec):
    """Return the sampler of a spec; its random numbers depend on the seed and on the size of the
    labeled set.
    """
    check_known("sampler", spec.sampler, SAMPLERS)
    try:
        sampler = SAMPLERS[spec.sampler](
            **spec.sampler_params, random_state=spec.seed_of("query")
        )
    except TypeError as error:
        raise InvalidParameterError(
            f"sampler_params of {spec.sampler}: {error}"
        ) from error
    return sampler


def check_same_data(records, data_digest, folder):
    """Raise if the rounds of a run were made with other data."""
    if records and records[-1]["data"] != data_digest:
        raise InvalidDataError(
            f"the rounds in {folder.path} were made with other data (digest "
            f"{records[-1]['data']}) than those found now ({data_digest}). Restore the data, "
            "or use another folder."
        )


def _tell_of_other_numbers(records, device):
    if (
        not records
        or len(
            {(r["device"], r["threads"]) for r in records}
            | {(device, torch.get_num_threads())}
        )
        == 1
    ):
        return
    logger.warning(
        "this run goes on on %s with %d threads, and began on %s with %d: from here on its "
        "last digits, and so its queries, may differ from those of an unbroken run",
        *(device, torch.get_num_threads()),
        *(records[0]["device"], records[0]["threads"]),
    )


def _rounded(score):
    """Return six digits of a score, None for one that is not finite: JSON has no word for it."""
    return float(f"{score:.6g}") if np.isfinite(score) else None


class _Run:
    """The state of a run between two rounds."""

    def __init__(self, spec, data, device):
        self.spec = spec
        self.data = data
        self.device = device
        self.n_labeled = n_labeled(spec, len(data.train))
        self.net = make_net(spec, data, device)
        self.sampler = make_sampler(spec)
        self.labeled = initial_set(spec, data)
        self.round = 0

    def try_out(self):
        """Initialize the net and pass two images of each part through it; raise if anything does
        not fit.
        """
        spec = self.spec
        try:
            self.net.initialize()
            for part in (self.data.train, self.data.test):
                self.net.evaluation_step(
                    part.batch(np.arange(min(2, len(part)))), training=False
                )
        except (RuntimeError, AssertionError) as error:
            shape = self.data.train.images.shape[1:]
            raise InvalidParameterError(
                f"the model {spec.model} does not work with the images of {spec.dataset}, of "
                f"shape {shape}, on the device {self.device}. torch said: {error}"
            ) from error
        self.sampler._check_trial(Trial(self.net, self.data.train, None))

    def restore(self, records, state):
        """Go back to where the last record was stored; of a run that is done only the net is
        left.
        """
        self.net.initialize()
        self.round = len(records)
        if not state:
            return
        queried = [record["queried"] for record in records]
        self.labeled = np.concatenate([self.labeled, *queried]).astype(np.intp)
        self.net.module_.load_state_dict(state["module"])
        if state["optimizer"] is not None:
            self.net.initialize_optimizer()
            self.net.optimizer_.load_state_dict(state["optimizer"])
        if state["sampler"] is not None:
            self.sampler.load_state_dict(state["sampler"])

    def state(self):
        """Return what `restore` needs beside the records; after the last round only the net is
        kept.
        """
        goes_on = self.round < len(self.n_labeled)
        return {
            "module": self.net.module_.state_dict(),
            "optimizer": self.net.optimizer_.state_dict() if goes_on else None,
            "sampler": self.sampler.state_dict()
            if goes_on and hasattr(self.sampler, "state_dict")
            else None,
        }

    def rounds(self):
        """Do the rounds that are left, and yield the record of each."""
        while self.round < len(self.n_labeled):
            with PeakMemory().measured(self.device) as peak:
                record = {"round": self.round, "n_labeled": len(self.labeled)}
                if self.round == 0:
                    record["initial"] = self.labeled.tolist()
                record |= self._train() | self._query()
            record["peak_memory"] = peak.n_bytes
            self.labeled = np.concatenate(
                [self.labeled, np.asarray(record["queried"], dtype=np.intp)]
            )
            self.round += 1
            yield record

    def _train(self):
        spec = self.spec
        net = self.net
        looks = []
        labeled = self.data.train.take(self.labeled)
        seconds_looking = 0.0

        def look(epoch, is_last):
            nonlocal seconds_looking
            if is_last or spec.eval_every and epoch % spec.eval_every == 0:
                start = time.perf_counter()
                looks.append(measure(net, self.data.test, epoch))
                seconds_looking += time.perf_counter() - start

        start = time.perf_counter()
        self._prepare_net()
        with forked_rng(spec.seed_of("order", self.round), 0):
            trained = train_until_learned(net, labeled, spec.training, look)
        seconds = time.perf_counter() - start
        best = max(looks, key=lambda one: one.accuracy)
        return {
            "epochs": trained.n_epochs,
            "train_accuracy": trained.accuracy,
            "converged": trained.converged,
            "accuracy": looks[-1].accuracy,
            "macro_f1": looks[-1].macro_f1,
            "optimistic_accuracy": best.accuracy if spec.eval_every else None,
            "optimistic_epoch": best.epoch if spec.eval_every else None,
            "train_seconds": round(seconds - seconds_looking, 3),
            "test_seconds": round(seconds_looking, 3),
        }

    def _prepare_net(self):
        if self.round and not self.spec.training.warm_start:
            self.net.initialize()  # its module draws the same weights again
        elif self.round and self.spec.training.reset_optimizer:
            self.net.initialize_optimizer()
        self.net.initialize_history()

    def _query(self):
        if self.round + 1 == len(self.n_labeled):
            return {
                "queried": [],
                "scores": None,
                "classes": None,
                "query_seconds": None,
            }
        n_instances = self.n_labeled[self.round + 1] - len(self.labeled)
        start = time.perf_counter()
        queried, scores = self.ask(n_instances)
        seconds = time.perf_counter() - start
        return {
            "queried": queried.tolist(),
            "scores": None
            if np.isnan(scores).all()
            else [_rounded(score) for score in scores],
            "classes": np.bincount(
                self.data.train.targets[queried],
                minlength=len(self.data.class_names),
            ).tolist(),
            "query_seconds": round(seconds, 3),
        }

    def ask(self, n_instances=None):
        """Return which training images the sampler asks for, best first, and their scores; None:
        all of the pool.
        """
        train = self.data.train
        pool = np.setdiff1d(np.arange(len(train)), self.labeled)
        self.sampler.estimator = FrozenEstimator(self.net)
        self.sampler.fit(train.take(self.labeled))
        picked, scores = self.sampler.query(
            train.take(pool).unlabeled(),
            len(pool) if n_instances is None else n_instances,
            return_scores=True,
        )
        return pool[picked], scores
