"""dynamicAL: ask for the labels that most raise the training dynamics of the net."""

import warnings

import numpy as np

from skdal.adapters import penalised
from skdal.base import check_any, highest
from skdal.samplers._candidates import IS_N_CANDIDATES, check_n_candidates
from skdal.samplers._gradient import GradientSampler
from skdal.samplers._unconverged import medians_of_terms, warn_if_unconverged
from skdal.utils import (
    check_finite_scores,
    count_rows,
    is_number,
    is_positive_integer,
    take_rows,
)

_COUNTS = "labels of each class"  # beside names of parameters, in a sum over a Dataset


class DynamicALSampler(GradientSampler):
    r"""Ask for the labels that most raise the net's training dynamics (dynamicAL).

    A sample of the pool scores

    .. math:: \Delta(x) = \|g_x\|^2 + \gamma \, g_x \cdot g_S, \qquad \gamma = 2,

    where :math:`g_x` is the gradient of its loss under its own predicted label, over all trainable
    parameters, and :math:`g_S` the sum over the labeled set of the gradients under the true labels, with that
    of the L2 penalty that the net is trained with, all in eval mode. The scores are exact.

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
        Samples picked between two updates of the scores; without effect at `interaction=0`. It has to be below
        `n_instances` for `interaction` to have an effect, else a query warns.
    n_candidates : int, optional
        After the first pass only so many samples of highest score stay in the running, which makes the
        further passes cheap; without effect at `interaction=0`. None: all of the pool.
    penalty : "auto", None or float, default="auto"
        The L2 penalty, whose gradient g_S gets: a net that is trained with one converges where the labeled set's own
        gradient is not 0 but balances the penalty's. "auto": the `weight_decay` of each parameter in the net's
        optimizer, where that is an L2 penalty (SGD, Adam and most others, but not AdamW); a number: this
        `weight_decay` for all parameters that count; None: no penalty. See the page on the method.
    layers : "all", "last", str or list of str, default="all"
        The parameters that count; see `skdal.gradients.gradient_statistics`.
    backend : {"auto", "ghost", "functorch", "backpack", "loop"}, default="auto"
        How per-sample gradients are taken; see `skdal.gradients.gradient_statistics`.
    batch_size : int, optional
        Samples a mini-batch; None: by the shape of a sample, see `gradient_statistics`.
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

    def __init__(
        self,
        estimator=None,
        *,
        gamma=2.0,
        interaction=0.0,
        update_size=100,
        n_candidates=None,
        penalty="auto",
        layers="all",
        backend="auto",
        batch_size=None,
        warm_start=True,
        reset_optimizer=True,
        verbose=0,
        random_state=None,
        executor=None,
    ):
        super().__init__(
            estimator,
            layers=layers,
            backend=backend,
            batch_size=batch_size,
            warm_start=warm_start,
            reset_optimizer=reset_optimizer,
            verbose=verbose,
            random_state=random_state,
            executor=executor,
        )
        self.gamma = gamma
        self.interaction = interaction
        self.update_size = update_size
        self.n_candidates = n_candidates
        self.penalty = penalty

    def _shared(self, trained, rng):
        return {"direction": None if self.gamma == 0 else self._direction(trained)}

    def _score_columns(self, trained, X, direction):
        statistics = self._statistics(
            trained, X, direction=direction, only_dot=self.gamma == np.inf
        )
        terms = {
            "sq_norm": statistics.sq_norm,
            "dot": statistics.dot,
            "label": statistics.label,
        }
        if self.gamma == np.inf:
            del terms["sq_norm"]
        return {"score": self._delta(statistics)} | {
            name: x for name, x in terms.items() if x is not None
        }

    def _score_samples(self, trained, X, direction):
        return self._score_columns(trained, X, direction)["score"]

    def _summary(self, columns):
        return medians_of_terms(columns, self.gamma)

    def _look_back(self, trained, summaries):
        warn_if_unconverged(trained, summaries, self.gamma)

    def _select(self, trained, X, n_instances, rng):
        check_n_candidates(self.n_candidates, n_instances)
        if self.interaction != 0 and 1 < n_instances <= self.update_size:
            warnings.warn(
                f"interaction={self.interaction:g} has no effect on this query: update_size={self.update_size} is not "
                f"below n_instances={n_instances}, so all are picked in one chunk. Pass a smaller one, such as "
                f"update_size={in_chunks(n_instances)}.",
                UserWarning,
                stacklevel=4,
            )
        if self.interaction == 0 or n_instances <= self.update_size:
            return super()._select(trained, X, n_instances, rng)
        left, positions, columns = self._choices(trained, X, n_instances, rng)
        aside, scores, labels = (
            getattr(self, "unreadable_", None),
            columns["score"],
            columns["label"],
        )
        picks, picked_scores = [], []
        while True:
            open_scores = scores.copy()
            open_scores[picks] = -np.inf
            chunk = highest(
                open_scores, min(self.update_size, n_instances - len(picks))
            )
            picks += chunk.tolist()
            picked_scores += scores[chunk].tolist()
            if len(picks) == n_instances:
                if aside is not None:  # later passes see only what can be read
                    self.unreadable_ = aside
                return positions[picks], picked_scores
            # Gradients of picks add up, so a chunk adds its share to the scores.
            picked = self._sum(trained, take_rows(left, chunk), labels[chunk])
            share = self._mapped("_dots", trained, left, labels, direction=picked)[
                "dot"
            ]
            scores = check_finite_scores(scores + self.interaction * share)

    def _choices(self, trained, X, n_instances, rng):
        """Return what the batch is chosen from: samples, their positions and their columns."""
        n = count_rows(X)
        if self.n_candidates is not None and self.n_candidates < n:
            best = self._best(trained, X, self.n_candidates, rng)
            order = np.argsort(best.positions)
            positions, columns = (
                best.positions[order],
                {name: x[order] for name, x in best.columns.items()},
            )
        else:
            table = self._table(trained, X, rng)
            positions = np.flatnonzero(table["label"] >= 0)  # of those that can be read
            check_any(len(positions), n, n_instances)
            columns = {name: x[positions] for name, x in table.items()}
        return X if len(positions) == n else take_rows(X, positions), positions, columns

    def _dots(self, trained, X, labels, direction):
        return {
            "dot": self._statistics(trained, X, labels, direction, only_dot=True).dot
        }

    def _delta(self, statistics):
        """Return Eq. 15 from the statistics, with gamma for its 2."""
        if self.gamma == 0:
            return statistics.sq_norm
        if self.gamma == np.inf:
            return statistics.dot
        return statistics.sq_norm + self.gamma * statistics.dot

    def _direction(self, trained):
        """Return g_S, the gradient of what the net is trained to make small: losses of the labeled set and penalty."""
        X, y = trained.labeled_set(type(self).__name__)
        gradient = self._sum(trained, X, y)
        counts = gradient.pop(_COUNTS, None)
        if self.penalty is None:
            return gradient
        return penalised(trained.classifier, X, y, gradient, self.penalty, counts)

    def _sum(self, trained, X, y):
        if self.executor is None or not self.executor.is_remote:
            return self._sum_here(trained, X, y)
        return self._added_up("_sum_here", trained, X, y)

    def _sum_here(self, trained, X, y=None):
        gradient, counts = self._gradient_and_counts(trained, X, y)
        is_known = y is not None or self.penalty is None
        return gradient if is_known else {**gradient, _COUNTS: counts}

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


def in_chunks(n_instances):
    """Return an `update_size` that picks a batch of at least two in up to five chunks, so that they interact."""
    return -(-n_instances // 5)
