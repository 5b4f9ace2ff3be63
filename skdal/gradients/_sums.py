"""The order in which gradients of a labeled set are added, which decides the last bits of their
sum.

Mini-batches are added up in chunks, and the chunks in index order; so whoever adds up chunks
elsewhere gets the same sum bit for bit.
"""

# A chunk has at least so many mini-batches.
_LEAST_BATCHES = 4
# A labeled set is at most so many chunks, but for that.
_MOST_CHUNKS = 32


def chunk_rows(n_samples, batch_size):
    """Return the number of samples of a chunk, whole mini-batches."""
    n_batches = -(-n_samples // batch_size)
    return batch_size * max(_LEAST_BATCHES, -(-n_batches // _MOST_CHUNKS))


def add_to(total, part):
    """Add a dict of tensors to another, in place, and return it; None for an empty sum."""
    if total is None:
        return part
    for name, tensor in part.items():
        total[name] += tensor
    return total
