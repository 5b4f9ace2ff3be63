"""Random state: the global generators as found, forked training, generators for a query."""

import random
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

from skdal.utils._locks import exclusive


@contextmanager
def preserved_rng():
    """Leave the global generators of torch (every device in use), numpy and python as found.

    No other thread draws from them for skdal in the meantime.
    """
    with exclusive():
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        try:
            yield
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])
            random.setstate(states[2])
            if cuda is not None:
                torch.cuda.set_rng_state_all(cuda)


@contextmanager
def forked_rng(random_state, n_fits):
    """Run a block under global generators seeded from (random_state, n_fits), then put them back.

    Parameters
    ----------
    random_state : None, int or RandomState
        None leaves the global generators in charge; a RandomState instance advances.
    n_fits : int
        How many fits came before, so that no two fits of a loop share their random numbers.
    """
    if random_state is None:
        with exclusive():
            yield
        return
    seed = int(_seed_sequence(random_state, n_fits).generate_state(1)[0])
    if torch.cuda.is_available():
        # otherwise the seed would wait for the first use of a GPU, and outlive the block
        torch.cuda.init()
    with preserved_rng():
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        np.random.seed(
            seed
        )  # scikit-learn and skorch draw from numpy's global generator
        random.seed(seed)
        yield


def query_generator(random_state, n_labeled):
    """Return the generator of one query.

    Parameters
    ----------
    random_state : None, int or RandomState
        None: fresh entropy; an int: seeded from (random_state, n_labeled), so that a query can be
        repeated and the next round draws anew; a RandomState instance advances.
    n_labeled : int
        Size of the labeled set.

    Returns
    -------
    numpy.random.Generator
    """
    if random_state is None:
        return np.random.default_rng()
    return np.random.default_rng(_seed_sequence(random_state, n_labeled))


def _seed_sequence(random_state, counter):
    if isinstance(random_state, (int, np.integer)):
        return np.random.SeedSequence([int(random_state), int(counter)])
    return np.random.SeedSequence(
        check_random_state(random_state).randint(2**31, size=4).tolist()
    )
