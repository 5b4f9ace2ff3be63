"""How a trained classifier does on its own labeled set."""

import numpy as np
import torch

from skdal.adapters._kinds import is_net
from skdal.adapters._net import open_net
from skdal.exceptions import InvalidLabelsError
from skdal.utils import count_rows


def correct_answers(classifier, X, y):
    """Return the labels (n,) of a labeled set and whether the classifier predicts each (n,) bool,
    in eval mode.
    """
    if not count_rows(X):
        return np.empty(0), np.empty(0, dtype=bool)
    if not is_net(classifier):
        labels = np.asarray(y).copy()  # it is remembered
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.shape != (count_rows(X),):
            raise InvalidLabelsError(
                f"X has {count_rows(X)} samples and y has shape {labels.shape}; pass (n_samples,)."
            )
        return labels, np.asarray(classifier.predict(X)).ravel() == labels
    view = open_net(classifier)
    found = []
    with view.reading(), torch.no_grad():
        for inputs, labels in view.labeled_batches(X, y):
            found.append(
                (labels.cpu(), (view.forward(inputs).argmax(1) == labels).cpu())
            )
    return tuple(torch.cat(column).numpy() for column in zip(*found))
