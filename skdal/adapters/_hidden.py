"""What a net holds inside: hidden representations of a pool, and class probabilities, on the net's
device.
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from skdal.adapters._net import open_net
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    UnsupportedEstimatorError,
)
from skdal.utils import (
    count_rows,
    frozen,
    input_hooks_of,
    output_hooks_of,
    own_parameters,
    progress_bar,
    version_of,
)


class LastLayer(NamedTuple):
    """The head of a net on a pool.

    Attributes
    ----------
    hidden : tensor (n, d)
        Input of the net's last Linear.
    proba : tensor (n, K)
        Class probabilities.
    """

    hidden: torch.Tensor
    proba: torch.Tensor


class NoLinearHeadError(UnsupportedEstimatorError):
    """The module's outputs do not come from a Linear, nor from one position, or a weighted sum, of
    what it gives.
    """


def last_layer(classifier, X, *, verbose=0):
    """Return the LastLayer of a net on X.

    Raises
    ------
    NoLinearHeadError
        The module's outputs do not come from a Linear.
    """
    view = open_net(classifier)

    def parts_of(head):
        return (_flat(head.input), view.probabilities(head.outputs))

    return LastLayer(*collect_heads(view, X, parts_of, verbose=verbose))


def last_hidden(classifier, X, *, verbose=0):
    """Return the input (n, d) of the net's last Linear; see `last_layer`."""
    return collect_heads(
        open_net(classifier), X, lambda head: (_flat(head.input),), verbose=verbose
    )[0]


def module_output(classifier, X, name, *, verbose=0):
    """Return what the module of that name gives for X, flattened to (n, d).

    Raises
    ------
    InvalidParameterError
        There is no such module, it does not run, or it gives no row per sample; those that there
        are are listed.
    """
    view = open_net(classifier)
    modules = dict(view.module.named_modules())

    def refuse(reason):
        names = ", ".join(filter(None, modules))
        raise InvalidParameterError(
            f"embedding must name a module whose output is the representation; {name!r} {reason}. "
            f"There are: {names}."
        )

    def parts_of(calls, outputs, _):
        if not calls:
            refuse("does not run")
        output = calls[-1].output
        if (
            not isinstance(output, torch.Tensor)
            or output.ndim < 1
            or len(output) != len(outputs)
        ):
            shape = (
                tuple(output.shape)
                if isinstance(output, torch.Tensor)
                else type(output).__name__
            )
            refuse(f"gives {shape} for {len(outputs)} samples")
        return (_flat(output),)

    if name not in modules:
        refuse("does not exist")
    return _collected(
        view, X, lambda part: part is modules[name], parts_of, verbose=verbose
    )[0]


def as_rows(found, n):
    """Return what a caller's embedding gives for n samples as a floating-point tensor (n, d).

    Raises
    ------
    InvalidDataError
        It is not an array or tensor with n rows.
    """
    try:
        found = found.toarray() if sparse.issparse(found) else found
        rows = (
            found
            if isinstance(found, torch.Tensor)
            else torch.from_numpy(_native(np.asarray(found)))
        )
    except (TypeError, ValueError, RuntimeError):
        rows = None
    if rows is None or rows.ndim < 2 or len(rows) != n or rows.is_complex():
        shape = tuple(rows.shape) if rows is not None else type(found).__name__
        raise InvalidDataError(
            f"the callable passed as embedding= gives {shape} for {n} samples; it has to give "
            "numbers (n, d)."
        )
    return _flat(
        rows if rows.is_floating_point() and rows.itemsize > 2 else rows.double()
    )


def _native(array):
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


class Head(NamedTuple):
    """A mini-batch at the net's last Linear.

    Attributes
    ----------
    module : torch.nn.Linear
    input : tensor (n, ..., d)
        Where the Linear runs at several positions of a sample, (n, d): that of the position that
        makes the outputs.
    outputs : tensor (n, K)
        Of the net.
    is_plain : bool
        Whether the outputs are just what the Linear gave, in its one call, and its parameters are
        its own.
    """

    module: torch.nn.Linear
    input: torch.Tensor
    outputs: torch.Tensor
    is_plain: bool


def collect_heads(view, X, parts_of, *, batch_size=None, verbose=0):
    """Return `parts_of(head)`, a tuple of tensors (n, ...), of all mini-batches of X joined.

    Raises
    ------
    NoLinearHeadError
        The module's outputs do not come from a Linear: neither as they are, nor by a softmax or a
        scale, nor as one position of what it gives, or a weighted sum of its positions.
    """

    def is_linear(part):
        return isinstance(part, torch.nn.Linear)

    def of_calls(calls, outputs, inputs):
        return parts_of(_head(view, list(calls), outputs, inputs))

    return _collected(
        view, X, is_linear, of_calls, batch_size=batch_size, verbose=verbose
    )


def _head(view, calls, outputs, inputs):
    for call in reversed(calls):
        if call.output.shape == outputs.shape and _makes(call.output, outputs):
            is_plain = (
                call.result is outputs
                and call.is_untouched
                and _is_plain(call.module, view.module)
            )
            is_plain = (
                is_plain and sum(other.module is call.module for other in calls) == 1
            )
            return Head(call.module, call.input, outputs, is_plain)
    at_positions = [call for call in calls if _runs_at_positions(call.output, outputs)]
    for call in reversed(at_positions):
        which = sum(other.module is call.module for other in calls[: calls.index(call)])
        hidden = _hidden_of_positions(
            call, outputs, *_traced(view, inputs, call.module, which)
        )
        if hidden is not None:
            return Head(call.module, hidden, outputs, False)
    raise NoLinearHeadError(_no_head(view.module, at_positions))


def _no_head(module, at_positions):
    """Return why there is no head, and what takes such a net."""
    names = {part: name for name, part in module.named_modules() if name}
    reason = "do not come from a Linear"
    if at_positions:
        head = names.get(at_positions[-1].module, "the module itself")
        reason = (
            f"do not come from a Linear at one position: {head} gives "
            f"{tuple(at_positions[-1].output.shape)}, and the "
            "outputs are not a weighted sum of a sample's positions"
        )
    return (
        f"the outputs of the net's module {reason}. CoresetSampler takes other "
        f"representations: embedding= the name of one of {', '.join(names.values())}, or a "
        "callable. BADGESampler needs a Linear head."
    )


# --- heads that run at every position, as those of decoders do ------------------------------------


def _runs_at_positions(given, outputs):
    return (
        isinstance(given, torch.Tensor)
        and given.ndim > 2
        and given.shape[:: given.ndim - 1] == outputs.shape
    )


def _traced(view, inputs, module, which):
    """Run a mini-batch again; return what a call of a Linear gave, as a leaf, and the outputs that
    come from it.
    """
    seen = []

    def root(part, args, output):
        seen.append(output.detach().clone().requires_grad_())
        return seen[-1].clone() if len(seen) == which + 1 else None

    handle = module.register_forward_hook(root)
    try:
        with torch.enable_grad(), frozen(view.module):
            outputs = view.forward(inputs)
    finally:
        handle.remove()
    return seen[which], outputs


def _hidden_of_positions(call, outputs, given, traced):
    """Return the head's input (n, d) at the positions that make the outputs, or None if they are
    not made so.

    The gradient of the outputs with respect to what the head gave tells which positions those are.
    Outputs that are a weighted sum over positions belong to the sum of the inputs with the same
    weights.
    """
    if not traced.requires_grad or not _is_own(given, traced):
        return None
    n, K = outputs.shape
    factors = torch.linspace(1, 2, K, dtype=traced.dtype, device=traced.device)
    gradient = _gradient(lambda: (traced * factors).sum(), given)
    found = call.output.reshape(n, -1, K)
    inputs = call.input.reshape(n, -1, call.input.shape[-1])
    gradient = gradient.reshape(n, -1, K)
    used = gradient.abs().amax(2) > 0
    if (used.sum(1) <= 1).all():  # none of a sample that is damaged
        position = used.long().argmax(1)
        rows = torch.arange(n, device=position.device)
        return (
            inputs[rows, position] if _makes(found[rows, position], outputs) else None
        )
    weights = (gradient / factors).mean(2, keepdim=True)
    is_sum = torch.allclose(gradient, weights * factors, rtol=1e-3, atol=1e-6)
    return (
        (weights * inputs).sum(1)
        if is_sum and _makes((weights * found).sum(1), outputs)
        else None
    )


def _is_own(given, traced):
    """Tell whether the first sample's outputs come from what the head gave for it, and from nothing
    else of that.
    """
    return not (_gradient(lambda: traced[0].sum(), given)[1:] != 0).any()


def _gradient(value, leaf):
    with torch.enable_grad():
        return torch.autograd.grad(
            value(), leaf, retain_graph=True, materialize_grads=True
        )[0]


def _makes(given, outputs):
    """Tell whether `outputs` are `given`, up to a scale and a shift of each row, or their
    softmax.
    """
    finite = given.isfinite().all(1) & outputs.isfinite().all(
        1
    )  # damaged samples are for others to find
    a = given[finite].double()
    b = outputs[finite].double()
    if torch.allclose(a.softmax(1), b, rtol=0, atol=1e-3):
        return True
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return bool(((a * b).sum(1) >= (1 - 1e-4) * a.norm(dim=1) * b.norm(dim=1)).all())


def _is_plain(linear, module):
    """Tell whether a Linear is just that and shares its parameters with no other part of the
    module.
    """
    own = [
        id(parameter)
        for parameter in own_parameters(linear).values()
        if parameter is not None
    ]
    used = [
        id(p)
        for part in module.modules()
        for p in own_parameters(part).values()
        if p is not None
    ]
    return (
        type(linear) is torch.nn.Linear
        and set(own_parameters(linear)) == {"weight", "bias"}
        and "forward" not in vars(linear)
        and not input_hooks_of(linear)
        and len(output_hooks_of(linear)) == 1  # the one that watches
        and all(used.count(i) == 1 for i in own)
    )


class _Call:
    """A call of a module: copies of its input and its output, which later operations in place do
    not reach.
    """

    def __init__(self, module, args, kwargs, result):
        self.module = module
        self.result = result
        given = (*args, *kwargs.values())
        self.input = (
            given[0].detach().clone()
            if given and isinstance(given[0], torch.Tensor)
            else None
        )
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        self.output = (
            first.detach().clone() if isinstance(first, torch.Tensor) else first
        )
        self._version = version_of(result)

    @property
    def is_untouched(self):
        return version_of(self.result) == self._version


def _collected(view, X, wanted, parts_of, *, batch_size=None, verbose=0):
    """Return `parts_of(calls, outputs, inputs)` of all mini-batches joined, at least float32, on
    their device.

    `calls` are those of the parts of the module that are `wanted`.
    """
    calls = []
    total = None
    start = 0
    n = count_rows(X)
    with (
        view.reading(),
        torch.no_grad(),
        _recorded(view.module, wanted, calls),
        progress_bar(n, "embeddings", verbose) as bar,
    ):
        for inputs, _ in view.pool_batches(X, batch_size=batch_size):
            calls.clear()
            outputs = view.forward(inputs)
            parts = [
                part.float() if part.itemsize < 4 else part
                for part in parts_of(calls, outputs, inputs)
            ]
            total = (
                [part.new_empty(n, *part.shape[1:]) for part in parts]
                if total is None
                else total
            )
            for held, part in zip(total, parts):
                if held.shape[1:] != part.shape[1:]:
                    raise InvalidDataError(
                        f"representations have {tuple(held.shape[1:])} numbers in one "
                        f"mini-batch and {tuple(part.shape[1:])} in another; choose a module "
                        "whose output has one length for all."
                    )
                held[start : start + len(part)] = part
            start += len(parts[0])
            bar.update(len(parts[0]))
    return total


@contextmanager
def _recorded(module, wanted, calls):
    def hook(part, args, kwargs, output):
        return calls.append(_Call(part, args, kwargs, output))

    handles = [
        part.register_forward_hook(hook, with_kwargs=True)
        for part in module.modules()
        if wanted(part)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _flat(x):
    return x.flatten(1) if x.ndim > 1 else x[:, None]
