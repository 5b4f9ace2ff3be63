"""One thread of torch's for a while: for operations so small that more threads only wait for each
other.
"""

import threading
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_found = []  # for each block that runs now, how many threads torch had before the first


@contextmanager
def one_thread():
    """Run a block with one torch thread, and yield how many there were; blocks may overlap in
    several threads.
    """
    with _lock:
        n_threads = _found[0] if _found else torch.get_num_threads()
        _found.append(n_threads)
        torch.set_num_threads(1)
    try:
        yield n_threads
    finally:
        with _lock:
            _found.pop()
            if not _found:
                torch.set_num_threads(n_threads)
