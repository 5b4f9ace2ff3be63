"""Expected gradient length."""

import numpy as np
import torch

from skdal.adapters import iter_heads, open_net, predict_proba
from skdal.samplers._gradient import GradientSampler
from skdal.utils import count_rows


class EGLSampler(GradientSampler):
    r"""Ask first where the gradient is longest in expectation over all classes (expected gradient length).

    .. math:: \sum_k p_k \, \| g_k \|

    with :math:`p_k` the net's class probabilities and :math:`g_k` the gradient of the sample's loss if its
    label were k, in eval mode. The lengths are not squared.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net, bare or last in a Pipeline; see `BaseSampler`.
    layers : "all", "last", str or list of str, default="all"
        The parameters that count. "last" is cheap: where the net ends in a Linear, a forward pass
        suffices, since :math:`\|g_k\| = \|b_k\| (\|h\|^2 + 1)^{1/2}` with h the head's input and b_k the
        gradient of its output. Everything else costs K passes over the pool, one a class.
    backend, batch_size
        As in `skdal.gradients.gradient_statistics`.
    warm_start, reset_optimizer, verbose, random_state
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

    def _score_samples(self, trained, X):
        if self.layers == "last" and self.backend == "auto":
            scores = _closed_form(trained.classifier, X, self.batch_size)
            if scores is not None:
                return scores
        proba = predict_proba(trained.classifier, X)
        scores = np.zeros(len(proba))
        for k in range(proba.shape[1]):
            lengths = np.sqrt(self._statistics(trained, X, np.full(count_rows(X), k)).sq_norm)
            scores += proba[:, k] * lengths
        return scores


def _closed_form(classifier, X, batch_size):
    """Return the scores over the head alone from forward passes, or None where the head is not a plain Linear."""
    view, parts = open_net(classifier), []
    for head in iter_heads(view, X, batch_size=batch_size):
        if head is None or not head.is_last:
            return None
        weight, bias = head.module.weight.requires_grad, head.module.bias is not None and head.module.bias.requires_grad
        squared = weight * head.input.double().square().sum(1) + float(bias)
        proba, lengths = view.probabilities(head.outputs.double()), []
        for k in range(proba.shape[1]):
            labels = torch.full((len(proba),), k, device=proba.device)
            with torch.enable_grad():
                ((_, gradient),) = view.output_gradients(head.outputs, labels)
            lengths.append(torch.linalg.vector_norm(gradient, dim=1))
        parts.append((proba * torch.stack(lengths, dim=1)).sum(1) * squared.sqrt())
    return torch.cat(parts).cpu().numpy()
