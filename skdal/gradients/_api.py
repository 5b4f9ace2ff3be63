"""The public functions: statistics of a pool, gradient of a labeled set."""

from __future__ import annotations

from typing import Any

import torch

from skdal.adapters import open_net
from skdal.exceptions import EmptyPoolError, InvalidDataError
from skdal.gradients._backends import StatisticsPass
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._context import differentiating
from skdal.gradients._loop import gradient_of
from skdal.gradients._memory import Halving
from skdal.gradients._minibatch import MiniBatch
from skdal.gradients._parameters import select_parameters
from skdal.gradients._statistics import empty_statistics, store
from skdal.gradients._sums import add_to, chunk_rows
from skdal.pools import unit_of
from skdal.utils import check_finite_scores, count_rows, progress_bar


def gradient_statistics(
    net: Any,
    X: Any,
    y: Any = None,
    *,
    direction: dict | None = None,
    layers: str | list = "all",
    backend: str = "auto",
    batch_size: int | None = None,
) -> Any:
    """Compute each sample's squared gradient norm and inner product with a direction, exactly.

    The gradient g is that of the sample's own loss in eval mode, over all trainable parameters, as
    far as the loss depends on them through the module's outputs (no weight penalty of a
    `get_loss`). Where a `get_loss` gives one number for a mini-batch, a sample's loss is what it
    gives for the sample alone. Nothing of size (n_samples, n_parameters) is ever made.

    Parameters
    ----------
    net : NeuralNetClassifier, Pipeline that ends in one, or FrozenEstimator of one
        Trained. Nothing of it changes: mode, gradients, buffers, hooks, generators.
    X : data (n_samples, ...)
        Array, memmap, tensor, dict of these, CSR, DataFrame, SliceDataset or torch Dataset.
    y : array-like of int (n_samples,), optional
        Labels in [0, K). None takes each sample's own predicted label, the argmax of its outputs.
    direction : dict of str to tensor, optional
        A vector in parameter space by parameter names, as `labeled_gradient` returns it.
    layers : "all", "last", str or list of str, default="all"
        The parameters that count: all trainable ones; those of the last module with trainable
        parameters to run; or those whose name is, or starts with, one of the strings.
    backend : {"auto", "ghost", "functorch", "backpack", "loop"}, default="auto"
        "ghost": layer rules at about the cost of a training step. "functorch": torch.func, for
        modules without a rule. "loop": one backward pass per sample, works for every module. "auto"
        tries these three in this order and says each step down in the log. "backpack": BackPACK's
        per-sample gradients, for the layers that BackPACK covers; it refuses every other net.
    batch_size : int, optional
        Samples per mini-batch. None: 2**19 values a mini-batch, rounded down to a power of two,
        from 16 to 256 samples (128 for 32x32 colour images).

    Returns
    -------
    GradientStatistics
        `sq_norm` (n_samples,) float64, `dot` (n_samples,) float64 or None without a direction,
        `label` (n_samples,) int64.

    Raises
    ------
    UnsupportedLayerError
        An explicit backend cannot handle some layers; all are listed.
    CrossSampleLayerError
        A layer mixes the samples of a mini-batch.
    GradientMismatchError
        An explicit backend failed the self-check against plain autograd.
    NonFiniteScoreError
        Some are NaN or infinite: how many, and the first positions.
    InvalidLabelsError, InvalidDataError, InvalidParameterError, NotFittedError
        The arguments do not fit; each message names the remedy.

    References
    ----------
    Wang et al., "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, Eq. 15.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from skdal.gradients import gradient_statistics, labeled_gradient
    >>> X, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=4, module__out_features=2,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> statistics = gradient_statistics(net.fit(X, y), X, direction=labeled_gradient(net, X, y))
    >>> statistics.sq_norm.shape, statistics.dot.shape, statistics.label.dtype
    ((4,), (4,), dtype('int64'))
    """
    statistics = compute_statistics(
        net,
        X,
        y,
        direction=direction,
        layers=layers,
        backend=backend,
        batch_size=batch_size,
        verbose=0,
    )
    scores = statistics.sq_norm
    if statistics.dot is not None:
        scores = scores + statistics.dot
    check_finite_scores(scores)
    return statistics


def compute_statistics(
    net,
    X,
    y=None,
    *,
    direction,
    layers,
    backend,
    batch_size,
    verbose,
    only_dot=False,
    loss=None,
):
    """Compute `gradient_statistics` with a progress bar for `verbose` above 0.

    Parameters
    ----------
    net, X, y, direction, layers, backend, batch_size
        As there.
    verbose : int
        Above 0 there is a progress bar.
    only_dot : bool
        Leave `sq_norm` out; it is NaN then.
    loss : callable, optional
        In place of the criterion: a function of the class probabilities (n, K) in float64,
        (n,).
    """
    view = open_net(net)
    if loss is not None:
        view = view.with_loss(loss)
    n_samples = count_rows(X)
    if not n_samples:
        raise EmptyPoolError("X is empty: pass at least one sample.")
    run = StatisticsPass(
        view, direction=direction, layers=layers, backend=backend, only_dot=only_dot
    )
    total = empty_statistics(n_samples, with_dot=direction is not None)
    with (
        differentiating(view),
        progress_bar(n_samples, "gradients", verbose, unit=unit_of(X)) as bar,
    ):
        start = 0
        for inputs, labels in view.pool_batches(X, y, batch_size=batch_size):
            start += store(run(inputs, labels), total, start)
            bar.update(start - bar.n)
    return total


def labeled_gradient(
    net: Any,
    X: Any,
    y: Any = None,
    *,
    layers: str | list = "all",
    batch_size: int | None = None,
) -> dict:
    """Compute the sum over a labeled set of the gradients of the samples' losses.

    Parameters
    ----------
    net : NeuralNetClassifier, Pipeline that ends in one, or FrozenEstimator of one
        Trained.
    X : data (n_samples, ...)
        The labeled set, in any form that `gradient_statistics` takes.
    y : array-like of int (n_samples,), optional
        Labels in [0, K). None takes those of the Dataset X.
    layers, batch_size
        As in `gradient_statistics`.

    Returns
    -------
    dict of str to tensor
        Parameter name to the summed gradient: float64, of the parameter's shape, on its device.
        Mini-batches are added in chunks of at least four, and these in index order, so a run
        repeats bit for bit.

    Raises
    ------
    InvalidLabelsError
        Labels that are not integers in [0, K), or of another length than X.
    InvalidDataError
        The labeled set is empty, or a Dataset without labels; or its gradient is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from skdal.gradients import labeled_gradient
    >>> X, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=4, module__out_features=2,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> gradient = labeled_gradient(net.fit(X, y), X, y)
    >>> {name: tuple(g.shape) for name, g in gradient.items()}
    {'weight': (2, 4), 'bias': (2,)}
    """
    return gradient_and_counts(net, X, y, layers=layers, batch_size=batch_size)[0]


def gradient_and_counts(net, X, y=None, *, layers, batch_size):
    """Return the `labeled_gradient`, and how many samples are of each class: a float64 tensor
    (K,).
    """
    view = open_net(net)
    refuse_cross_sample_layers(view.module)
    n_samples = count_rows(X)
    total = None
    with differentiating(view):
        for inputs, labels in view.labeled_batches(X, y, batch_size=batch_size):
            if total is None:
                parameters = select_parameters(view, layers, inputs)
                size = chunk_rows(n_samples, view.batch_size(X, batch_size))
                total = _LabeledSum(view, parameters, size)
            total.add(MiniBatch(inputs, labels))
    return total.finish()


class _LabeledSum:
    """The sum of the gradients of mini-batches, by chunks of `chunk_size` samples."""

    def __init__(self, view, parameters, chunk_size):
        self._view = view
        self._parameters = parameters
        self._chunk_size = chunk_size
        self._halving = Halving()
        self._total = None
        self._chunk = self._zeros()
        self._n_samples = 0
        self._labels = []
        self._n_outputs = 0

    def _zeros(self):
        return {
            name: torch.zeros_like(parameter, dtype=torch.float64)
            for name, parameter in self._parameters.items()
        }

    def add(self, batch):
        if self._n_samples and self._n_samples % self._chunk_size == 0:
            self._total = add_to(self._total, self._chunk)
            self._chunk = self._zeros()
        for gradients, scale in self._halving(self._gradient, batch):
            for name, gradient in gradients.items():
                self._chunk[name].add_(gradient, alpha=1 / float(scale))
        self._n_samples += len(batch.labels)
        self._labels.append(batch.labels)

    def _gradient(self, batch):
        outputs = self._view.forward(batch.inputs)
        self._n_outputs = outputs.shape[1]
        return gradient_of(self._view, outputs, batch.labels, self._parameters)

    def finish(self):
        """Return the sum, and how many samples are of each class, a float64 tensor (K,).

        Raises
        ------
        InvalidDataError
            It is NaN or infinite.
        """
        total = add_to(self._total, self._chunk)
        if not all(part.isfinite().all() for part in total.values()):
            raise InvalidDataError(
                "the summed gradient of the labeled set is NaN or infinite. Look for NaN or "
                "infinite values in the labeled samples or in the weights of the net (a "
                "diverged training)."
            )
        labels = torch.cat(self._labels)
        return total, torch.bincount(labels, minlength=self._n_outputs).double()
