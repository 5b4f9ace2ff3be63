"""Names for data: what is equal has the same digest, in every process and on every machine."""

import hashlib


def digest(parts, *, n_digits=32, method="blake2b"):
    """Return the digest of some bytes, one part after the other.

    Parameters
    ----------
    parts : iterable of bytes-like
        Contiguous arrays are bytes-like, too.
    n_digits : int, default=32
        Hexadecimal digits of the result; even.
    method : {"blake2b", "sha256"}, default="blake2b"
        "sha256" for names that are on disk already.

    Returns
    -------
    str

    Examples
    --------
    >>> from skdal.utils import digest
    >>> digest([b"some", b"bytes"], n_digits=8) == digest([b"somebytes"], n_digits=8)
    True
    """
    if method == "sha256":
        found = hashlib.sha256()
    else:
        found = hashlib.blake2b(digest_size=n_digits // 2)
    for part in parts:
        found.update(part)
    return found.hexdigest()[:n_digits]
