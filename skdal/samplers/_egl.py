"""Expected gradient length."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from skdal.adapters import (
    NoLinearHeadError,
    collect_heads,
    final_estimator,
    open_net,
    predict_proba,
)
from skdal.base import highest
from skdal.samplers._gradient import GradientSampler, GradientWork
from skdal.utils import count_rows, positions_from, row_slices, take_rows

_VALUES = 2**22  # of gradients held at once
_PROBABILITIES = 2**20  # held at once


@dataclass(frozen=True, kw_only=True)
class EGLWork(GradientWork):
    """Expected gradient lengths."""

    def __call__(self, trained, X):
        """Return the column "score" (n,)."""
        scores = self._closed_form(trained, X)
        return {"score": self._by_engine(trained, X) if scores is None else scores}

    def unit(self, trained, X, batch_size=None):
        """Return a mini-batch length of both gradients and probabilities; see `Work.unit`."""
        of_net = batch_size or max(1, final_estimator(trained.classifier).batch_size)
        return math.lcm(super().unit(trained, X, batch_size), of_net)

    def _closed_form(self, trained, X):
        """Return the scores over the head alone from forward passes, None where they would not
        hold.
        """
        if self.layers != "last" or self.backend != "auto":
            return None
        scores = closed_form(trained.classifier, X, self.batch_size, self.verbose)
        if scores is None:
            return None
        # The head's weight may be used elsewhere, too, which the best samples show.
        best = highest(scores, 2)
        checked = self._by_engine(trained, take_rows(X, best))
        return scores if np.allclose(checked, scores[best], rtol=1e-3) else None

    def _by_engine(self, trained, X):
        """Return the scores (n,) by a pass over the gradients for each class."""
        unit = self.unit(trained, X)
        n_classes = open_net(trained.classifier).n_outputs(X)
        n_rows = unit * max(1, _PROBABILITIES // (n_classes * unit))
        scores = []
        for rows in row_slices(count_rows(X), n_rows):
            with positions_from(rows.start):
                scores.append(self._of_classes(trained, take_rows(X, rows)))
        return np.concatenate(scores)

    def _of_classes(self, trained, X):
        proba = predict_proba(trained.classifier, X)
        scores = np.zeros(len(proba))
        for k in range(proba.shape[1]):
            labels = np.full(count_rows(X), k)
            lengths = np.sqrt(self.statistics(trained, X, labels).sq_norm)
            scores += proba[:, k] * lengths
        return scores


@dataclass(eq=False, repr=False, kw_only=True)
class EGLSampler(GradientSampler):
    r"""Ask first where the gradient is longest in expectation over all classes (expected gradient
    length).

    .. math:: \sum_k p_k \, \| g_k \|

    with :math:`p_k` the net's class probabilities and :math:`g_k` the gradient of the sample's loss
    if its label were k, in eval mode. The lengths are not squared.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net, bare or last in a Pipeline; see `BaseSampler`.
    layers : "all", "last", str or list of str, default="all"
        The parameters that count. "last" is cheap: where the net ends in a Linear, a forward pass
        suffices, since :math:`\|g_k\| = \|b_k\| (\|h\|^2 + 1)^{1/2}` with h the head's input and
        b_k the gradient of its output. Everything else costs K passes over the pool, one per class.
    backend, batch_size
        As in `skdal.gradients.gradient_statistics`.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.

    References
    ----------
    Settles, Craven and Ray, "Multiple-instance active learning", NeurIPS 2007.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn.datasets import load_digits
    >>> from skdal.samplers import EGLSampler
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.astype("float32") / 16
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=64, module__out_features=10,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> EGLSampler(net, layers="last").fit(X[:100], y[:100]).score_samples(X[100:]).shape
    (1697,)
    """

    def _work(self, trained, rng):
        return EGLWork(**self._engine_params())


def closed_form(classifier, X, batch_size, verbose=0):
    """Return the scores over the head alone from forward passes; None where the head is not all
    that there is to it.
    """
    view = open_net(classifier)

    def score_of(head):
        return (_of_head(view, head),)

    try:
        (scores,) = collect_heads(
            view, X, score_of, batch_size=batch_size, verbose=verbose
        )
        return scores.cpu().numpy()
    except (NoLinearHeadError, _NotPlainError):
        return None


class _NotPlainError(Exception):
    """Outputs or loss depend on the head in another way."""


def _of_head(view, head):
    weight, bias = (
        p is not None and p.requires_grad
        for p in (head.module.weight, head.module.bias)
    )
    if not head.is_plain or not (weight or bias) or view.overrides_loss:
        raise _NotPlainError
    squared = float(weight) * head.input.double().square().sum(1) + float(bias)
    proba = view.probabilities(head.outputs.double())
    return (proba * _lengths(view, head.outputs)).sum(1) * squared.sqrt()


def _lengths(view, outputs):
    """Return the length of the loss's gradient by the outputs for each label (n, K)."""
    (n, K) = outputs.shape
    found = []
    weights = view.cross_entropy_weights(K)
    if weights is not None:  # w_k (p - e_k)
        p = outputs.double().softmax(1)
        squares = p.square()
        return (
            weights.to(p)
            * (squares.sum(1, keepdim=True) - squares + (1 - p).square())
            .clamp_min(0)
            .sqrt()
        )
    for rows in row_slices(n, max(1, _VALUES // K**2)):
        repeated = outputs[rows].repeat_interleave(K, dim=0)
        labels = torch.arange(K, device=outputs.device).repeat(len(outputs[rows]))
        with torch.enable_grad():
            ((_, gradient),) = view.output_gradients(repeated, labels)
        found.append(torch.linalg.vector_norm(gradient, dim=1).reshape(-1, K))
    return torch.cat(found)
