"""The base of samplers that look at representations of samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skdal.adapters import (
    as_rows,
    final_estimator,
    is_net,
    last_hidden,
    module_output,
)
from skdal.base._base import BaseSampler
from skdal.base._work import ModuleWork
from skdal.exceptions import InvalidDataError, UnsupportedEstimatorError
from skdal.utils import check_finite_scores, count_rows, positions_from


@dataclass(frozen=True, kw_only=True)
class EmbeddingWork(ModuleWork):
    """Representations of samples.

    Parameters
    ----------
    embedding : None, str or callable
        As in `EmbeddingSampler`.
    """

    embedding: None | str | Callable[..., torch.Tensor] = None

    def __call__(self, trained: Any, X: Any) -> Any:
        """Return the column "embedding" (n, d), a tensor, damaged or not."""
        return {"embedding": self.representations(trained.classifier, X)}

    def representations(self, classifier: Any, X: Any) -> Any:
        """Return the representations (n, d) of samples, a tensor."""
        if self.embedding is None:
            return last_hidden(classifier, X, verbose=self.verbose)
        if isinstance(self.embedding, str):
            return module_output(classifier, X, self.embedding, verbose=self.verbose)
        return as_rows(self.embedding(classifier, X), count_rows(X))


@dataclass(eq=False, repr=False, kw_only=True)
class EmbeddingSampler(BaseSampler):
    """Base of the samplers that look at representations of samples and choose a batch as a whole.

    Parameters
    ----------
    embedding : None, str or callable, default=None
        The representation. None: the input of the last Linear to run, the net's head. A string: the
        output of the module of that name, flattened. A callable `(classifier, X) -> (n, d)`.
    estimator, warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.
    """

    embedding: None | str | Callable[..., torch.Tensor] = None

    def _embeddings(self, classifier, X, *, labeled=False):
        """Return the representations (n, d) of the pool, or of labeled samples, a tensor on the
        net's device.
        """
        work = EmbeddingWork(embedding=self.embedding, verbose=self.verbose)
        with positions_from(0, of="the labeled set" if labeled else None):
            embeddings = work.representations(classifier, X)
        sums = np.asarray(embeddings.sum(1).cpu(), dtype=np.float64)
        damaged = np.flatnonzero(~np.isfinite(sums))
        if not labeled:
            check_finite_scores(sums)
        elif damaged.size:
            raise InvalidDataError(
                f"the representations of {damaged.size} of {len(sums)} labeled samples are NaN "
                f"or infinite, first at position {damaged[0]}. Look for NaN or infinite values "
                "in these samples or in the weights of the net."
            )
        return embeddings

    def _check_estimator(self, estimator):
        super()._check_estimator(estimator)
        if not callable(self.embedding) and not is_net(estimator):
            raise UnsupportedEstimatorError(
                f"{type(self).__name__} takes representations from a skorch net; got "
                f"{type(final_estimator(estimator)).__name__}. For other classifiers pass "
                "embedding=, a callable (classifier, X) -> (n, d), such as `lambda "
                "classifier, X: X` for the features themselves."
            )

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "embedding": (
                lambda v: v is None or callable(v) or isinstance(v, str) and v,
                "None, a module's name or a callable (classifier, X) -> (n, d)",
            ),
        }
