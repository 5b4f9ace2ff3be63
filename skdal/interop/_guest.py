"""The rules for foreign code that looks at a trained classifier, and what it reads from one."""

import logging
from contextlib import contextmanager, nullcontext

import numpy as np
from sklearn.base import BaseEstimator

from skdal.adapters import (
    Trained,
    default_batch_size,
    final_estimator,
    is_net,
    last_hidden,
    predict_proba,
    proba_batch_size,
)
from skdal.base._shards import ShardCall, parts_of
from skdal.exceptions import UnreadableSampleError
from skdal.parallel import SerialExecutor
from skdal.utils import count_rows, forked_rng, preserved_rng, untouched

logger = logging.getLogger("skdal")


@contextmanager
def as_guest(classifier, rng):
    """Run a block under global generators seeded from `rng`; they and a net's module are as found afterwards.

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
    """What a foreign strategy reads from a trained classifier, shard by shard, where the executor is.

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
        self._work = _Work(executor=executor, verbose=verbose)
        self._name = name
        self._executor = SerialExecutor() if executor is None else executor
        if getattr(executor, "scores_dir", None) is not None:
            logger.warning(
                "the strategy of %s looks at all samples at once; nothing is kept in scores_dir",
                name,
            )

    def proba(self, X):
        """Return class probabilities (n, K) in float64, as our own samplers see them."""
        own = (
            proba_batch_size(final_estimator(self.classifier))
            if is_net(self.classifier)
            else 1
        )
        return self._read("probabilities", X, self._executor.batch_size or own)

    def hidden(self, X):
        """Return a net's last hidden layer (n, d)."""
        return self._read(
            "hidden",
            X,
            self._executor.batch_size or default_batch_size(X, self.classifier),
        )

    def _read(self, method, X, unit):
        call = ShardCall(self._work, self._trained, method)
        slices = self._executor.slices(count_rows(X), unit)
        found = {}
        with (
            preserved_rng(),
            parts_of(self._work, call, X, slices=slices, description=method) as parts,
        ):
            for part in parts:
                self._refuse_unreadable(part.unreadable)
                found[int(part.positions[0])] = part.columns["found"]
        return np.concatenate([found[start] for start in sorted(found)])

    def _refuse_unreadable(self, unreadable):
        if unreadable:
            first = unreadable[0]
            raise UnreadableSampleError(
                f"sample {first.position} of the pool cannot be read ({first.reason}), and the strategy of "
                f"{self._name} looks at all of them. Leave it out, or use a sampler of skdal.samplers, which sets it "
                "aside."
            )


class _Work(BaseEstimator):
    """What is done with a shard; it stands where a task has its sampler, so that the strategy does not travel."""

    def __init__(self, estimator=None, executor=None, verbose=0):
        self.estimator = estimator
        self.executor = executor
        self.verbose = verbose

    def probabilities(self, trained, X):
        return {"found": predict_proba(trained.classifier, X, verbose=self.verbose)}

    def hidden(self, trained, X):
        return {
            "found": last_hidden(trained.classifier, X, verbose=self.verbose)
            .cpu()
            .numpy()
        }
