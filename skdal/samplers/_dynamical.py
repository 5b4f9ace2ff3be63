"""dynamicAL: ask for the labels that most raise the training dynamics of the net."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from skdal.adapters import open_net, penalised
from skdal.base import (
    OrderedSum,
    Selection,
    Table,
    check_any,
    highest,
    run_pass,
)
from skdal.gradients._sums import chunk_rows
from skdal.samplers._candidates import IS_N_CANDIDATES, check_n_candidates
from skdal.samplers._gradient import (
    COUNTS,
    GradientSampler,
    GradientSumWork,
    GradientWork,
)
from skdal.samplers._unconverged import medians_of_terms, warn_if_unconverged
from skdal.utils import (
    check_finite_scores,
    count_rows,
    is_number,
    is_positive_integer,
    row_slices,
    take_rows,
    warn_caller,
)


@dataclass(frozen=True, kw_only=True)
class DeltaWork(GradientWork):
    """Scores by Eq. 15, with gamma for its 2.

    Parameters
    ----------
    gamma : float
    direction : dict of str to tensor, or None
        g_S; None where gamma is 0.
    """

    gamma: float
    direction: dict[str, torch.Tensor] | None

    def __call__(self, trained, X):
        """Return the columns "score", "sq_norm", "dot" and "label", each (n,), without a term that
        does not count.
        """
        statistics = self.statistics(
            trained, X, direction=self.direction, only_dot=self.gamma == np.inf
        )
        columns = {"score": self._delta(statistics)}
        if self.gamma != np.inf:
            columns["sq_norm"] = statistics.sq_norm
        if statistics.dot is not None:
            columns["dot"] = statistics.dot
        columns["label"] = statistics.label
        return columns

    def summary(self, columns):
        """Return the medians of the terms; see `medians_of_terms`."""
        return medians_of_terms(columns, self.gamma)

    def _delta(self, statistics):
        if self.gamma == 0:
            return statistics.sq_norm
        if self.gamma == np.inf:
            return statistics.dot
        return statistics.sq_norm + self.gamma * statistics.dot


@dataclass(frozen=True, kw_only=True)
class DotWork(GradientWork):
    """Inner products of gradients with a direction.

    Parameters
    ----------
    direction : dict of str to tensor
    """

    direction: dict[str, torch.Tensor]

    def __call__(self, trained, X, y):
        """Return the column "dot" (n,) of samples with labels y (n,)."""
        statistics = self.statistics(
            trained, X, y, direction=self.direction, only_dot=True
        )
        return {"dot": statistics.dot}


class _Choices(NamedTuple):
    """What a batch is chosen from.

    Attributes
    ----------
    X : data (m, ...)
    positions : intp array (m,)
        Of the samples in the pool, ascending.
    columns : dict of str to array (m,)
        As a `DeltaWork` gives them.
    unreadable : list of Unreadable
    """

    X: Any
    positions: np.ndarray
    columns: dict
    unreadable: list


@dataclass(eq=False, repr=False, kw_only=True)
class DynamicALSampler(GradientSampler):
    r"""Ask for the labels that most raise the net's training dynamics (dynamicAL).

    A sample of the pool scores

    .. math:: \Delta(x) = \|g_x\|^2 + \gamma \, g_x \cdot g_S, \qquad \gamma = 2,

    where :math:`g_x` is the gradient of its loss under its own predicted label, over all trainable
    parameters, and :math:`g_S` the sum over the labeled set of the gradients under the true labels,
    with that of the L2 penalty that the net is trained with, all in eval mode. The scores are
    exact.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net, bare or last in a Pipeline; see `BaseSampler`.
    gamma : float, default=2.0
        Weight of the inner product. 0: gradient length alone; numpy.inf: the inner product alone.
    interaction : float, default=0.0
        Kappa: the batch is picked in chunks of `update_size`, and what is left then scores
        Delta(x) + kappa * g_x . (sum of the gradients picked so far). 0 is the paper's top-b
        (Eq. 12); kappa = gamma = 2 with `update_size=1` is exactly greedy on Eq. 11 and 13; a
        negative kappa spreads the batch. Each further chunk costs another pass over the pool.
    update_size : int, default=100
        Samples picked between two updates of the scores; without effect at `interaction=0`. It has
        to be below `n_instances` for `interaction` to have an effect, else a query warns.
    n_candidates : int, optional
        After the first pass only so many samples of highest score stay in the running, which makes
        the further passes cheap; without effect at `interaction=0`. None: all of the pool.
    penalty : "auto", None or float, default="auto"
        The L2 penalty, whose gradient g_S gets: a net that is trained with one converges where the
        labeled set's own gradient is not 0 but balances the penalty's. "auto": the `weight_decay`
        of each parameter in the net's optimizer, where that is an L2 penalty (SGD, Adam and most
        others, but not AdamW); a number: this `weight_decay` for all parameters that count; None:
        no penalty. See the page on the method.
    layers : "all", "last", str or list of str, default="all"
        The parameters that count; see `skdal.gradients.gradient_statistics`.
    backend : {"auto", "ghost", "functorch", "backpack", "loop"}, default="auto"
        How per-sample gradients are taken; see `skdal.gradients.gradient_statistics`.
    batch_size : int, optional
        Samples per mini-batch; None: by the shape of a sample, see `gradient_statistics`.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    References
    ----------
    Wang et al., "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, Eq. 15.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn.datasets import load_digits
    >>> from skdal import DynamicALSampler
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.astype("float32") / 16
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=64, module__out_features=10,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> sampler = DynamicALSampler(net, random_state=0).fit(X[:100], y[:100])
    >>> indices, scores = sampler.query(X[100:], n_instances=5, return_scores=True)
    >>> bool((scores[:-1] >= scores[1:]).all())
    True
    """

    gamma: float = 2.0
    interaction: float = 0.0
    update_size: int = 100
    n_candidates: int | None = None
    penalty: str | float | None = "auto"

    def _work(self, trained, rng):
        direction = None if self.gamma == 0 else self._direction(trained)
        return DeltaWork(gamma=self.gamma, direction=direction, **self._engine_params())

    def _look_back(self, trained, summaries):
        warn_if_unconverged(trained, summaries, self.gamma)

    def _select(self, trained, X, n_instances, rng):
        check_n_candidates(self.n_candidates, n_instances)
        if self.interaction == 0 or n_instances <= self.update_size:
            self._warn_of_one_chunk(n_instances)
            return super()._select(trained, X, n_instances, rng)
        choices = self._choices(trained, X, n_instances, rng)
        scores = choices.columns["score"]
        labels = choices.columns["label"]
        picks = []
        picked_scores = []
        while True:
            n_left = n_instances - len(picks)
            chunk = _highest_but(scores, picks, min(self.update_size, n_left))
            picks += chunk.tolist()
            picked_scores += scores[chunk].tolist()
            if len(picks) == n_instances:
                positions = choices.positions[picks]
                return Selection(positions, picked_scores, choices.unreadable)
            # Gradients of picks add up, so a chunk adds its share to the scores.
            chosen = take_rows(choices.X, chunk)
            picked, _ = self._sum(trained, chosen, labels[chunk])
            share = self._dots(trained, choices.X, labels, picked)
            scores = check_finite_scores(scores + self.interaction * share)

    def _warn_of_one_chunk(self, n_instances):
        if self.interaction == 0 or n_instances == 1:
            return
        warn_caller(
            f"interaction={self.interaction:g} has no effect on this query: "
            f"update_size={self.update_size} is not below n_instances={n_instances}, so all "
            "are picked in one chunk. Pass a smaller one, such as "
            f"update_size={in_chunks(n_instances)}."
        )

    def _choices(self, trained, X, n_instances, rng):
        """Return the samples that the batch is chosen from: candidates, or all that can be read."""
        n = count_rows(X)
        if self.n_candidates is not None and self.n_candidates < n:
            result = self._best(trained, X, self.n_candidates, rng)
            positions, columns = result.value.by_position()
        else:
            result = self._pass_over(trained, X, Table(n), rng)
            table = result.value.columns
            positions = np.flatnonzero(table["label"] >= 0)
            check_any(len(positions), n, n_instances)
            columns = {name: x[positions] for name, x in table.items()}
        chosen_from = X if len(positions) == n else take_rows(X, positions)
        return _Choices(chosen_from, positions, columns, result.unreadable)

    def _dots(self, trained, X, labels, direction):
        """Return the inner products (n,) of gradients under given labels with a direction."""
        work = DotWork(
            direction=direction, verbose=self.verbose, **self._engine_params()
        )
        table = Table(count_rows(X))
        run_pass(
            work, trained, X, self.executor, table, y=labels, description="interaction"
        )
        return table.columns["dot"]

    def _direction(self, trained):
        """Return g_S, the gradient of what the net is trained to make small: losses of the labeled
        set and penalty.
        """
        X, y = trained.labeled_set(type(self).__name__)
        gradient, counts = self._sum(trained, X, y)
        if self.penalty is None:
            return gradient
        return penalised(trained.classifier, X, y, gradient, self.penalty, counts)

    def _sum(self, trained, X, y):
        """Return the summed gradient of labeled samples, and how many are of each class.

        The gradient is the same bit for bit wherever it is taken.
        """
        work = GradientSumWork(**self._engine_params())
        if self.executor is None or not self.executor.is_remote:
            total = work(trained, X, y)
        else:
            total = self._sum_of_chunks(work, trained, X, y)
        counts = total.pop(COUNTS)
        return total, counts

    def _sum_of_chunks(self, work, trained, X, y):
        y = open_net(trained.classifier).checked_labels(X, y)
        n = count_rows(X)
        size = work.unit(trained, X, self.executor.batch_size)
        slices = list(row_slices(n, chunk_rows(n, size)))
        reducer = OrderedSum()
        run_pass(
            work,
            trained,
            X,
            self.executor,
            reducer,
            y=y,
            slices=slices,
            description="labeled set",
        )
        return reducer.total

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "gamma": (lambda v: is_number(v) and v > -np.inf, "a number or numpy.inf"),
            "interaction": (
                lambda v: is_number(v) and abs(v) < np.inf,
                "a finite number",
            ),
            "update_size": (is_positive_integer, "an integer of at least 1"),
            "n_candidates": IS_N_CANDIDATES,
            "penalty": (_is_penalty, '"auto", None or a finite number of at least 0'),
        }


def _is_penalty(value):
    return (
        value is None
        or isinstance(value, str)
        and value == "auto"
        or is_number(value)
        and 0 <= value < np.inf
    )


def _highest_but(scores, taken, n_instances):
    """Return the positions of the highest scores that are not taken, best first."""
    free = scores.copy()
    free[taken] = -np.inf
    return highest(free, n_instances)


def in_chunks(n_instances):
    """Return an `update_size` that picks a batch of at least two in up to five chunks, so that they
    interact.
    """
    return -(-n_instances // 5)
