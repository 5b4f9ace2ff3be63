"""Positions of samples in errors, where data are worked on in pieces."""

from contextlib import contextmanager

from skdal.exceptions import InvalidSampleError


@contextmanager
def positions_from(start, of=None):
    """Run a block that works on the samples from `start`, and knows no positions but in its piece.

    Parameters
    ----------
    start : int
    of : str, optional
        What they are samples of, where the block does not know.
    """
    try:
        yield
    except InvalidSampleError as error:
        if error.position is None:
            raise
        raise error.at(error.position + start, of) from error.__cause__
