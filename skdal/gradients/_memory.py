"""Running out of memory: a mini-batch is halved until it fits."""

import logging
import textwrap

import torch

from skdal.exceptions import SampleTooLargeError

logger = logging.getLogger("skdal")


class Halving:
    """Runs mini-batches in parts that fit; after the first failure in halves from the start."""

    def __init__(self):
        self._size = None
        self._reason = None

    def __call__(self, run, batch):
        """Yield `run(part)` of consecutive parts of a MiniBatch.

        Raises
        ------
        SampleTooLargeError
            Not even one sample fits.
        """
        start = 0
        n_samples = len(batch)
        while start < n_samples:
            size = n_samples if self._size is None else self._size
            stop = min(n_samples, start + size)
            is_whole = stop - start == n_samples
            part = batch if is_whole else batch.rows(slice(start, stop))
            result = self._attempt(run, part)
            if result is not None:
                yield result
                start = stop
            else:
                self._halve(stop - start)

    def _attempt(self, run, batch):
        """Return what the run gives, or None out of memory.

        What the failed run held is free then: the error itself, which holds it, is dropped.
        """
        try:
            return run(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._reason = textwrap.shorten(str(error), 300)
        return None

    def _halve(self, size):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size == 1:
            raise SampleTooLargeError(
                "one sample alone runs out of memory. Free memory, use smaller samples or a "
                'smaller module, score fewer layers (layers="last"), or move the net to a '
                f"device with more memory. It was told: {self._reason}"
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
    # This is what torch says on the CPU.
    message = "can't allocate memory"
    return isinstance(error, RuntimeError) and message in str(error)
