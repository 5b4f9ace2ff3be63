"""Our samplers as query strategies of scikit-activeml."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skdal.adapters import resolve
from skdal.base import BaseSampler, ScoreSampler
from skdal.exceptions import InvalidParameterError
from skdal.interop._activeml import (
    SingleAnnotatorPoolQueryStrategy,
    SkactivemlClassifier,
    check_equal_missing_label,
    is_labeled,
    opened,
    require_activeml,
)
from skdal.utils import is_boolean


class SkactivemlStrategy(SingleAnnotatorPoolQueryStrategy):
    """A sampler as a query strategy of scikit-activeml.

    Parameters
    ----------
    sampler : sampler
        An instance, such as `DynamicALSampler()`; a clone of it is used, and it needs no estimator.
    missing_label : scalar, str or None, default=numpy.nan
        What stands in y for a label that is missing.
    random_state : None, int or RandomState, default=None
        Chance, by scikit-activeml's rules; None leaves it to the sampler's own `random_state`.

    Attributes
    ----------
    sampler_ : sampler
        The clone, after the first query; it keeps what it learns from round to round.

    Examples
    --------
    >>> import pytest; _ = pytest.importorskip("skactiveml")
    >>> import numpy as np
    >>> from skactiveml.classifier import SklearnClassifier
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdal.interop import SkactivemlStrategy
    >>> from skdal.samplers import MarginSampler
    >>> X, labels = load_iris(return_X_y=True)
    >>> y = np.where(np.arange(150) % 10 == 0, labels, np.nan)
    >>> clf = SklearnClassifier(LogisticRegression(max_iter=500), classes=[0, 1, 2]).fit(X, y)
    >>> SkactivemlStrategy(MarginSampler()).query(X, y, clf, batch_size=3).shape
    (3,)
    """

    def __init__(
        self, sampler: Any, missing_label: Any = np.nan, random_state: Any = None
    ) -> None:
        require_activeml("SkactivemlStrategy")
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.sampler = sampler

    def query(
        self,
        X: Any,
        y: Any,
        clf: Any,
        fit_clf: bool = False,
        candidates: Any = None,
        batch_size: int = 1,
        return_utilities: bool = False,
    ) -> Any:
        """Choose the candidates whose labels to ask for.

        Parameters
        ----------
        X : array-like (n_samples, ...)
            Labeled and unlabeled samples.
        y : array-like (n_samples,)
            Their labels, `missing_label` where there is none.
        clf : SkactivemlClassifier or classifier
            Trained on the labeled samples: SkorchClassifier, SklearnClassifier, or what our
            samplers take.
        fit_clf : bool, default=False
            Only False: training a clone anew would throw the net's warm weights away.
        candidates : None, int array (n_candidates,) or array (n_candidates, ...), default=None
            None: the unlabeled samples. Integers: positions in X. Otherwise the samples themselves.
        batch_size : int, default=1
            How many to label; with fewer candidates all of them, with a warning.
        return_utilities : bool, default=False
            Also return utilities.

        Returns
        -------
        query_indices : int array (batch_size,)
            Positions in X, or in `candidates` where these are samples; best first.
        utilities : float array (batch_size, n_samples) or (batch_size, n_candidates)
            With `return_utilities`: row i is what pick i was chosen by, NaN for what is no
            candidate and for earlier picks. Of a ScoreSampler its scores; otherwise the score of
            the pick, 1 where there is none, and 0 for the others.
        """
        self._check_query(clf, fit_clf)
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, reset=True
        )
        pool, mapping = self._transform_candidates(candidates, X, y)
        trained, cast = self._trained(X, y, clf)
        sampler = self._sampler()
        picks, scores = sampler._query(trained, cast(pool), batch_size)
        if return_utilities:
            utilities = _utilities(sampler, trained, cast(pool), picks, scores)
        self._asked = [] if mapping is None else mapping[picks].tolist()
        if mapping is None:
            return (picks, utilities) if return_utilities else picks
        return (
            (mapping[picks], _spread(utilities, mapping, len(X)))
            if return_utilities
            else mapping[picks]
        )

    def _check_query(self, clf, fit_clf):
        if not isinstance(self.sampler, BaseSampler):
            raise InvalidParameterError(
                "sampler must be a sampler (an instance), such as skdal.DynamicALSampler(); got "
                f"{self.sampler!r}."
            )
        if not is_boolean(fit_clf) or fit_clf:
            raise InvalidParameterError(
                f"fit_clf must be False; got {fit_clf!r}. Training a clone for the query would "
                "throw away the weights that the net has been warmed up to, and its scores "
                "would be those of another net. Call clf.fit(X, y) before the query."
            )
        if isinstance(clf, SkactivemlClassifier):
            check_equal_missing_label(clf.missing_label, self.missing_label)

    def _trained(self, X, y, clf):
        """Return the classifier with its labeled set, and a function that casts samples for it."""
        classifier, dtype, encode = opened(clf)
        rows = self._in_order_of_labeling(is_labeled(y, self.missing_label_))

        def cast(samples):
            return samples if dtype is None else np.asarray(samples, dtype=dtype)

        return resolve(classifier, cast(X[rows]), encode(y[rows])), cast

    def _in_order_of_labeling(self, labeled):
        """Return positions of labeled samples, new ones last and in the order of the picks: ALBL
        learns from that.
        """
        latest = [
            *getattr(self, "_order", []),
            *getattr(self, "_asked", []),
            *np.flatnonzero(labeled).tolist(),
        ]
        self._order = list(
            dict.fromkeys(i for i in latest if i < len(labeled) and labeled[i])
        )
        return np.array(self._order, dtype=np.intp)

    def _sampler(self):
        if getattr(self, "_cloned_from", None) is not self.sampler:
            self.sampler_ = clone(self.sampler)
            self._cloned_from = self.sampler
        if self.random_state is not None:
            self.sampler_.set_params(
                random_state=int(self.random_state_.randint(2**31))
            )
        return self.sampler_


def _utilities(sampler, trained, pool, picks, scores):
    """Return utilities (n_picks, n_pool); NaN for earlier picks."""
    ranked = isinstance(sampler, ScoreSampler)
    utilities = np.tile(
        sampler._scores(trained, pool) if ranked else np.zeros(len(pool)),
        (len(picks), 1),
    )
    for i, pick in enumerate(picks):
        utilities[i, pick] = 1.0 if np.isnan(scores[i]) else scores[i]
        utilities[i + 1 :, pick] = np.nan
    return utilities


def _spread(utilities, mapping, n_samples):
    """Return utilities of the candidates as those of all samples, NaN for the others."""
    spread = np.full((len(utilities), n_samples), np.nan)
    spread[:, mapping] = utilities
    return spread
