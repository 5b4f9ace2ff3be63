"""BADGE: k-means++ seeding on the gradients of the last layer."""

from dataclasses import dataclass

import numpy as np
import torch

from skdal.adapters import check_net, last_layer
from skdal.base import BaseSampler, ModuleWork, Selection, gather
from skdal.samplers._candidates import IS_N_CANDIDATES, check_n_candidates
from skdal.utils import count_rows, refuse_non_finite


@dataclass(frozen=True, kw_only=True)
class LastLayerWork(ModuleWork):
    """Hidden representations and class probabilities.

    Parameters
    ----------
    is_ranked : bool
        Whether the lengths of the embeddings are asked for.
    """

    is_ranked: bool

    def __call__(self, trained, X):
        """Return the columns "hidden" (n, d) and "proba" (n, K), where asked for with "score" (n,),
        the length.
        """
        hidden, proba = last_layer(trained.classifier, X, verbose=self.verbose)
        if not self.is_ranked:
            return {"hidden": hidden, "proba": proba}
        squares = _squares(logit_gradients(proba)) * _squares(hidden.double())
        return {"hidden": hidden, "proba": proba, "score": squares.sqrt()}


@dataclass(eq=False, repr=False, kw_only=True)
class BADGESampler(BaseSampler):
    r"""Ask for samples that are uncertain and diverse: k-means++ on last-layer gradients (BADGE).

    A sample's embedding is the gradient of its loss under its own predicted label with respect to
    the weight of the head, :math:`(p - e_{\hat y}) \otimes h`. The first pick is the longest
    embedding; each further one is drawn with probability in proportion to the squared distance to
    the nearest pick. Where all distances are zero it is drawn evenly from what is left. The score
    of a pick is that distance, not squared, of the first one its length.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net that ends in a Linear; see `BaseSampler`. The Linear may run at every token, as
        in decoders, where the outputs are those of one token or a weighted sum over tokens.
    n_candidates : int, optional
        Only so many samples are chosen from, those of longest embedding; for pools whose embeddings
        do not fit into memory. None: all of the pool.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    Notes
    -----
    Embeddings stay factored, since inner products of outer products are products of inner products:
    memory is O(n_pool (K + d)), in float64, time O(n_instances n_pool (K + d)). A distance below
    the rounding of the lengths counts as 0.

    References
    ----------
    Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn.datasets import load_digits
    >>> from skdal.samplers import BADGESampler
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.astype("float32") / 16
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=64, module__out_features=10,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> sampler = BADGESampler(net, random_state=0).fit(X[:100], y[:100])
    >>> len(set(sampler.query(X[100:], n_instances=5)))
    5
    """

    n_candidates: int | None = None

    def _select(self, trained, X, n_instances, rng):
        check_n_candidates(self.n_candidates, n_instances)
        work = LastLayerWork(is_ranked=self.n_candidates is not None)
        pool = gather(
            self, work, trained, X, n_instances, n_candidates=self.n_candidates
        )
        hidden = pool.columns["hidden"]
        proba = pool.columns["proba"]
        damaged = ~np.isfinite(np.asarray((hidden.sum(1) + proba.sum(1)).cpu()))
        refuse_non_finite(pool.positions[damaged], count_rows(X))
        with torch.autocast(hidden.device.type, enabled=False):
            gradients = logit_gradients(proba)
            picks, scores = kmeans_plusplus(gradients, hidden, n_instances, rng)
        return Selection(pool.positions[picks], scores, pool.unreadable)

    def _check_estimator(self, estimator):
        check_net(estimator)

    def _parameter_checks(self):
        return super()._parameter_checks() | {"n_candidates": IS_N_CANDIDATES}


def logit_gradients(proba):
    """Return p - e of the most probable class, without the cancellation of 1 - p (n, K)."""
    u = proba.double()
    top = u.argmax(1, keepdim=True)
    u = u.scatter(1, top, 0.0)
    return u.scatter(1, top, -u.sum(1, keepdim=True))


def kmeans_plusplus(u, h, n_instances, rng):
    """Return (indices, distances) of k-means++ picks among the outer products of the rows of u and
    h, in float64.

    Parameters
    ----------
    u, h : tensor (n, K), tensor (n, d)
    n_instances : int
    rng : numpy.random.Generator
    """
    u = u.double()
    h = h.double()
    lengths = _squares(u) * _squares(h)
    squared = lengths.clone()
    left = torch.ones(len(u), dtype=torch.bool, device=u.device)
    pick = int(lengths.argmax())
    picks = []
    scores = []
    while True:
        picks.append(pick)
        scores.append(float(squared[pick]) ** 0.5)
        left[pick] = False
        if len(picks) == n_instances:
            return np.array(picks), np.array(scores)
        found = _squared_distances(u, h, lengths, pick)
        squared = found if len(picks) == 1 else torch.minimum(squared, found)
        pick = _draw(torch.where(left, squared, 0.0), left, rng)


def _squares(x):
    return torch.linalg.vecdot(x, x)


def _squared_distances(u, h, lengths, pick):
    """Return |g_i - g|^2 = |g_i|^2 + |g|^2 - 2 (u_i . u) (h_i . h) for one pick g, (n,)."""
    total = lengths + lengths[pick]
    found = total - 2 * (u @ u[pick]) * (h @ h[pick])
    return torch.where(found > 32 * torch.finfo(u.dtype).eps * total, found, 0.0)


def _draw(weights, left, rng):
    cumulative = weights.cpu().numpy().cumsum()  # in one order on every device
    if cumulative[-1] > 0:
        at = min(
            rng.random() * cumulative[-1], np.nextafter(cumulative[-1], 0)
        )  # so that its weight is positive
        return int(np.searchsorted(cumulative, at, side="right"))
    free = np.flatnonzero(left.cpu().numpy())
    return int(free[rng.integers(len(free))])
