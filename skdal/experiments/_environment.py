"""What a record says of where it was made: library versions, threads, peak memory."""

import platform
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

import skdal

_LIBRARIES = ("torch", "torchvision", "skorch", "scikit-learn", "numpy")


def versions():
    """Return the versions of Python, skdal and what it computes with."""
    return {"python": platform.python_version(), "skdal": skdal.__version__} | {
        n: version(n) for n in _LIBRARIES
    }


class PeakMemory:
    """The most memory that a block took, in bytes: on a GPU what torch allocated, else the
    process's resident set.
    """

    @contextmanager
    def measured(self, device):
        """Measure a block; the result is in `n_bytes` after it."""
        on_gpu = torch.device(device).type == "cuda"
        torch.cuda.reset_peak_memory_stats(device) if on_gpu else _reset_peak()
        yield self
        self.n_bytes = torch.cuda.max_memory_allocated(device) if on_gpu else _peak()


def _reset_peak():
    """Let Linux count the peak anew; elsewhere it is that of the process so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def _peak():
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except OSError:
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
