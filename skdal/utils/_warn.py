"""Warnings that name the line of the library's caller, however deep they arise."""

import sys
import warnings


def warn_caller(message, category=UserWarning):
    """Warn, and name the line outside of the library that the call came from.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    frame = sys._getframe(1)
    level = 2
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _is_ours(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] == "skdal"
