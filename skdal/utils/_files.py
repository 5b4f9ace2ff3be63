"""Files that are whole or not there."""

import os
import tempfile
import threading
from pathlib import Path

from skdal.exceptions import InvalidParameterError


def write_atomically(path, write):
    """Call `write(file)` on a new file that takes the place of `path` once it is safe on disk."""
    unfinished = path.with_name(
        f".{path.name}.{os.getpid()}-{threading.get_ident()}.unfinished"
    )
    try:
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def prepare_folder(folder):
    """Make a folder for output, prove that files can be written into it, and return its path.

    Raises
    ------
    InvalidParameterError
        It is not a path, or cannot be made or written to.
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise InvalidParameterError(
            f"a folder is named by a str or a Path; got {folder!r}."
        )
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidParameterError(
            f"cannot write into the folder {str(folder)!r}: {error.strerror or error}. Name a "
            "folder that can be made or written to."
        ) from error
    return folder
