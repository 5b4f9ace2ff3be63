"""Passes with dropout on: each pass is one thinned network, the same for every sample."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from skdal.adapters._net import open_net
from skdal.exceptions import UnsupportedEstimatorError
from skdal.utils import count_rows, progress_bar

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def has_dropout(module):
    """Tell whether a module, or a part of it, is a dropout layer that drops something."""
    return any(isinstance(part, _DROPOUTS) and part.p > 0 for part in module.modules())


def iter_dropout_passes(classifier, X, n_passes, seed, *, verbose=0):
    """Yield class probabilities (n_passes, n, K) of each mini-batch with dropout layers on, all else in eval mode.

    A mask depends on (seed, pass, layer, call) and on nothing of the sample, so that a pool may be
    passed in any pieces. Where dropout sits only at the end of the module, what is before runs once.

    Raises
    ------
    UnsupportedEstimatorError
        The module has no dropout layer.
    """
    view = open_net(classifier)
    if not has_dropout(view.module):
        raise UnsupportedEstimatorError(
            f"the net's module ({type(view.module).__name__}) has no dropout layer with p > 0, so all passes would be "
            "the same. Add torch.nn.Dropout (torch.nn.functional.dropout, and the dropout argument of attention and "
            "recurrent layers, are no layers and stay off)."
        )
    with view.reading(), torch.no_grad(), progress_bar(count_rows(X), "dropout passes", verbose) as bar:
        for inputs, _ in view.pool_batches(X):
            rest, outputs = _rest_of(view, inputs)
            passes = []
            for t in range(n_passes):
                with _thinned(view.module, (seed, t)):
                    passes.append(view.probabilities(rest() if rest else view.forward(inputs)))
            yield torch.stack(passes)
            bar.update(len(outputs))


def _rest_of(view, inputs):
    """Run a mini-batch; return what runs its tail again (None where more follows on it than that) and the outputs."""
    tail, entered, left = _tail(view.module), [], []
    handles = [
        tail[0].register_forward_pre_hook(
            lambda part, args, kwargs: entered.append((_copied(args), kwargs)), with_kwargs=True
        ),
        tail[-1].register_forward_hook(lambda part, args, output: left.append(output)),
    ]
    try:
        outputs = view.forward(inputs)
    finally:
        for handle in handles:
            handle.remove()
    is_tail = len(entered) == 1 == len(left) and left[0] is outputs and len(entered[0][0]) == 1 and not entered[0][1]
    if not is_tail:
        return None, outputs

    def run():
        x = entered[0][0][0].clone()  # a part may work in place
        for part in tail:
            x = part(x)
        return x

    return run, outputs


def _copied(args):
    return tuple(x.clone() if isinstance(x, torch.Tensor) else x for x in args)


def _tail(module):
    """Return parts with all of the dropout that, as the structure has it, run one after the other at the end."""
    if type(module) is nn.Sequential:
        parts = list(module)
        rest = parts[next(i for i, part in enumerate(parts) if has_dropout(part)) :]
        return rest if len(rest) > 1 else _tail(rest[0])
    holders = [part for part in module.children() if has_dropout(part)]
    return _tail(holders[0]) if len(holders) == 1 else [module]


@contextmanager
def _thinned(module, seed):
    """Run a block in which each dropout layer applies one mask, drawn by `seed`, to every sample."""
    layers, calls, handles = [part for part in module.modules() if isinstance(part, _DROPOUTS)], {}, []

    def hook(index):
        def drop(part, args, output):
            calls[index] = calls.get(index, -1) + 1
            draw = np.random.SeedSequence([*seed, index, calls[index]]).generate_state(1)[0]
            kept, offset = _mask(part, output, int(draw))
            return output * kept + offset

        return drop

    try:
        for index, part in enumerate(layers):
            handles.append(part.register_forward_hook(hook(index)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mask(part, x, seed):
    """Return a and b (1, ...) such that dropout turns x into a x + b, for one draw that all samples share."""
    zeros, ones = x.new_zeros(1, *x.shape[1:]), x.new_ones(1, *x.shape[1:])
    part.training = True
    try:
        found = []
        for value in (zeros, ones):
            torch.manual_seed(seed)
            found.append(part.forward(value))
    finally:
        part.training = False
    return found[1] - found[0], found[0]
