"""What is refused before anything is computed."""

from torch import nn

from skdal.exceptions import CrossSampleLayerError
from skdal.utils import BatchNorm


def refuse_cross_sample_layers(module):
    """Raise if a layer of `module` gives a sample no gradient of its own; all are listed.

    Raises
    ------
    CrossSampleLayerError
        Batch-norm without running statistics; Embedding with `scale_grad_by_freq` (scales by
        the mini-batch) or `max_norm` (rewrites its weights whenever it runs).
    """
    problems = [
        f"{name} ({type(part).__name__}): {problem}"
        for name, part in module.named_modules()
        for problem in _problems_of(part)
    ]
    if problems:
        raise CrossSampleLayerError(
            "these layers mix the samples of a mini-batch, so that no sample has a gradient "
            f"of its own: {'; '.join(problems)}."
        )


def _problems_of(part):
    if isinstance(part, BatchNorm) and part.running_mean is None:
        yield "no running statistics; use track_running_stats=True"
    if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
        if part.scale_grad_by_freq:
            yield "use scale_grad_by_freq=False"
        if part.max_norm is not None:
            yield "rewrites its weights whenever it runs; use max_norm=None"
