"""What is refused before anything is computed."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skdal.exceptions import CrossSampleLayerError


def refuse_cross_sample_layers(module):
    """Raise if a layer of `module` gives a sample no gradient of its own; all are listed.

    Raises
    ------
    CrossSampleLayerError
        Batch-norm without running statistics; Embedding with `scale_grad_by_freq` (scales by the
        mini-batch) or `max_norm` (rewrites its weights whenever it runs).
    """
    problems = []
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            problems.append(
                f"{name} ({type(part).__name__}): no running statistics; use track_running_stats=True"
            )
        if (
            isinstance(part, (nn.Embedding, nn.EmbeddingBag))
            and part.scale_grad_by_freq
        ):
            problems.append(
                f"{name} ({type(part).__name__}): use scale_grad_by_freq=False"
            )
        if (
            isinstance(part, (nn.Embedding, nn.EmbeddingBag))
            and part.max_norm is not None
        ):
            problems.append(
                f"{name} ({type(part).__name__}): rewrites its weights whenever it runs; use max_norm=None"
            )
    if problems:
        raise CrossSampleLayerError(
            "these layers mix the samples of a mini-batch, so that no sample has a gradient of its own: "
            + "; ".join(problems)
            + "."
        )
