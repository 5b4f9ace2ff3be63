"""Names of classes on the command line."""

from pathlib import Path

from skdal.exceptions import InvalidParameterError


def classes_of(text):
    """Return the names in "a,b,c", or in "@FILE" with one a line, a tuple; None of None.

    Raises
    ------
    InvalidParameterError
        There is no such file, or it is not UTF-8.
    """
    if text is None:
        return None
    names = _lines(text[1:]) if text.startswith("@") else text.split(",")
    return tuple(name.strip() for name in names)


def _lines(file):
    try:
        return Path(file).read_text(encoding="utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameterError(
            f"--classes @{file} cannot be read ({error}); a text file in UTF-8 with one name a "
            "line is expected."
        ) from error
