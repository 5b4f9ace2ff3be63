"""What a query by dynamicAL was decided by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from skdal.adapters import open_net
from skdal.base import highest
from skdal.dynamics._gram import gradient_gram
from skdal.dynamics._page import check_figure_file, draw_page
from skdal.exceptions import (
    EmptyPoolError,
    InvalidDataError,
    InvalidParameterError,
    NotFittedError,
    UnsupportedEstimatorError,
)
from skdal.gradients import gradient_statistics
from skdal.samplers import DynamicALSampler, EntropySampler, MarginSampler
from skdal.samplers._dynamical import in_chunks
from skdal.utils import (
    as_array,
    check_finite_scores,
    count_rows,
    exclusive,
    refuse_non_finite,
    take_rows,
)

_SAME = 0.9  # overlap from which two criteria are as good as one
_FEW = (
    0.25  # effective rank over the number of picks below which a batch repeats itself
)
# share of its squared length that a pick's gradient has in common with another one's, on average
_ADD_UP = 0.05
_CLOSE = 0.95  # cosine from which a pick is as good as another one


def diagnose(
    sampler: Any, X_pool: Any, indices: Any, *, figure: str | Path | None = None
) -> dict:
    r"""Tell what a query by dynamicAL was decided by, after it and before the next `fit`.

    Delta = ||g||^2 + gamma g . g_S has two terms; the labeled set's summed gradient g_S is large
    after a short training and vanishes in a long one, so either of them may decide. And Delta
    scores each sample by itself, so a batch may repeat itself. g_S is the sampler's own, with the
    gradient of the L2 penalty (`penalty`).

    Parameters
    ----------
    sampler : DynamicALSampler
        Fitted.
    X_pool : data (n_pool, ...)
        The pool that was queried.
    indices : array-like of int (b,)
        What was picked from it.
    figure : str or Path, optional
        A file that a figure of one page is written to, in the format of its ending.

    Returns
    -------
    dict
        - ``n_pool``, ``n_instances``: int.
        - ``gamma``: float.
        - ``sq_norm``, ``dot``: arrays (n_pool,), the terms without gamma.
        - ``norm_share``, ``norm_share_pool``: of what the terms add in size, sum of ||g||^2 against
          the sum of \|gamma g . g_S\|, the share of the norm term, over the picks and over the
          pool.
        - ``correlation``: of the two terms over the pool, the dot term with the sign of gamma.
        - ``rank_correlation``: Spearman's, of Delta and ||g||^2.
        - ``overlap``: dict of "gradient length", "dot", "margin" and "entropy" to the share of the
          picks that are among the b best by that criterion. NaN for margin and entropy of a net
          without probabilities.
        - ``approximation_ratio``: of the picks with their predicted labels (Eq. 14).
        - ``effective_rank``: of the picks' gradients, the exponential of the entropy of the
          normalized eigenvalues of their Gram matrix; from 1 to b.
        - ``eigenvalues``: array (b,), of that matrix, descending.
        - ``nearest_cosine``: array (b,), each pick's largest cosine with the gradient of another
          pick (NaN of one).
        - ``classes_pool``, ``classes_picked``: int arrays (K,), how many are predicted to be of
          each class.
        - ``findings``: list of str, what of this to mind. For a batch that repeats itself an
          `interaction` and an `update_size` are named that spread a batch of this size.

    Raises
    ------
    InvalidParameterError
        `sampler` is no DynamicALSampler.
    NotFittedError
        It is not fitted.
    InvalidDataError
        `indices` are not different positions in the pool.

    Notes
    -----
    Inner products of the b picks' gradients take most of the time on large nets: with P parameters
    that are not of Linear layers, about b^2 P / 2^28 gradients are computed. The bar of a sampler
    with `verbose` shows them.

    References
    ----------
    Eq. 13-15. Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    with exclusive():
        return _diagnosed(sampler, X_pool, indices, figure)


def _diagnosed(sampler, X_pool, indices, figure):
    picks = _checked(sampler, X_pool, indices)
    if figure is not None:
        check_figure_file(figure)
    trained, X_pool, _ = sampler._prepared(sampler._trained(), X_pool)
    pool = _statistics(sampler, trained, X_pool)
    gram = _gram_of_picks(sampler, trained, X_pool, picks, pool.label[picks])
    n_classes = open_net(trained.classifier).n_outputs(X_pool)
    dot_term = -pool.dot if sampler.gamma < 0 else pool.dot
    by_term = {"gradient length": pool.sq_norm, "dot": dot_term}
    overlap, unknown = _overlaps(trained, X_pool, by_term, picks)
    delta = _delta(pool, sampler.gamma)
    report = {
        "n_pool": len(pool.label),
        "n_instances": len(picks),
        "gamma": float(sampler.gamma),
        **_terms(pool, picks, sampler.gamma),
        "correlation": _correlation(pool.sq_norm, dot_term),
        "rank_correlation": _rank_correlation(delta, pool.sq_norm),
        "overlap": overlap,
        "approximation_ratio": _approximation_ratio(gram, pool.dot[picks]),
        **_spectrum(gram),
        **_classes(pool.label, picks, n_classes),
    }
    remedy = spreading(sampler, gram, delta[picks])
    report["findings"] = [*_findings(report, remedy), *unknown]
    if figure is not None:
        draw_page(report, picks).savefig(Path(figure), dpi=150)
    return report


def _statistics(sampler, trained, X_pool):
    """Return the GradientStatistics of the pool along the sampler's own direction."""
    pool = gradient_statistics(
        trained.classifier,
        X_pool,
        direction=sampler._direction(trained),
        layers=sampler.layers,
        backend=sampler.backend,
        batch_size=sampler.batch_size,
    )
    check_finite_scores(pool.sq_norm + pool.dot)
    return pool


def _terms(pool, picks, gamma):
    """Return the two terms of the scores, and how much of their size is that of the norm."""
    picked = pool.sq_norm[picks], pool.dot[picks]
    return {
        "sq_norm": pool.sq_norm,
        "dot": pool.dot,
        "norm_share": _norm_share(*picked, gamma),
        "norm_share_pool": _norm_share(pool.sq_norm, pool.dot, gamma),
    }


def _classes(labels, picks, n_classes):
    """Return how many samples are predicted to be of each class."""
    return {
        "classes_pool": np.bincount(labels, minlength=n_classes),
        "classes_picked": np.bincount(labels[picks], minlength=n_classes),
    }


def _gram_of_picks(sampler, trained, X_pool, picks, labels):
    """Return the inner products (b, b) of the picks' gradients, in float64."""
    gram = gradient_gram(
        trained.classifier,
        _losses,
        take_rows(X_pool, picks),
        labels,
        traced=True,
        verbose=sampler.verbose,
        layers=sampler.layers,
        batch_size=sampler.batch_size,
    )
    refuse_non_finite(picks[~np.isfinite(gram.diagonal())], count_rows(X_pool))
    return gram.astype(np.float64)


def _spectrum(gram):
    """Return what the Gram matrix of the picks tells of how alike they are."""
    eigenvalues = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0)
    return {
        "effective_rank": effective_rank(eigenvalues),
        "eigenvalues": eigenvalues,
        "nearest_cosine": nearest_cosine(gram),
    }


def _checked(sampler, X_pool, indices):
    if not isinstance(sampler, DynamicALSampler):
        raise InvalidParameterError(
            f"diagnose is for a fitted DynamicALSampler; got {type(sampler).__name__}."
        )
    if not hasattr(sampler, "estimator_"):
        raise NotFittedError(
            "this DynamicALSampler is not fitted yet; call fit(X, y) and query first."
        )
    picks = as_array(indices, "indices")
    n_pool = count_rows(X_pool)
    if not n_pool:
        raise EmptyPoolError("X_pool is empty: pass the pool that was queried.")
    if picks.ndim != 1 or not len(picks) or picks.dtype.kind not in "iu":
        raise InvalidDataError(
            f"indices must be positions in the pool, (b,); got {picks.shape} of type {picks.dtype}."
        )
    if picks.min() < 0 or picks.max() >= n_pool or len(np.unique(picks)) < len(picks):
        raise InvalidDataError(
            f"indices must be different positions from 0 to {n_pool - 1}, as query returns "
            f"them; got {picks.min()} to {picks.max()}, {len(picks) - len(np.unique(picks))} "
            "of them twice."
        )
    return picks


def _losses(view, outputs, labels):
    return view.losses(outputs, labels)[:, None]


def _delta(pool, gamma):
    return pool.dot if gamma == np.inf else pool.sq_norm + gamma * pool.dot


def _norm_share(sq_norm, dot, gamma):
    if gamma == np.inf:
        return 0.0
    norms = np.sum(sq_norm)
    dots = np.sum(np.abs(gamma * dot))
    return float(norms / (norms + dots)) if norms + dots > 0 else np.nan


def _correlation(one, other):
    return (
        float(np.corrcoef(one, other)[0, 1])
        if np.ptp(one) > 0 and np.ptp(other) > 0
        else np.nan
    )


def _rank_correlation(one, other):
    return (
        float(spearmanr(one, other).statistic)
        if np.ptp(one) > 0 and np.ptp(other) > 0
        else np.nan
    )


def _overlaps(trained, X_pool, scores, picks):
    """Return the overlap with criteria by name, and what to say of those that are not known."""
    unknown = []
    for name, criterion in (("margin", MarginSampler()), ("entropy", EntropySampler())):
        try:
            scores[name] = criterion._scores(trained, X_pool)
        except (
            UnsupportedEstimatorError
        ):  # a loss of the caller's own, say, of which no probabilities are known
            scores[name] = None
            unknown = [
                "Margin and entropy are not compared: the net gives no probabilities."
            ]

    def share(score):
        return (
            np.nan
            if score is None
            else float(np.isin(picks, highest(score, len(picks))).mean())
        )

    return {name: share(score) for name, score in scores.items()}, unknown


def _approximation_ratio(gram, dot):
    apart = np.trace(gram) + 2 * dot.sum()
    together = gram.sum() + 2 * dot.sum()
    return float(apart / together) if together != 0 else np.nan


def effective_rank(eigenvalues):
    if not eigenvalues.any():
        return np.nan
    shares = eigenvalues / eigenvalues.sum()
    shares = shares[shares > 0]  # after the division, in which a share may vanish
    return float(np.exp(-(shares * np.log(shares)).sum()))


def nearest_cosine(gram):
    lengths = np.sqrt(np.diag(gram))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = gram / np.outer(lengths, lengths)
    cosines = cosines.clip(-1, 1)  # of copies it comes out above 1 by rounding
    np.fill_diagonal(cosines, np.nan)
    known = np.isfinite(cosines)  # not of gradients that are zero
    return np.where(known.any(1), np.where(known, cosines, -np.inf).max(1), np.nan)


def which_term(found):
    """Return what to say where the picks are those of one term, or of either."""
    length = found["overlap"]["gradient length"]
    dot = found["overlap"]["dot"]
    gamma = found["gamma"]
    if length >= _SAME and dot >= _SAME and gamma not in (0, np.inf):
        return (
            f"{min(length, dot):.0%} of the picks are those of either term alone: the two rank "
            "alike."
        )
    mostly_length = found["norm_share"] > 0.5
    if length >= _SAME and gamma != np.inf:
        if gamma == 0:
            why = "gamma is 0"
        elif mostly_length:
            why = "the labeled set's gradient has no say, as after a long training"
        else:
            why = "the inner product is larger, but hardly changes the order"
        return f"{length:.0%} of the picks are those of gradient length alone: {why}."
    if dot >= _SAME:
        if gamma == np.inf:
            why = "gamma is infinite"
        elif mostly_length:
            why = "the gradient's length is larger, but hardly changes the order"
        else:
            why = "the gradient's length has no say, as after a short training"
        return f"{dot:.0%} of the picks are those of the inner product alone: {why}."
    return None


def spreading(sampler, gram, delta):
    """Return what would spread a batch of this size, a sentence.

    Gradients that add up are spread by an interaction: one that takes half of its score from a pick
    for what it shares with all others, or twice the one that there was. It needs chunks. From
    gradients that cancel it takes nothing.
    """
    b = len(gram)
    own = -sampler.interaction
    shared = (gram.sum() - np.trace(gram)) / b
    if not shared > _ADD_UP * np.trace(gram):
        return (
            "They cancel rather than add up, so an interaction would not spread it; "
            "BADGESampler does."
        )
    size = np.abs(delta).mean() / shared / 2
    if own > 0:
        size = max(size, 2 * own if sampler.update_size < b else own)
    chunks = f"interaction={-size:.2g}, update_size={in_chunks(b)}"
    return (
        f"A negative interaction spreads it, with an update_size below {b}: {chunks}."
    )


def _findings(found, remedy):
    said = []
    b = found["n_instances"]
    is_choice = (
        b < found["n_pool"] / 2
    )  # of most of the pool, every criterion takes the same
    if is_choice and (which := which_term(found)):
        said.append(which)
    for name in ("margin", "entropy"):
        if is_choice and found["overlap"][name] >= _SAME:
            said.append(
                f"{found['overlap'][name]:.0%} of the picks are those of {name}, which costs no "
                "gradients."
            )
    if b > 1 and found["effective_rank"] < _FEW * b:
        said.append(
            f"The batch repeats itself: {b} gradients span about {found['effective_rank']:.1f} "
            f"directions. {remedy}"
        )
    n_close = int(np.sum(found["nearest_cosine"] > _CLOSE))
    if n_close > b / 2:
        said.append(
            f"{n_close} of {b} picks have a gradient within a cosine of {_CLOSE} of another pick's."
        )
    share = found["classes_picked"] / b
    share_of_pool = found["classes_pool"] / found["n_pool"]
    most = share.argmax()
    if b > 1 and share[most] > max(0.5, 2 * share_of_pool[most]):
        said.append(
            f"{found['classes_picked'][most]} of {b} picks are predicted to be of class {most}."
        )
    return said
