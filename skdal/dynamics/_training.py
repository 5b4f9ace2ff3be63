"""The training dynamics of a trained net, and how a query changes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdal.adapters import aligned, check_pool, warn_of_random_transforms
from skdal.exceptions import EmptyPoolError, InvalidDataError
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.utils import count_rows


def training_dynamics(
    net: Any,
    X: Any,
    y: Any = None,
    *,
    layers: str | list = "all",
    batch_size: int | None = None,
) -> Any:
    r"""Compute the training dynamics G(S), how fast the loss of the labeled set falls under
    gradient descent.

    G(S) is the squared length of the summed gradient of S; no gradient of a sample is kept.

    Parameters
    ----------
    net : NeuralNetClassifier, Pipeline that ends in one, or FrozenEstimator of one
        Trained; nothing of it changes.
    X : data (n, ...)
        The labeled set, in any form that `skdal.gradients.gradient_statistics` takes.
    y : array-like of int (n,), optional
        Labels in [0, K); None takes those of the Dataset X.
    layers, batch_size
        As in `skdal.gradients.gradient_statistics`.

    Returns
    -------
    float

    Raises
    ------
    InvalidLabelsError, InvalidDataError, NotFittedError
        As of `skdal.gradients.labeled_gradient`.

    References
    ----------
    Wang et al., "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, Eq. 8.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from skdal.dynamics import training_dynamics
    >>> X, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=4, module__out_features=2,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> net = net.fit(X, y)
    >>> training_dynamics(net, X, y) > 0
    True
    """
    gradient = labeled_gradient(net, X, y, layers=layers, batch_size=batch_size)
    return _finite(_inner(gradient, gradient))


def training_dynamics_change(
    net: Any,
    X: Any,
    y: Any,
    X_query: Any,
    y_query: Any = None,
    *,
    layers: str | list = "all",
    batch_size: int | None = None,
) -> Any:
    """Compute exactly by how much a query changes the training dynamics: Delta(Q|S) = G(S and Q) -
    G(S).

    Parameters
    ----------
    net : as in `training_dynamics`
    X, y : data (n, ...), array-like of int (n,)
        The labeled set.
    X_query : data (b, ...)
        The query.
    y_query : array-like of int (b,), optional
        None: the net's own predictions (pseudo-labels).
    layers, batch_size
        As in `skdal.gradients.gradient_statistics`.

    Returns
    -------
    float

    Raises
    ------
    InvalidLabelsError, InvalidDataError, NotFittedError
        As of `skdal.gradients.gradient_statistics`.

    References
    ----------
    Eq. 11 and 13.
    """
    how: dict[str, Any] = {"layers": layers, "batch_size": batch_size}
    if y_query is None:
        return _finite(_changes(net, X, y, X_query, None, **how)[0])
    X_query = _checked_query(net, X_query, X)
    return _finite(
        _change(
            labeled_gradient(net, X, y, **how),
            labeled_gradient(net, X_query, y_query, **how),
        )
    )


def approximation_ratio(
    net: Any,
    X: Any,
    y: Any,
    X_query: Any,
    y_query: Any = None,
    *,
    layers: str | list = "all",
    batch_size: int | None = None,
) -> Any:
    """Compute the approximation ratio R(Q|S): the sum of the samples' own changes over the change
    of the whole query.

    It is 1 where the gradients of the query's samples are orthogonal to each other, and below 1
    where they repeat each other, as far as the change is positive.

    Parameters
    ----------
    net, X, y, X_query, y_query, layers, batch_size
        As in `training_dynamics_change`.

    Returns
    -------
    float
        NaN or infinite where the query changes nothing.

    Raises
    ------
    InvalidLabelsError, InvalidDataError, NotFittedError
        As of `skdal.gradients.gradient_statistics`.

    References
    ----------
    Eq. 14.
    """
    together, apart = map(
        _finite,
        _changes(net, X, y, X_query, y_query, layers=layers, batch_size=batch_size),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(apart) / np.float64(together))


def _changes(net, X, y, X_query, y_query, **how):
    """Return Delta of the query as a whole, and the sum of Delta over its samples (Eq. 15)."""
    X_query = _checked_query(net, X_query, X)
    labeled = labeled_gradient(net, X, y, **how)
    statistics = gradient_statistics(net, X_query, y_query, direction=labeled, **how)
    together = _change(labeled, labeled_gradient(net, X_query, statistics.label, **how))
    return together, float(np.sum(statistics.sq_norm + 2 * statistics.dot))


def _checked_query(net, X_query, X):
    """Return the samples of a query as they fit to the labeled set."""
    if not count_rows(X_query):
        raise EmptyPoolError("X_query is empty: pass at least one sample.")
    X_query = aligned(X_query, X, net, names=("X_query", "X"))
    check_pool(X_query, X, names=("X_query", "X"))
    warn_of_random_transforms(X_query, "X_query")
    return X_query


def _finite(value):
    """Return a sum of products of gradients after checking that it did not overflow."""
    if not np.isfinite(value):
        raise InvalidDataError(
            f"products of the samples' gradients come out as {value}. Look for NaN, infinite "
            "or very large values in the samples or in the weights of the net."
        )
    return value


def _change(labeled, queried):
    return _inner(queried, queried) + 2 * _inner(queried, labeled)


def _inner(one, other):
    return float(sum((gradient * other[name]).sum() for name, gradient in one.items()))
