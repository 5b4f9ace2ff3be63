"""Passes with dropout on: each pass is one thinned network, the same for every sample."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from skdal.adapters._net import cloned, open_net
from skdal.exceptions import UnsupportedEstimatorError
from skdal.utils import count_rows, progress_bar, tree_map, version_of

_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def has_dropout(module):
    """Tell whether a module, or a part of it, is a dropout layer that drops something."""
    return any(isinstance(part, _DROPOUTS) and part.p > 0 for part in module.modules())


def over_dropout_passes(classifier, X, n_passes, seed, reduce, *, verbose=0):
    """Return `reduce(proba)` (n,) of all mini-batches joined, as an array of float64.

    `proba` (n_passes, n, K) are class probabilities with the net's dropout layers on, all else in
    eval mode. A mask depends on (seed, pass, layer, call) and on nothing of the sample, so that a
    pool may be passed in any pieces. Where dropout sits only at the end of the module, what is
    before runs once.

    Raises
    ------
    UnsupportedEstimatorError
        The module has no dropout layer, or one that cannot be given one mask for all samples.
    """
    view = open_net(classifier)
    if not has_dropout(view.module):
        raise UnsupportedEstimatorError(
            f"the net's module ({type(view.module).__name__}) has no dropout layer with p > 0, "
            "so all passes would be the same. Add torch.nn.Dropout "
            "(torch.nn.functional.dropout, and the dropout argument of attention and "
            "recurrent layers, are not layers and stay off)."
        )
    parts = []
    axes = None
    with (
        view.reading(),
        torch.no_grad(),
        progress_bar(count_rows(X), "dropout passes", verbose) as bar,
    ):
        for inputs, _ in view.pool_batches(X):
            axes = _sample_axes(view, inputs) if axes is None else axes
            rest, outputs = rest_of(view, inputs)
            passes = []
            for t in range(n_passes):
                with _thinned(view.module, (seed, t), axes):
                    passes.append(
                        view.probabilities(rest() if rest else view.forward(inputs))
                    )
            parts.append(reduce(torch.stack(passes).double()).cpu().numpy())
            bar.update(len(outputs))
    return np.concatenate(parts)


# --- masks ----------------------------------------------------------------------------------------


def _sample_axes(view, inputs):
    """Return, by (layer, call), the axis of a dropout layer's input that grows with the mini-batch,
    or None.
    """
    shapes = []
    for rows in ([0], [0, 0]):
        seen = {}
        with _hooked(
            view.module, lambda key, x, seen=seen: seen.update({key: x.shape})
        ):
            view.forward(tree_map(lambda x, rows=rows: x[rows], inputs))
        shapes.append(seen)
    return {
        key: _grown(view.module, key, shape, shapes[1].get(key, shape))
        for key, shape in shapes[0].items()
    }


def _grown(module, key, one, two):
    grown = [axis for axis, (a, b) in enumerate(zip(one, two)) if a != b]
    if len(grown) > 1 or len(one) != len(two):
        layer = [
            name for name, part in module.named_modules() if isinstance(part, _DROPOUTS)
        ][key[0]]
        raise UnsupportedEstimatorError(
            f"the dropout layer {layer!r} sees inputs of shape {tuple(one)} for one sample and "
            f"{tuple(two)} for two. No mask can be shared by all samples there; keep samples "
            "on one axis."
        )
    return grown[0] if grown else None


@contextmanager
def _thinned(module, seed, axes):
    """Run a block in which each dropout layer applies one mask, drawn by `seed`, to every
    sample.
    """
    n_ran = []

    def drop(key, x):
        n_ran.append(key)
        if key not in axes:
            raise UnsupportedEstimatorError(
                "a dropout layer runs more often for one mini-batch than for another."
            )
        kept, offset = dropout_mask(layers[key[0]], x, axes[key], (*seed, *key))
        if layers[key[0]].inplace:  # its result may go unused
            return x.mul_(kept).add_(offset)
        return x * kept + offset

    layers = [part for part in module.modules() if isinstance(part, _DROPOUTS)]
    with _hooked(module, drop):
        yield
    if not n_ran:
        raise UnsupportedEstimatorError(
            "no dropout layer of the net's module runs in eval mode, so nothing is random."
        )


@contextmanager
def _hooked(module, call):
    """Run a block in which `call(key, input)` stands for every call of a dropout layer; key is
    (layer, call).
    """
    layers = [part for part in module.modules() if isinstance(part, _DROPOUTS)]
    n_calls = {}
    handles = []

    def hook(index):
        def forward_hook(part, args, kwargs, output):
            n_calls[index] = n_calls.get(index, -1) + 1
            return call((index, n_calls[index]), args[0] if args else kwargs["input"])

        return forward_hook

    try:
        for index, part in enumerate(layers):
            handles.append(
                part.register_forward_hook(hook(index), with_kwargs=True, prepend=True)
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def dropout_mask(part, x, axis, seed):
    """Return a and b such that dropout turns x into a x + b, for one draw that all samples share.

    Any dropout layer is such a function of its input; drawn twice alike, zeros give b and ones a +
    b.
    """
    shape = [1 if i == axis else size for i, size in enumerate(x.shape)]
    draw = int(np.random.SeedSequence(seed).generate_state(1)[0])
    found = []
    for make in (x.new_zeros, x.new_ones):
        torch.manual_seed(draw)
        found.append(_FUNCTIONS[_kind(part)](make(shape), part.p, True))
    return found[1] - found[0], found[0]


_FUNCTIONS = {
    nn.Dropout: nn.functional.dropout,
    nn.Dropout1d: nn.functional.dropout1d,
    nn.Dropout2d: nn.functional.dropout2d,
    nn.Dropout3d: nn.functional.dropout3d,
    nn.AlphaDropout: nn.functional.alpha_dropout,
    nn.FeatureAlphaDropout: nn.functional.feature_alpha_dropout,
}


def _kind(part):
    return next(cls for cls in type(part).__mro__ if cls in _FUNCTIONS)


# --- the tail -------------------------------------------------------------------------------------


def rest_of(view, inputs):
    """Run a mini-batch; return what runs its tail again (None where more follows on it than that)
    and the outputs.
    """
    tail = _tail(view.module)
    entered = []
    left = []

    def enter(part, args, kwargs):
        entered.append((cloned(list(args)), kwargs))

    def leave(part, args, output):
        left.append((output, version_of(output)))

    handles = [
        tail[0].register_forward_pre_hook(enter, with_kwargs=True),
        tail[-1].register_forward_hook(leave),
    ]
    try:
        outputs = view.forward(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not (
        len(entered) == 1 == len(left)
        and left[0][0] is outputs
        and left[0][1] == version_of(outputs)
    ):
        return None, outputs
    (args, kwargs) = entered[0]
    if kwargs or len(args) != 1 or not isinstance(args[0], torch.Tensor):
        return None, outputs

    def run():
        x = args[0].clone()  # a part may work in place
        for part in tail:
            x = part(x)
        return x

    return run, outputs


def _tail(module):
    """Return parts with all of the dropout that, as the structure has it, run one after the other
    at the end.
    """
    if type(module) is nn.Sequential:
        parts = list(module)
        rest = parts[next(i for i, part in enumerate(parts) if has_dropout(part)) :]
        return rest if len(rest) > 1 else _tail(rest[0])
    holders = [part for part in module.children() if has_dropout(part)]
    return _tail(holders[0]) if len(holders) == 1 else [module]
