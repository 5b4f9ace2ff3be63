"""What a pass is given: a mini-batch of samples, and a question about their gradients."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from skdal.exceptions import InvalidDataError
from skdal.utils import tree_leaves, tree_map

# So many samples show how a net uses its parameters.
FEW = 3


@dataclass(frozen=True, eq=False)
class MiniBatch:
    """Some samples of a pool or a labeled set.

    Attributes
    ----------
    inputs : tree of tensors
        What the module gets; the first axis of each tensor is the sample.
    labels : int64 tensor (n,) or None
        None stands for each sample's own label, the argmax of its outputs.
    """

    inputs: Any
    labels: torch.Tensor | None = None

    def __len__(self):
        return len(tree_leaves(self.inputs)[0])

    def rows(self, rows):
        """Return some of the samples, a slice of them.

        Raises
        ------
        InvalidDataError
            The inputs hold something that has no row for each sample.
        """
        n_samples = len(self)

        def rows_of(tensor):
            if tensor.ndim == 0 or len(tensor) != n_samples:
                _refuse_rows(n_samples, tuple(tensor.shape))
            return tensor[rows]

        def refuse(value):
            _refuse_rows(n_samples, type(value).__name__)

        labels = None if self.labels is None else self.labels[rows]
        return MiniBatch(tree_map(rows_of, self.inputs, refuse), labels)

    def sample(self, index):
        """Return one of the samples, as a mini-batch."""
        return self.rows(slice(index, index + 1))

    def labeled(self, labels):
        """Return the same samples under these labels."""
        return replace(self, labels=labels)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of each sample: the length of its gradient, and its inner product.

    Attributes
    ----------
    parameters : dict of str to Parameter
        What the gradient is taken by.
    direction : dict of str to tensor, or None
        What the inner product is with; None asks for none.
    only_dot : bool
        Whether the length is left out.
    """

    parameters: dict
    direction: dict | None = None
    only_dot: bool = False


def batch_of_one(sample):
    """Return a sample, a tree of tensors, with an axis of one sample."""
    return tree_map(lambda tensor: tensor[None], sample)


def _refuse_rows(n_samples, content):
    raise InvalidDataError(
        f"a mini-batch of {n_samples} samples holds {content}, which cannot be cut into "
        "samples. Collate into tensors whose first axis is the sample."
    )
