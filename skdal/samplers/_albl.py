"""Active learning by learning: a bandit that chooses among samplers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from skdal.adapters import correct_answers
from skdal.base import BaseSampler, Selection
from skdal.exceptions import InvalidDataError, InvalidParameterError
from skdal.samplers._confidence import ConfidenceSampler
from skdal.samplers._coreset import CoresetSampler
from skdal.utils import is_number, is_positive_integer, rows_digest


@dataclass(eq=False, repr=False, kw_only=True)
class ALBLSampler(BaseSampler):
    r"""Let a bandit learn from round to round which of several samplers to ask (ALBL).

    The arms of an Exp4.P bandit are samplers. Arm a, of N, has weight :math:`w_a`, at first 1, and
    is drawn with probability

    .. math:: q_a = (1 - N p_{\min}) \frac{w_a}{\sum_b w_b} + p_{\min} .

    At the next query the reward r is the importance-weighted accuracy of the net on its labeled
    set, the mean over labeled rows of [predicted right] / p, where p is the probability with which
    the row was asked for, 1 for rows that were there before the first query. Then

    .. math::

        w_a \leftarrow w_a \exp\Big( \frac{p_{\min}}{2} \Big( \hat r_a +
        \frac{1}{q_a} \sqrt{\frac{\ln(N / \delta)}{N T}} \Big) \Big), \qquad
        \hat r_a = \frac{r}{p} \text{ if arm a asked for it, else } 0 .

    The state lives in the object and is pickled with it, and `state_dict` gives it as plain lists;
    `clone` starts anew. So there is no function form: pass the instance, as in `ActiveLearner(net,
    query_strategy=ALBLSampler())`.

    Parameters
    ----------
    estimator : classifier, optional
        One that all arms can work with; see `BaseSampler`.
    samplers : list of samplers, optional
        The arms, of which clones are asked. None: `CoresetSampler()` and `ConfidenceSampler()`, as
        in the paper. Their own estimators are not used, and their random numbers come from this
        sampler's `random_state`. A bandit cannot be an arm: it would learn from answers that it did
        not ask for.
    per : {"batch", "sample"}, default="batch"
        "batch": one arm is drawn for a query and chooses the whole batch; p is its :math:`q_a`.
        "sample": an arm is drawn for each sample and gives its best one that is not taken yet; p is
        the sum of q over the arms that would have given the same one. The arms rank the pool once.
    delta : float, default=0.1
        Of Exp4.P: its guarantee holds with probability 1 - delta. Between 0 and 1.
    p_min : float, optional
        Least probability of an arm, above 0 and at most 1/N. None: 1/(10 N).
    horizon : int, default=1
        T, the number of draws that the exploration bonus is made for.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    Attributes
    ----------
    weights_ : float64 array (N,)
        w, scaled to a sum of N, after the first query.
    probabilities_ : float64 array (n_labeled,)
        p of each labeled row that is accounted for so far, 1 for the initial ones.
    history_ : list of dict
        By query: the `arms` drawn (their positions), their `q`, and the `reward` that came before,
        None at first.

    Notes
    -----
    Rows beyond those of the last query are the answers to it. They must have been appended; of
    per="sample" in the order of the picks, or in one that `update` was told. A labeled set that
    has shrunk, or has changed otherwise, is an error. A query that was not answered teaches
    nothing.

    Differences. Hsu and Lin draw one sample a round, with samples of the pool as arms and samplers
    as experts, and divide their reward by n T; libact does this, with delta 1 and p_min sqrt(ln N /
    (n T)). The repository of BADGE draws one sampler a batch, as here, but does not divide the
    reward by p a second time, adds the bonus only to the sampler that was drawn, and has T = 1.

    References
    ----------
    Hsu and Lin, "Active learning by learning", AAAI 2015. Beygelzimer et al., "Contextual bandit
    algorithms with supervised learning guarantees", AISTATS 2011, Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal import ActiveLearner
    >>> from skdal.samplers import ALBLSampler, EntropySampler, RandomSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> sampler = ALBLSampler(samplers=[RandomSampler(), EntropySampler()], random_state=0)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500), sampler, X[::10], y[::10])
    >>> for _ in range(3):
    ...     indices, samples = learner.query(X, n_instances=5)
    ...     learner.teach(samples, y[indices])
    >>> len(sampler.history_), sampler.weights_.shape
    (3, (2,))
    """

    samplers: list[BaseSampler] | None = None
    per: str = "batch"
    delta: float = 0.1
    p_min: float | None = None
    horizon: int = 1

    keeps_state_over_rounds = True

    def update(self, indices: Any, y: Any) -> None:
        """Say which picks of the last query the next labeled rows are; only needed where their
        order differs.

        Parameters
        ----------
        indices : array-like of int (m,)
            Positions in the pool of the last query, in the order in which they are appended.
        y : array-like (m,)
            Their labels, against which the appended ones are checked.
        """
        asked: Any = getattr(self, "_asked", None)
        if asked is None:
            raise InvalidDataError(
                "update tells of answers to a query, and none is open; call query first."
            )
        indices = np.asarray(indices).ravel()
        y = np.asarray(y).ravel()
        unknown = sorted(set(indices.tolist()) - set(asked.picks.tolist()))
        if (
            unknown
            or len(set(indices.tolist())) != len(indices)
            or len(indices) != len(y)
        ):
            raise InvalidDataError(
                "update needs picks of the last query, each once, and a label for each; got "
                f"{len(indices)} indices ({len(unknown)} of them not asked for: {unknown[:5]}) "
                f"and {len(y)} labels."
            )
        position = {pick: i for i, pick in enumerate(asked.picks.tolist())}
        self._asked = asked._replace(
            order=np.array([position[i] for i in indices.tolist()], dtype=int), labels=y
        )

    def state_dict(self) -> dict:
        """Return what the bandit has learned, for `torch.save` and `load_state_dict`: plain lists,
        {} at the start.
        """
        if not hasattr(self, "_bound"):
            return {}
        asked = {
            name: None if part is None else np.asarray(part).tolist()
            for name, part in self._asked._asdict().items()
        }
        return {
            "weights": self.weights_.tolist(),
            "probabilities": self.probabilities_.tolist(),
            "history": copy.deepcopy(self.history_),
            "labels": self._bound.labels.tolist(),
            "digest": self._bound.digest,
            "asked": asked,
        }

    def load_state_dict(self, state: Any) -> None:
        """Go on from a `state_dict`; {} forgets everything.

        Parameters
        ----------
        state : dict
        """
        if not state:
            self._forget()
            return
        asked = _asked_of(state["asked"])
        bound = _Labeled(np.asarray(state["labels"]), state["digest"])
        self.weights_ = np.asarray(state["weights"], dtype=np.float64)
        self.probabilities_ = np.asarray(state["probabilities"], dtype=np.float64)
        self.history_ = copy.deepcopy(state["history"])
        self._bound = bound
        self._asked = asked

    def _forget(self):
        for name in ("weights_", "probabilities_", "history_", "_bound", "_asked"):
            if hasattr(self, name):
                delattr(self, name)

    def _select(self, trained, X, n_instances, rng):
        arms = self._made_arms()
        X_labeled, y_labeled = trained.labeled_set(type(self).__name__)
        labels, correct = correct_answers(trained.classifier, X_labeled, y_labeled)
        weights, probabilities, reward = self._learned(
            X_labeled, labels, correct, len(arms)
        )
        q = self._draw_probabilities(weights)
        choose = _whole_batch if self.per == "batch" else _one_by_one
        chosen = choose(arms, q, trained, X, n_instances, rng)
        query = {"arms": chosen.drawn, "q": q.tolist(), "reward": reward}
        bound = _Labeled(labels, rows_digest(X_labeled))
        asked = _Asked(chosen.picks, chosen.p, chosen.advised, q)
        # All has gone well, so the bandit may learn.
        self.weights_ = weights
        self.probabilities_ = probabilities
        self.history_ = [*getattr(self, "history_", []), query]
        self._bound = bound
        self._asked = asked
        return Selection(chosen.picks, chosen.scores, chosen.unreadable)

    def _made_arms(self):
        arms = [clone(arm) for arm in self._arms()]
        for arm in arms:
            arm.verbose = max(arm.verbose, self.verbose)
            arm.executor = self.executor if arm.executor is None else arm.executor
        return arms

    def _learned(self, X, labels, correct, n_arms):
        """Return the weights of the arms, the probability of each labeled row, and the reward or
        None.
        """
        if not hasattr(self, "_bound"):
            return np.ones(n_arms), np.ones(len(labels)), None
        if len(self.weights_) != n_arms:
            raise InvalidParameterError(
                f"ALBLSampler has learned of {len(self.weights_)} samplers and now has {n_arms}; a "
                "clone starts anew."
            )
        n_new = self._bound.n_appended(X, labels)
        asked = self._asked.answered(n_new, labels[len(labels) - n_new :], self.per)
        probabilities = np.concatenate([self.probabilities_, asked.p])
        if not n_new:
            return self.weights_, probabilities, None
        reward = float(np.mean(correct / probabilities))
        bonus = np.sqrt(np.log(n_arms / self.delta) / (n_arms * self.horizon)) / asked.q
        draws = slice(0, 1) if self.per == "batch" else slice(None)
        gains = sum(
            reward / p * advised + bonus
            for p, advised in zip(asked.p[draws], asked.advised[draws])
        )
        exponents = np.log(self.weights_) + self._least() / 2 * gains
        weights = np.exp(exponents - exponents.max())
        return weights * n_arms / weights.sum(), probabilities, reward

    def _draw_probabilities(self, weights):
        least = self._least()
        return (1 - len(weights) * least) * weights / weights.sum() + least

    def _least(self):
        return 1 / (10 * len(self._arms())) if self.p_min is None else self.p_min

    def _arms(self):
        return (
            [CoresetSampler(), ConfidenceSampler()]
            if self.samplers is None
            else list(self.samplers)
        )

    def _check_estimator(self, estimator):
        for arm in self._arms():
            arm._check(estimator)

    def _check_trial(self, trial):
        for arm in self._arms():
            arm._check_trial(trial)

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "samplers": (
                _are_samplers,
                "None or a list of samplers (instances, no bandits), at least one",
            ),
            "per": (
                lambda v: isinstance(v, str) and v in ("batch", "sample"),
                '"batch" or "sample"',
            ),
            "delta": (lambda v: is_number(v) and 0 < v < 1, "a number between 0 and 1"),
            "p_min": (
                self._is_least,
                "None, or above 0 and at most 1 over the number of samplers",
            ),
            "horizon": (is_positive_integer, "an integer of at least 1"),
        }

    def _is_least(self, value):
        return (
            value is None
            or is_number(value)
            and _are_samplers(self.samplers)
            and 0 < value <= 1 / len(self._arms())
        )


def _are_samplers(value):
    is_list = isinstance(value, (list, tuple)) and bool(value)
    return (
        value is None
        or is_list
        and all(isinstance(arm, BaseSampler) and not _is_bandit(arm) for arm in value)
    )


def _is_bandit(sampler):
    inner = getattr(sampler, "sampler", None)  # of a PoolSubset
    return isinstance(sampler, ALBLSampler) or inner is not None and _is_bandit(inner)


class _Labeled(NamedTuple):
    """The labeled set of a query: its labels (n,) and a digest of its samples, None where that
    would load them.
    """

    labels: np.ndarray
    digest: object

    def n_appended(self, X, labels):
        """Return how many rows X has more.

        Raises
        ------
        InvalidDataError
            It is not this set with rows appended.
        """
        n = len(self.labels)
        if len(labels) < n:
            raise InvalidDataError(
                f"the labeled set had {n} samples at the last query and has {len(labels)} now; "
                "ALBLSampler learns from what is appended. Pass all labeled samples, or a "
                "clone of the sampler to start anew."
            )
        is_same = (
            self.digest is None or rows_digest(X, n, like=self.digest) == self.digest
        )
        if not np.array_equal(labels[:n], self.labels) or not is_same:
            raise InvalidDataError(
                f"the first {n} samples of the labeled set are not those of the last query; "
                "ALBLSampler needs new ones appended, in order. Pass a clone of the sampler "
                "to start anew."
            )
        return len(labels) - n


class _Asked(NamedTuple):
    """An open query.

    Attributes
    ----------
    picks : intp array (m,)
        Positions in the pool.
    p : float64 array (m,)
        The probability of each.
    advised : bool array (m, N)
        Which arms would have asked for it.
    q : float64 array (N,)
        Probabilities of the arms.
    order : intp array, optional
        The picks that are answered, in the order of their rows, as `update` was told.
    labels : array, optional
        Their labels, likewise.
    """

    picks: np.ndarray
    p: np.ndarray
    advised: np.ndarray
    q: np.ndarray
    order: object = None
    labels: object = None

    def answered(self, n, labels, per):
        """Return the part of the query that the n new rows answer.

        Raises
        ------
        InvalidDataError
            More rows than picks, or other labels than `update` was told.
        """
        if n and self.labels is not None and not np.array_equal(labels, self.labels):
            raise InvalidDataError(
                f"update told of {len(self.labels)} answers; the labeled set has {n} new samples, "
                "whose labels differ."
            )
        if per == "batch":  # one probability for all
            return self._replace(p=np.full(n, self.p[0]), advised=self.advised[:1])
        if n > len(self.picks):
            raise InvalidDataError(
                f"the labeled set has {n} new samples, and {len(self.picks)} were asked for at the "
                "last query. "
                'Append only the picks, in their order, or use per="batch".'
            )
        order = np.arange(n) if self.order is None else self.order[:n]
        return self._replace(p=self.p[order], advised=self.advised[order])


def _asked_of(state):
    """Return the open query of a `state_dict`."""

    def array(name, dtype=None):
        part = state[name]
        return None if part is None else np.asarray(part, dtype)

    return _Asked(
        picks=array("picks", np.intp),
        p=array("p", np.float64),
        advised=array("advised", bool),
        q=array("q", np.float64),
        order=array("order", np.intp),
        labels=array("labels"),
    )


class _Chosen(NamedTuple):
    """What the arms chose.

    Attributes
    ----------
    picks : intp array (n_instances,)
    scores : float64 array (n_instances,)
    drawn : list of int
        The arms that were drawn.
    p : float64 array (n_instances,)
        The probability of each pick.
    advised : bool array (n_instances, N)
        Which arms would have asked for it.
    unreadable : list of Unreadable
    """

    picks: np.ndarray
    scores: np.ndarray
    drawn: list
    p: np.ndarray
    advised: np.ndarray
    unreadable: list


def _whole_batch(arms, q, trained, X, n_instances, rng):
    arm = int(rng.choice(len(arms), p=q))
    picks, scores, unreadable = arms[arm]._selected(trained, X, n_instances, rng)
    advised = np.zeros((n_instances, len(arms)), dtype=bool)
    advised[:, arm] = True
    p = np.full(n_instances, q[arm])
    return _Chosen(picks, scores, [arm], p, advised, unreadable)


def _one_by_one(arms, q, trained, X, n_instances, rng):
    found = [arm._selected(trained, X, n_instances, rng) for arm in arms]
    picks = []
    taken = set()
    drawn = []
    p = []
    advised = []
    for _ in range(n_instances):
        best = np.array([_first_free(one.indices, taken) for one in found])
        arm = int(rng.choice(len(arms), p=q))
        would_ask = best == best[arm]
        drawn.append(arm)
        picks.append(best[arm])
        taken.add(best[arm])
        advised.append(would_ask)
        p.append(q[would_ask].sum())
    return _Chosen(
        picks=np.array(picks),
        scores=np.full(n_instances, np.nan),
        drawn=drawn,
        p=np.array(p),
        advised=np.array(advised),
        unreadable=sorted({x for one in found for x in one.unreadable}),
    )


def _first_free(ranked, taken):
    return next(pick for pick in ranked if pick not in taken)
