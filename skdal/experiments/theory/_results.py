"""What the verification experiments find, as it is read from the files that results are kept in."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KernelMeasures:
    """What was measured on one kernel; lists are over draws of Q, (n_draws,).

    Attributes
    ----------
    alignment, bound, trace : list of float
        A, B and the trace of the query's part of the kernel.
    error : dict of str to list
        By steps of gradient descent, the error that is left, for the largest rate that all draws
        allow.
    dynamics : dict of str to list
        G by "f, labels of Q".
    random : dict of str to dict of str to list
        By "alignment" or "bound" and f, Kendall's tau with G of each of the labelings by chance.
    """

    alignment: list
    bound: list
    trace: list
    error: dict
    dynamics: dict
    random: dict

    def of(self, against):
        """Return the "alignment" or the "bound" of each draw."""
        return {"alignment": self.alignment, "bound": self.bound}[against]


@dataclass(frozen=True)
class Correlations:
    """The result of Figures 2, 6 and 7.

    Attributes
    ----------
    kernels : dict of str to KernelMeasures
        By name: "raw" and "unit diagonal".
    mean_diagonal : float
        Of the raw kernel of all candidates.
    eigenvalues : list of float
        Its smallest and its largest.
    accuracy : dict of str to float
        Of the predictions for the candidates, by "kernel" and "net".
    """

    kernels: dict
    mean_diagonal: float
    eigenvalues: list
    accuracy: dict

    @classmethod
    def from_json(cls, found):
        """Return the result that a dict from JSON holds."""
        names = ("raw", "unit diagonal")
        kernels = {name: KernelMeasures(**found[name]) for name in names}
        return cls(kernels, accuracy=found["accuracy"], **found["kernel"])


@dataclass(frozen=True)
class DiscrepancyRow:
    """One round of one series.

    Attributes
    ----------
    sampler : str
    batch, round, n : int
        Labels per query, the number of the query, and labels after it.
    mmd_squared, bound : float
        An estimate of MMD^2, which may be negative, and B.
    mean_diagonal : float
        Of the kernel of all labels.
    eigenvalues : list of float
        Its smallest and its largest.
    classes : list of int
        How many labels of each class were asked for so far.
    """

    sampler: str
    batch: int
    round: int
    n: int
    mmd_squared: float
    bound: float
    mean_diagonal: float
    eigenvalues: list
    classes: list

    @property
    def series(self):
        """Sampler and labels per query."""
        return self.sampler, self.batch

    @property
    def mmd(self):
        """The root of MMD^2, of which a negative estimate counts as zero."""
        return float(np.sqrt(max(0.0, self.mmd_squared)))

    def ratio(self, *, normalized):
        """Return MMD/B; of the kernel with mean diagonal 1, by which MMD shrinks with its root and
        B grows with it.
        """
        return self.mmd / self.bound / (self.mean_diagonal if normalized else 1.0)


@dataclass(frozen=True)
class Discrepancies:
    """The result of Figures 1 and 9 and of Table 10.

    Attributes
    ----------
    rows : list of DiscrepancyRow
    orders : dict of str to list of int
        By "sampler-batch", the labeled images in the order of the queries.
    """

    rows: list
    orders: dict

    @classmethod
    def from_json(cls, found):
        """Return the result that a dict from JSON holds."""
        return cls([DiscrepancyRow(**row) for row in found["rows"]], found["orders"])


@dataclass(frozen=True)
class RatioRow:
    """Approximation ratios of one net after a number of epochs, for one size of a query.

    Attributes
    ----------
    model : str
    epoch : int
    train_accuracy : float
    batch : int
        Labels per query.
    random : list of float or None
        Of each random query; None where the change of the whole query is zero.
    own : float or None
        Of the query that dynamicAL makes.
    """

    model: str
    epoch: int
    train_accuracy: float
    batch: int
    random: list
    own: float | None


@dataclass(frozen=True)
class Ratios:
    """The result of Figure 4.

    Attributes
    ----------
    rows : list of RatioRow
    """

    rows: list

    @classmethod
    def from_json(cls, found):
        """Return the result that a dict from JSON holds."""
        return cls([RatioRow(**row) for row in found["rows"]])
