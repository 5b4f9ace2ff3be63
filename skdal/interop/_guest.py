"""The rules for foreign code that looks at a trained classifier, and what it reads from one."""

import logging
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from skdal.adapters import (
    Trained,
    final_estimator,
    is_net,
    last_hidden,
    predict_proba,
)
from skdal.base import Gather, ModuleWork, Work, as_work, run_pass
from skdal.exceptions import UnreadableSampleError
from skdal.utils import count_rows, forked_rng, preserved_rng, untouched

logger = logging.getLogger("skdal")


@contextmanager
def as_guest(classifier, rng):
    """Run a block under global generators seeded from `rng`; they and a net's module are as found
    afterwards.

    Parameters
    ----------
    classifier : estimator
        Trained.
    rng : numpy.random.Generator
        The query's own.
    """
    seed = int(rng.integers(2**32))
    with (
        forked_rng(seed, 0),
        untouched(final_estimator(classifier).module_)
        if is_net(classifier)
        else nullcontext(),
    ):
        yield


class Reader:
    """What a foreign strategy reads from a trained classifier, shard by shard, where the executor
    is.

    Global generators are as found afterwards, so that a strategy draws the same wherever this runs.

    Parameters
    ----------
    classifier : estimator
        Trained.
    name : str
        Of the sampler that asks.
    executor : Executor or None
    verbose : int
    """

    def __init__(self, classifier, name, executor=None, verbose=0):
        self.classifier = classifier
        self._trained = Trained(
            classifier
        )  # one for all reads of a query: it travels once
        self._name = name
        self._executor = executor
        self._verbose = verbose
        if getattr(executor, "scores_dir", None) is not None:
            logger.warning(
                "the strategy of %s looks at all samples at once; nothing is kept in scores_dir",
                name,
            )

    def proba(self, X):
        """Return class probabilities (n, K) in float64, as our own samplers see them."""
        return self._read(Probabilities(), X)

    def hidden(self, X):
        """Return a net's last hidden layer (n, d)."""
        return self._read(Hidden(), X)

    def _read(self, work, X):
        rows = _AllRows(count_rows(X), self._name)
        work = as_work(work, self._verbose)
        with preserved_rng():
            run_pass(
                work, self._trained, X, self._executor, rows, description=rows.asker
            )
        return rows.columns["found"].numpy()


class _AllRows(Gather):
    """The rows of all samples, all of which have to be readable."""

    def __init__(self, n_rows, asker):
        super().__init__(n_rows)
        self.asker = asker

    def add(self, part):
        """Take note of a Part."""
        if part.unreadable:
            first = part.unreadable[0]
            raise UnreadableSampleError(
                f"sample {first.position} of the pool cannot be read ({first.reason}), and the "
                f"strategy of {self.asker} looks at all of them. Leave it out, or use a "
                "sampler of skdal.samplers, which sets it aside."
            )
        super().add(part)


@dataclass(frozen=True, kw_only=True)
class Probabilities(Work):
    """Class probabilities of samples."""

    def __call__(self, trained, X):
        """Return the column "found" (n, K), float64."""
        return {"found": predict_proba(trained.classifier, X, verbose=self.verbose)}


@dataclass(frozen=True, kw_only=True)
class Hidden(ModuleWork):
    """A net's last hidden layer."""

    def __call__(self, trained, X):
        """Return the column "found" (n, d), on the CPU."""
        hidden = last_hidden(trained.classifier, X, verbose=self.verbose)
        return {"found": hidden.cpu()}
