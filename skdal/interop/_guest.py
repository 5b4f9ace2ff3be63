"""The rules for foreign code that looks at a trained classifier."""

from contextlib import contextmanager, nullcontext

from skdal.adapters import final_estimator, is_net
from skdal.utils import forked_rng, untouched


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
    with forked_rng(seed, 0), untouched(final_estimator(classifier).module_) if is_net(classifier) else nullcontext():
        yield
