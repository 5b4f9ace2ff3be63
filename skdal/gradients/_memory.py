"""Running out of memory: a mini-batch is halved until it fits."""

import logging
import textwrap

import torch

from skdal.exceptions import SampleTooLargeError
from skdal.gradients._loop import cut

logger = logging.getLogger("skdal")


class Halving:
    """Runs mini-batches in parts that fit; after the first failure in halves from the start."""

    def __init__(self):
        self._size, self._reason = None, None

    def __call__(self, run, inputs, labels, n_samples):
        """Yield `run(inputs, labels)` of consecutive parts of a mini-batch.

        Raises
        ------
        SampleTooLargeError
            Not even one sample fits.
        """
        start = 0
        while start < n_samples:
            stop = (
                n_samples if self._size is None else min(n_samples, start + self._size)
            )
            rows = slice(start, stop)
            whole = stop - start == n_samples
            part = inputs if whole else cut(inputs, rows, n_samples)
            found = self._attempt(
                run, part, labels if whole or labels is None else labels[rows]
            )
            if found is not None:
                yield found
                start = stop
            else:
                self._halve(stop - start)

    def _attempt(self, run, inputs, labels):
        """Return what the run gives, or None out of memory; what the failed run held is free then."""
        try:
            return run(inputs, labels)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._reason = textwrap.shorten(
                str(error), 300
            )  # the error itself holds the failed run
        return None

    def _halve(self, size):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size == 1:
            raise SampleTooLargeError(
                "one sample alone runs out of memory. Free memory, use smaller samples or a smaller module, score "
                'fewer layers (layers="last"), or move the net to a device with more memory. '
                f"It was told: {self._reason}"
            )
        self._size = (size + 1) // 2
        logger.warning(
            "out of memory with a mini-batch of %d samples: going on with %d",
            size,
            self._size,
        )


def is_out_of_memory(error):
    """Tell whether an error says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(
        error
    )  # torch on the CPU
