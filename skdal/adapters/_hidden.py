"""What a net holds inside: hidden representations of a pool, and class probabilities, on the net's device."""

from contextlib import contextmanager
from typing import NamedTuple

import torch
from scipy import sparse

from skdal.adapters._net import open_net
from skdal.exceptions import InvalidDataError, InvalidParameterError, UnsupportedEstimatorError
from skdal.utils import count_rows, progress_bar


class LastLayer(NamedTuple):
    """The head of a net on a pool.

    Attributes
    ----------
    hidden : tensor (n, d)
        Input of the last Linear to run.
    proba : tensor (n, K)
        Class probabilities.
    """

    hidden: torch.Tensor
    proba: torch.Tensor


def last_layer(classifier, X, *, verbose=0):
    """Return the LastLayer of a net on X.

    Raises
    ------
    UnsupportedEstimatorError
        The module does not end in a Linear.
    """
    view = open_net(classifier)
    rows = (LastLayer(_flat(head.input), view.probabilities(head.outputs)) for head in _required_heads(view, X))
    return LastLayer(*_collected(rows, count_rows(X), verbose))


def last_hidden(classifier, X, *, verbose=0):
    """Return the input (n, d) of the last Linear to run; see `last_layer`."""
    rows = ((_flat(head.input),) for head in _required_heads(open_net(classifier), X))
    return _collected(rows, count_rows(X), verbose)[0]


def module_output(classifier, X, name, *, verbose=0):
    """Return what the module of that name gives for X, flattened to (n, d).

    Raises
    ------
    InvalidParameterError
        There is no such module, it does not run, or it gives no row a sample; those that there are are listed.
    """
    view = open_net(classifier)
    modules = dict(view.module.named_modules())
    if name not in modules:
        raise InvalidParameterError(_no_such_module(name, modules, "does not exist"))
    rows = ((output,) for output in _outputs_of(view, X, name, modules))
    return _collected(rows, count_rows(X), verbose)[0]


def as_rows(found, n):
    """Return what a caller's embedding gives for n samples as a floating-point tensor (n, d).

    Raises
    ------
    InvalidDataError
        It is no array or tensor with n rows.
    """
    try:
        rows = torch.as_tensor(found.toarray() if sparse.issparse(found) else found)
    except (TypeError, ValueError, RuntimeError):
        rows = None
    if rows is None or rows.ndim < 2 or len(rows) != n or rows.is_complex():
        shape = tuple(rows.shape) if rows is not None else type(found).__name__
        raise InvalidDataError(
            f"the callable passed as embedding= gives {shape} for {n} samples; it has to give (n, d)."
        )
    return _flat(rows if rows.is_floating_point() and rows.itemsize > 2 else rows.double())


class Head(NamedTuple):
    """A mini-batch at the last Linear to run.

    Attributes
    ----------
    module : torch.nn.Linear
    input : tensor (n, ..., d)
    outputs : tensor (n, K)
        Of the net.
    is_last : bool
        Whether the net's outputs are those of the Linear, whose parameters are used nowhere else.
    """

    module: torch.nn.Linear
    input: torch.Tensor
    outputs: torch.Tensor
    is_last: bool


def iter_heads(view, X, *, batch_size=None):
    """Yield the Head of each mini-batch of X, None where the module does not end in a Linear."""
    ran = []

    def record(name, module, args, kwargs, output):
        ran[:] = [(module, args[0] if args else kwargs["input"], output)]

    with _watched(view, lambda part: isinstance(part, torch.nn.Linear), record):
        for inputs, _ in view.pool_batches(X, batch_size=batch_size):
            ran.clear()
            outputs = view.forward(inputs)
            if not ran or ran[0][2].shape != outputs.shape:
                yield None
                continue
            module, x, output = ran[0]
            yield Head(module, x, outputs, output is outputs and _is_plain(module, view.module))


def _required_heads(view, X):
    for head in iter_heads(view, X):
        if head is None:
            raise UnsupportedEstimatorError(
                "the net's module does not end in a Linear that gives its outputs. CoresetSampler takes other "
                f"representations: embedding= the name of one of {', '.join(_names(view.module))}, or a callable. "
                "BADGESampler needs a Linear head."
            )
        yield head


def _is_plain(linear, module):
    """Tell whether a Linear is just that and shares its parameters with no other part of the module."""
    own = [id(parameter) for parameter in linear.parameters()]
    used = [
        id(parameter) for part in module.modules() for parameter in part._parameters.values() if parameter is not None
    ]
    return type(linear) is torch.nn.Linear and "forward" not in vars(linear) and all(used.count(i) == 1 for i in own)


def _outputs_of(view, X, name, modules):
    found = []

    def record(_, module, args, kwargs, output):
        found[:] = [output]

    with _watched(view, lambda part: part is modules[name], record):
        for inputs, _ in view.pool_batches(X):
            found.clear()
            n = len(view.forward(inputs))
            output = found[0] if found else None
            output = output[0] if isinstance(output, (tuple, list)) else output
            if not isinstance(output, torch.Tensor) or output.ndim < 1 or len(output) != n:
                shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
                reason = f"gives {shape} for {n} samples" if found else "does not run"
                raise InvalidParameterError(_no_such_module(name, modules, reason))
            yield _flat(output)


@contextmanager
def _watched(view, wanted, record):
    """Read the net without gradients, `record(name, module, args, kwargs, output)` after each call of wanted parts."""
    handles = []
    with view.reading(), torch.no_grad():
        try:
            for name, part in view.module.named_modules():
                if wanted(part):
                    hook = lambda *call, name=name: record(name, *call)
                    handles.append(part.register_forward_hook(hook, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _collected(rows, n, verbose):
    """Write the parts of each mini-batch into tensors (n, ...) on their device, at least float32."""
    total, start = None, 0
    with progress_bar(n, "embeddings", verbose) as bar:
        for parts in rows:
            parts = [part.float() if part.itemsize < 4 else part for part in parts]
            total = [part.new_empty(n, *part.shape[1:]) for part in parts] if total is None else total
            for held, part in zip(total, parts):
                held[start : start + len(part)] = part
            start += len(parts[0])
            bar.update(len(parts[0]))
    return total


def _flat(x):
    return x.detach().flatten(1) if x.ndim > 1 else x.detach()[:, None]


def _no_such_module(name, modules, reason):
    names = ", ".join(filter(None, modules))
    return f"embedding must name a module whose output is the representation; {name!r} {reason}. There are: {names}."


def _names(module):
    return [name for name, _ in module.named_modules() if name]
