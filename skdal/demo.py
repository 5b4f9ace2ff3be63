"""The demonstration: dynamicAL beside margin and random sampling on scikit-learn's handwritten digits."""

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from torch import nn
from tqdm.auto import tqdm

from skdal.exceptions import InvalidParameterError
from skdal.models import DigitsCNN
from skdal.samplers import DynamicALSampler, MarginSampler, RandomSampler
from skdal.utils import preserved_rng

SAMPLERS = {
    "dynamicAL": DynamicALSampler,
    "margin": MarginSampler,
    "random": RandomSampler,
}
COLORS = {"dynamicAL": "#1f5fa8", "margin": "#d9822b", "random": "#7f7f7f"}
N_TEST = 500
N_SHOWN = 12  # digits in each half of queries.png


@dataclass(frozen=True)
class DemoSettings:
    """What the demonstration runs: every sampler, `n_seeds` times, for `n_rounds` queries.

    Attributes
    ----------
    n_seeds : int
        Repetitions; a seed decides the initial labels and weights, the same for all samplers.
    n_rounds : int
        Queries a repetition.
    n_instances : int
        Labels asked for in a query.
    n_initial : int
        Labels at the start.
    """

    n_seeds: int
    n_rounds: int
    n_instances: int
    n_initial: int

    @property
    def n_labeled(self):
        """Size of the labeled set at each evaluation, (n_rounds + 1,)."""
        return self.n_initial + self.n_instances * np.arange(self.n_rounds + 1)


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes
    ----------
    settings : DemoSettings
    accuracy : dict of str to array (n_seeds, n_rounds + 1)
        On the test digits, which nothing else looks at.
    seconds : dict of str to array (n_seeds, n_rounds)
        Of each query.
    query : dict
        The last query of dynamicAL with the first seed, over its whole pool, most wanted first:
        `images` (n, 8, 8), `scores` (n,), `predicted` and `true` labels (n,); `n_labeled` before it.
    """

    settings: DemoSettings
    accuracy: dict
    seconds: dict
    query: dict


class ConvergingNet(NeuralNetClassifier):
    """A net that trains until it knows its labeled set: 97 % in an epoch, or `max_epochs`."""

    target_accuracy = 0.97

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train epoch by epoch until the accuracy on the labeled set is reached."""
        for _ in range(self.max_epochs if epochs is None else epochs):
            super().fit_loop(X, y, epochs=1, **fit_params)
            if self.history[-1, "train_acc"] > self.target_accuracy:
                break
        return self


def make_net():
    """Return the untrained net of the demonstration."""
    return ConvergingNet(
        DigitsCNN,
        module__n_classes=10,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=32,
        max_epochs=60,
        train_split=None,
        verbose=0,
        callbacks=[
            (
                "train_acc",
                EpochScoring(
                    "accuracy", lower_is_better=False, on_train=True, name="train_acc"
                ),
            )
        ],
    )


def run_demo(settings, *, verbose=0):
    """Run active learning on the digits with every sampler and seed.

    Parameters
    ----------
    settings : DemoSettings
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    DemoResult

    Raises
    ------
    InvalidParameterError
        The settings ask for more labels than there are digits; raised before any training.
    """
    X, X_test, y, y_test = _digits()
    _check(settings, len(X))
    accuracy = {
        name: np.empty((settings.n_seeds, settings.n_rounds + 1)) for name in SAMPLERS
    }
    seconds = {
        name: np.empty((settings.n_seeds, settings.n_rounds)) for name in SAMPLERS
    }
    query = None
    n_fits = settings.n_seeds * len(SAMPLERS) * (settings.n_rounds + 1)
    with (
        preserved_rng(),
        _one_thread(),
        tqdm(total=n_fits, unit="fit", disable=not verbose) as bar,
    ):
        for seed in range(settings.n_seeds):
            for name, sampler_class in SAMPLERS.items():
                bar.set_description(f"seed {seed + 1} of {settings.n_seeds}, {name:<9}")
                loop = _Loop(
                    sampler_class(make_net(), random_state=seed), settings, X, y, seed
                )
                for step, score in enumerate(loop.rounds(X_test, y_test)):
                    accuracy[name][seed, step] = score
                    bar.update()
                seconds[name][seed] = loop.seconds
                query = query or loop.last_query  # dynamicAL comes first
    return DemoResult(settings, accuracy, seconds, query)


@contextmanager
def _one_thread():
    """Run a block with one torch thread: more do not help so small a net, and stall on a busy machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


class _Loop:
    """One sampler's loop from one seed: fit, evaluate, query, take the labels, and again."""

    def __init__(self, sampler, settings, X, y, seed):
        self.sampler, self.settings, self.X, self.y = sampler, settings, X, y
        self.labeled = np.random.default_rng(seed).choice(
            len(X), settings.n_initial, replace=False
        )
        self.seconds = []
        self.last_query = None

    def rounds(self, X_test, y_test):
        """Yield the test accuracy after each fit."""
        for step in range(self.settings.n_rounds + 1):
            self.sampler.fit(self.X[self.labeled], self.y[self.labeled])
            yield self.sampler.score(X_test, y_test)
            if step < self.settings.n_rounds:
                self._query(is_last=step == self.settings.n_rounds - 1)

    def _query(self, is_last):
        pool = np.setdiff1d(np.arange(len(self.X)), self.labeled)
        start = time.perf_counter()
        picked = self.sampler.query(self.X[pool], n_instances=self.settings.n_instances)
        self.seconds.append(time.perf_counter() - start)
        if is_last and hasattr(self.sampler, "score_samples"):
            self.last_query = self._whole_query(pool)
        self.labeled = np.r_[self.labeled, pool[picked]]

    def _whole_query(self, pool):
        order, scores = self.sampler.query(
            self.X[pool], n_instances=len(pool), return_scores=True
        )
        ranked = pool[order]
        return {
            "images": self.X[ranked, 0],
            "scores": scores,
            "predicted": self.sampler.predict(self.X[ranked]),
            "true": self.y[ranked],
            "n_labeled": len(self.labeled),
        }


def _digits():
    """Return X, X_test (n, 1, 8, 8) in [0, 1] and y, y_test; the split is the same for every seed."""
    images, labels = load_digits(return_X_y=True)
    X = (images / 16).astype("float32").reshape(-1, 1, 8, 8)
    return train_test_split(
        X, labels.astype("int64"), test_size=N_TEST, stratify=labels, random_state=0
    )


def _check(settings, n_digits):
    if (
        min(
            settings.n_seeds,
            settings.n_rounds,
            settings.n_instances,
            settings.n_initial,
        )
        < 1
    ):
        raise InvalidParameterError(
            f"seeds, rounds and numbers of labels must be at least 1; got {settings}."
        )
    # the last query leaves something to show
    if settings.n_labeled[-1] + 2 * N_SHOWN > n_digits:
        raise InvalidParameterError(
            f"{settings.n_initial} labels at the start and {settings.n_rounds} rounds of {settings.n_instances} make "
            f"{settings.n_labeled[-1]}; with {n_digits} digits in the pool at most {n_digits - 2 * N_SHOWN} are "
            "possible. Ask for fewer rounds or fewer labels a round."
        )


# --- what is shown ------------------------------------------------------------------------------------


def format_table(result):
    """Return the result as lines of text: labels, accuracy, seconds a query, and the differences."""
    settings, names = result.settings, list(SAMPLERS)
    percent = {name: 100 * result.accuracy[name] for name in names}
    seeds = (
        f"mean (standard error) of {settings.n_seeds} seeds"
        if settings.n_seeds > 1
        else "one seed"
    )
    lines = [
        f"Accuracy in % on {N_TEST} test digits, {seeds}",
        "",
        _row("labels", names),
    ]
    for step, n_labeled in enumerate(settings.n_labeled):
        lines.append(
            _row(n_labeled, [_with_error(percent[name][:, step]) for name in names])
        )
    lines += [
        _row(
            "seconds a query", [f"{result.seconds[name].mean():.3f}" for name in names]
        ),
        "",
    ]
    first, *others = names
    for other in others:  # paired by seed, over the evaluations that followed a query
        difference = (percent[first] - percent[other])[:, 1:].mean(axis=1)
        lines.append(
            f"{first} minus {other}, mean of all rounds: {_with_error(difference, sign='+')} points"
        )
    return "\n".join(lines)


def _row(label, cells):
    return f"{label:>15}" + "".join(f"{cell:>14}" for cell in cells)


def _with_error(values, sign=""):
    mean = f"{values.mean():{sign}.1f}"
    return f"{mean} ({_standard_error(values):.1f})" if len(values) > 1 else mean


def _standard_error(values):
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def write_figures(result, folder):
    """Write learning_curve.png and queries.png into `folder` and return their paths."""
    drawn = {
        "learning_curve.png": draw_learning_curve(result),
        "queries.png": draw_query(result.query),
    }
    for name, figure in drawn.items():
        unfinished = Path(folder) / f".{name}"  # a reader never sees half a file
        figure.savefig(unfinished, format="png", dpi=150)
        unfinished.replace(Path(folder) / name)
    return [Path(folder) / name for name in drawn]


def draw_learning_curve(result):
    """Return a Figure: test accuracy over labels, with bands of one standard error."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    n_labeled, n_seeds = result.settings.n_labeled, result.settings.n_seeds
    for name, accuracy in reversed(result.accuracy.items()):  # dynamicAL on top
        mean = 100 * accuracy.mean(axis=0)
        axes.plot(
            n_labeled, mean, marker="o", markersize=4, color=COLORS[name], label=name
        )
        if n_seeds > 1:
            error = 100 * _standard_error(accuracy)
            axes.fill_between(
                n_labeled,
                mean - error,
                mean + error,
                color=COLORS[name],
                alpha=0.18,
                linewidth=0,
            )
    axes.set_xticks(n_labeled)
    axes.set_xlabel("number of labels")
    axes.set_ylabel(f"accuracy on {N_TEST} test digits (%)")
    bands = f"mean and standard error of {n_seeds} seeds" if n_seeds > 1 else "one seed"
    axes.set_title(
        f"Active learning on handwritten digits, {bands}", fontsize=11, loc="left"
    )
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="lower right")
    return figure


def draw_query(query):
    """Return a Figure: the most and the least wanted digits of a query, with their scores."""
    figure = Figure(figsize=(7.6, 6.4), layout="constrained")
    figure.suptitle(
        f"What dynamicAL asks for after {query['n_labeled']} labels (scores)",
        fontsize=12,
    )
    halves = figure.subfigures(2, 1, hspace=0.05)
    ranks = np.arange(len(query["scores"]))
    for half, title, shown in (
        (halves[0], "most wanted", ranks),
        (halves[1], "least wanted", ranks[::-1]),
    ):
        half.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
        for axes, i in zip(half.subplots(2, N_SHOWN // 2).flat, shown[:N_SHOWN]):
            axes.imshow(query["images"][i], cmap="gray_r", vmin=0, vmax=1)
            predicted, true, score = (
                query["predicted"][i],
                query["true"][i],
                query["scores"][i],
            )
            wrong = predicted != true
            seen = f"net: {predicted}, true: {true}" if wrong else f"net: {predicted}"
            number = f"{score:,.0f}" if abs(score) >= 100 else f"{score:.2g}"
            axes.set_title(
                f"{number}\n{seen}", fontsize=9, color="#b02020" if wrong else "#333333"
            )
            axes.axis("off")
    return figure
