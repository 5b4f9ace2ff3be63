"""Nets with skorch's AccelerateMixin, whose accelerator prepares the loaders and optimizers that
they work with.
"""

from contextlib import contextmanager

from skorch.hf import AccelerateMixin


@contextmanager
def loaders_forgotten(net):
    """Run a block after which an accelerator has forgotten the loaders that it prepared there.

    It keeps them all, for checkpoints of a training, and each holds its data: memory would grow
    with the pool.
    """
    kept = (
        getattr(net.accelerator, "_dataloaders", [])
        if isinstance(net, AccelerateMixin)
        else []
    )
    n_found = len(kept)
    try:
        yield
    finally:
        del kept[n_found:]


def prepare_optimizers(net):
    """Prepare the optimizers of a net that were made anew, as skorch does when it initializes the
    net.

    One that is not prepared knows nothing of accumulated steps, and nothing of the scale of
    gradients in float16.
    """
    if isinstance(net, AccelerateMixin):
        for name in net._optimizers:
            setattr(net, f"{name}_", net.accelerator.prepare(getattr(net, f"{name}_")))


class OneProcess:
    """What an accelerator, which cannot be pickled, is for a net that reads in a worker: there is
    nothing to do.
    """

    def prepare(self, loader):
        """Return a loader as it is."""
        return loader

    def gather_for_metrics(self, outputs):
        """Return outputs as they are."""
        return outputs
