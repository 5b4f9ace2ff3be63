"""The tangent kernel of a net as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdal.adapters import aligned, check_pool, warn_of_random_transforms
from skdal.dynamics._gram import gradient_gram
from skdal.exceptions import InvalidDataError
from skdal.utils import check_known


def empirical_ntk(
    net: Any,
    X1: Any,
    X2: Any = None,
    *,
    reduction: str = "full",
    layers: str | list = "all",
    batch_size: int | None = None,
    verbose: int = 0,
) -> Any:
    """Compute the tangent kernel of a trained net of finite width, exactly.

    K[i, a, j, b] = grad f^a(x_i) . grad f^b(x_j), f the outputs of the net's module in eval mode,
    over its trainable parameters.

    Parameters
    ----------
    net : NeuralNetClassifier, Pipeline that ends in one, or FrozenEstimator of one
        Trained; nothing of it changes.
    X1 : data (n1, ...)
        Array, memmap, tensor, dict of these, CSR, DataFrame, SliceDataset or torch Dataset.
    X2 : data (n2, ...), optional
        None: X1, of which each pair of chunks is worked once.
    reduction : {"full", "trace", "sum"}, default="full"
        "trace": the sum over a of K[i, a, j, a]; over K it is what Eq. 2 takes for Theta. "sum":
        the sum over a and b, the kernel of the sum of the outputs; it costs one output.
    layers, batch_size
        As in `skdal.gradients.gradient_statistics`.
    verbose : int, default=0
        1 shows a progress bar over pairs.

    Returns
    -------
    array (n1, K, n2, K), or (n1, n2) with a reduction
        float64 of a net in float64, else float32.

    Raises
    ------
    CrossSampleLayerError, NotFittedError, InvalidDataError, InvalidParameterError
        As of `skdal.gradients.gradient_statistics`.

    Notes
    -----
    Linear layers with one position are never differentiated by their weights: with a their inputs
    and b the derivatives by their outputs, the share of a pair is (a . a') (b . b'). All other
    parameters' Jacobians are held for a chunk of samples, of at most 2**27 entries, and contracted
    with those of the other samples, which are made anew for each chunk; where one sample's would
    exceed 2**24 entries, columns of the kernel are taken by forward-mode derivatives along a
    sample's K gradients, which alone are held. Inner products are summed in float64.

    References
    ----------
    Wang et al., "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, section 2.
    Novak et al., "Fast Finite Width Neural Tangent Kernel", ICML 2022.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from skdal.dynamics import empirical_ntk
    >>> X, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> net = NeuralNetClassifier(torch.nn.Linear, module__in_features=4, module__out_features=2,
    ...                           criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    >>> net = net.fit(X, y)
    >>> empirical_ntk(net, X, reduction="trace")[:2, :2]
    array([[4., 2.],
           [2., 4.]], dtype=float32)
    """
    check_known("reduction", reduction, ("full", "trace", "sum"))
    values = _summed if reduction == "sum" else _outputs
    how = {"layers": layers, "batch_size": batch_size, "verbose": verbose}
    X2 = None if X2 is None else aligned(X2, X1, net, names=("X2", "X1"))
    check_pool(X1, X2, names=("X1", "X2"))
    for name, X in (("X1", X1), ("X2", X2)):
        warn_of_random_transforms(X, name)
    kernel = gradient_gram(
        net, values, X1, X2=None if X2 is X1 else X2, traced=reduction != "full", **how
    )
    if not np.isfinite(kernel).all():
        raise InvalidDataError(
            f"the kernel has {(~np.isfinite(kernel)).sum()} entries that are NaN or infinite. "
            "Look for NaN or infinite values in the samples or in the weights of the net (a "
            "diverged training)."
        )
    return kernel


def _outputs(view, outputs, labels):
    return outputs


def _summed(view, outputs, labels):
    return outputs.sum(1, keepdim=True)
