"""Who may touch what while other threads run: one lock for the process, and one for each module.

Reading a net means to toggle what it and the process have: modes, hooks, gradients, generators,
backends. A thread that reads, predicts or trains holds the lock of the process, since generators
and backends are those of all threads, and with it the lock of the module. Locks are taken in this
order.
"""

import os
import threading
import weakref
from contextlib import contextmanager

from skdal.utils._wrappers import unwrapped


class _Locks:
    """All locks, made anew in a forked process, where the threads that held them are not."""

    def __init__(self):
        self.process = threading.RLock()
        self.guard = threading.Lock()
        self.of_modules = weakref.WeakKeyDictionary()


_locks = _Locks()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_locks.__init__)


@contextmanager
def exclusive():
    """Run a block in which no other thread of this process reads or trains a net through skdal; may
    be nested.
    """
    with _locks.process:
        yield


@contextmanager
def turns(module):
    """Run a block in which no other thread uses a module through skdal; may be nested.

    Parameters
    ----------
    module : torch.nn.Module or None
        None needs no lock.
    """
    if module is None:
        yield
        return
    module = unwrapped(
        module
    )  # what is compiled, or in DataParallel, is the same module
    with _locks.guard:
        lock = _locks.of_modules.setdefault(module, threading.RLock())
    with lock:
        yield
