"""Coreset: greedy k-center on hidden representations."""

from dataclasses import dataclass

import numpy as np
import torch

from skdal.base import EmbeddingSampler, EmbeddingWork, Selection, gather
from skdal.exceptions import InvalidDataError
from skdal.samplers._candidates import IS_N_CANDIDATES, check_n_candidates
from skdal.utils import count_rows, may_use_tf32, refuse_non_finite, row_slices

_CENTERS = 256  # looked at at once
_PAIRS = 2**22  # distances held at once
_VALUES = 2**20  # values of differences held at once


@dataclass(frozen=True, kw_only=True)
class FarthestWork(EmbeddingWork):
    """Representations of samples, and their distances to the nearest centre.

    Parameters
    ----------
    centers : tensor (m, d)
        Representations of the labeled set.
    """

    centers: torch.Tensor

    def __call__(self, trained, X):
        """Return the columns "embedding" (n, d) and "score" (n,), the distance."""
        pool = self.representations(trained.classifier, X)
        with torch.autocast(pool.device.type, enabled=False):
            scaled, centers, scale = _scaled(pool, self.centers.to(pool.device))
            distance = nearest_distances(scaled, centers).double() * scale
        return {"embedding": pool, "score": distance}


@dataclass(eq=False, repr=False, kw_only=True)
class CoresetSampler(EmbeddingSampler):
    """Ask for the samples that leave no other far from all labeled ones (greedy k-center).

    Each pick is the sample of the pool whose representation is farthest from its nearest centre;
    the labeled samples are the first centres and each pick becomes one. Its score is that distance.
    Ties go to the lower position. With an empty labeled set the first pick is drawn at random
    (score NaN).

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net; with a callable `embedding` any classifier. See `BaseSampler`.
    embedding : None, str or callable, default=None
        The representation. None: the input of the last Linear to run, the net's head. A string: the
        output of the module of that name, flattened. A callable `(classifier, X) -> (n, d)` array
        or tensor.
    n_candidates : int, optional
        Only so many samples are chosen from, those farthest from the labeled set; for pools whose
        representations do not fit into memory. None: all of the pool.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    Notes
    -----
    Memory is O(n_pool) beyond the representations, time O((n_labeled + n_instances) n_pool d).
    Distances are Euclidean and taken from differences, so duplicates are exactly 0 apart; a matrix
    product only tells which of them are needed.

    References
    ----------
    Sener and Savarese, "Active learning for convolutional neural networks: a core-set approach",
    ICLR 2018, Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.samplers import CoresetSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(max_iter=500)
    >>> sampler = CoresetSampler(classifier, embedding=lambda classifier, X: X)
    >>> _, distances = sampler.fit(X[::10], y[::10]).query(X, n_instances=3, return_scores=True)
    >>> bool(distances[0] >= distances[1] >= distances[2])
    True
    """

    n_candidates: int | None = None

    def _select(self, trained, X, n_instances, rng):
        X_labeled, _ = trained.labeled_set(type(self).__name__)
        check_n_candidates(self.n_candidates, n_instances)
        # Without a centre all samples are as far.
        has_centers = count_rows(X_labeled) > 0
        n_candidates = self.n_candidates if has_centers else None
        work = self._make_work(trained, X_labeled, n_candidates)
        pool = gather(self, work, trained, X, n_instances, n_candidates=n_candidates)
        embeddings = pool.columns["embedding"]
        damaged = ~np.isfinite(np.asarray(embeddings.sum(1).cpu()))
        refuse_non_finite(pool.positions[damaged], count_rows(X))
        with torch.autocast(embeddings.device.type, enabled=False):
            centers = embeddings[:0]
            if has_centers:
                centers = self._centers(trained, X_labeled).to(embeddings.device)
            embeddings, centers, scale = _scaled(embeddings, centers)
            picks, distances = k_center(embeddings, centers, n_instances, rng)
        return Selection(pool.positions[picks], distances * scale, pool.unreadable)

    def _make_work(self, trained, X_labeled, n_candidates):
        if n_candidates is None:
            return EmbeddingWork(embedding=self.embedding)
        centers = self._centers(trained, X_labeled)
        return FarthestWork(embedding=self.embedding, centers=centers)

    def _centers(self, trained, X_labeled):
        return self._embeddings(trained.classifier, X_labeled, labeled=True)

    def _parameter_checks(self):
        return super()._parameter_checks() | {"n_candidates": IS_N_CANDIDATES}


def _scaled(pool, centers):
    """Return (pool, centers, scale) in one dtype, divided by a scale at which squares stay in the
    range of numbers.
    """
    if pool.shape[1] != centers.shape[1]:
        raise InvalidDataError(
            f"a representation has {pool.shape[1]} numbers in the pool and {centers.shape[1]} "
            "in the labeled set. Both have to be of one length."
        )
    scale = _scale(pool, centers)
    dtype = torch.promote_types(pool.dtype, centers.dtype)
    pool = pool.to(dtype)
    centers = centers.to(dtype)
    if scale == 1:
        return pool, centers, scale
    return pool / scale, centers / scale, scale


def _scale(*representations):
    """Return a power of two near the largest value where squares may leave the range of numbers,
    else 1.
    """
    bounds = [
        float(bound) for x in representations if x.numel() for bound in torch.aminmax(x)
    ]
    largest = max(map(abs, bounds), default=1.0)
    return (
        1.0
        if largest == 0 or 1e-12 < largest < 1e12
        else 2.0 ** round(np.log2(largest))
    )


def k_center(pool, centers, n_instances, rng):
    """Return (indices, distances) of greedy k-center picks.

    Parameters
    ----------
    pool : tensor (n, d)
    centers : tensor (m, d)
        On the same device.
    n_instances : int
    rng : numpy.random.Generator
        For the first pick where there is no centre.
    """
    squares = _squares(pool)
    picks = []
    scores = []
    distance = nearest_distances(pool, centers)
    while len(picks) < n_instances:
        if picks or len(centers):
            pick = int(distance.argmax())  # the first of equal ones
            scores.append(float(distance[pick]))
        else:
            pick = int(rng.integers(len(pool)))
            scores.append(np.nan)
        picks.append(pick)
        _lower(distance, pool, squares, pool[pick : pick + 1])
        distance[pick] = -1.0  # below that of any other
    return np.array(picks), np.array(scores)


def nearest_distances(pool, centers):
    """Return the distance (n,) of each row of the pool to the nearest centre, infinity without
    centres.
    """
    squares = _squares(pool)
    distance = pool.new_full((len(pool),), np.inf)
    for some in row_slices(len(centers), _CENTERS):
        _lower(distance, pool, squares, centers[some])
    return distance


def _lower(distance, pool, squares, centers):
    """Lower each row's distance (n,) to that of the nearest of some centres.

    A matrix product finds the pairs that may be nearest, give or take its rounding; their distances
    are then taken from differences, so that duplicates are exactly 0 apart.
    """
    slack = _slack(pool)
    for rows in row_slices(len(pool), _PAIRS // len(centers)):
        total = squares[rows, None] + _squares(centers)
        squared = torch.addmm(total, pool[rows], centers.T, alpha=-2)
        limit = (
            (squared + slack * total)
            .amin(1)
            .minimum(distance[rows].clamp_min(0).square())
        )
        open_rows = distance[rows, None] > 0  # nothing is nearer than a duplicate
        near = ((squared - slack * total <= limit[:, None]) & open_rows).nonzero()
        for some in row_slices(len(near), max(1, _VALUES // pool.shape[1])):
            row, center = near[some].T
            found = torch.linalg.vector_norm(pool[rows][row] - centers[center], dim=1)
            distance[rows].scatter_reduce_(0, row, found, "amin")


def _squares(x):
    return torch.linalg.vector_norm(x, dim=1).square()


def _slack(x):
    """Return what a product of rows may be wrong by, relative to their squared lengths."""
    if x.is_cuda and x.dtype == torch.float32 and may_use_tf32():
        return 1e-2
    return 64 * torch.finfo(x.dtype).eps
