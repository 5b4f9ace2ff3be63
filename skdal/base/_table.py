"""Scores of many samples, and the best of them, from parts that come in any order."""

import numpy as np


def highest(scores, n_instances):
    """Return the positions of the highest scores, best first, ties by lower position."""
    return np.argsort(-scores, kind="stable")[:n_instances]


def cut(positions, columns, n_top):
    """Return (positions, columns) of the `n_top` highest scores, or of all for None."""
    if n_top is None or len(positions) <= n_top or "score" not in columns:
        return positions, columns
    best = highest(np.asarray(columns["score"]), n_top)
    return positions[best], {name: column[best] for name, column in columns.items()}


class Best:
    """The running best of what comes.

    Parameters
    ----------
    n_top : int
    """

    def __init__(self, n_top):
        self._n_top = n_top
        self.positions, self.columns = np.empty(0, dtype=np.intp), {}

    def add(self, positions, columns):
        """Take note of samples and their columns, of which "score" counts; ties go to the lower position."""
        if not len(positions):
            return
        positions = np.concatenate([self.positions, positions])
        columns = {
            name: np.concatenate([self.columns.get(name, x[:0]), x])
            for name, x in columns.items()
        }
        best = np.lexsort((positions, -columns["score"]))[: self._n_top]
        self.positions, self.columns = (
            positions[best],
            {name: x[best] for name, x in columns.items()},
        )


class Table:
    """All of what comes, by position.

    Parameters
    ----------
    n_rows : int
        Rows of samples that do not come hold NaN, or -1 in columns of integers.
    """

    def __init__(self, n_rows):
        self.n_rows, self.columns = n_rows, {}

    def add(self, positions, columns):
        """Take note of samples and their columns."""
        for name, x in columns.items():
            if name not in self.columns:
                empty = -1 if x.dtype.kind in "iu" else np.nan
                self.columns[name] = np.full(self.n_rows, empty, dtype=x.dtype)
            self.columns[name][positions] = x
