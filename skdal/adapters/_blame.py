"""Errors that are not ours: which sample is to blame, what form it has, what was expected, and the
remedy.
"""

import inspect
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch

from skdal.adapters._foreign import is_foreign, not_fetched, quoted
from skdal.adapters._item_labels import refuse_absent_label
from skdal.adapters._items import described, nesting, remedy_for_parts
from skdal.exceptions import FailingModuleError, InvalidSampleError

_NOT_TAKEN = "is not taken by the net's module"
_MOST_TRIED = 8  # samples that tell whether the module is to blame


class UnstackableSampleError(InvalidSampleError):
    """A sample that cannot join a mini-batch with others."""


def refuse_samples(samples, rows, error, *, run=None, of="the pool"):
    """Raise an InvalidSampleError from a foreign error if it is due to one of some samples, or to
    their being together.

    Parameters
    ----------
    samples : NetSamples
        They are fetched, made mini-batches, and run, one by one.
    rows : iterable of int
        Positions among which to look.
    error : Exception
        What came up.
    run : callable, optional
        `run(inputs)` runs the net's module; None where the error came up before.
    of : str
        What they are samples of.
    """
    forms = {}
    for i in rows:
        forms[i] = _form_of_one(samples, i, run, of, is_first=not forms)
    if run is not None or len(forms) < 2:
        return
    (common, _), *others = Counter(forms.values()).most_common()
    odd = next((i for i, form in forms.items() if form != common), None)
    if odd is not None and _do_not_stack(
        samples, next(i for i in forms if forms[i] == common), odd
    ):
        raise UnstackableSampleError(
            f"it is a {forms[odd]}, and {'most others' if len(others) == 1 else 'another'} a "
            f"{common}, which make no mini-batch together. Give all samples one form (a "
            "transform that resizes, or converts to as many channels); or give the net a "
            "collate_fn that brings them to one length, as iterator_train__collate_fn and "
            f"iterator_valid__collate_fn, or batch_size=1. {quoted(error)}",
            odd,
            of,
        ) from error
    for i in forms:
        refuse_absent_label(samples.fetch(i), i, of, error)


def _form_of_one(samples, i, run, of, is_first):
    """Return the words for an input after it went through all that a mini-batch goes through,
    alone.

    Where the module does not take the one that is tried first, others tell whether that is due to
    the module.
    """
    x = None
    try:
        stage = "cannot be fetched"
        item = samples.fetch(i)
        x = samples.input_of(item)
        stage = "cannot be made a mini-batch"
        inputs = samples.collated([item])
        if run is not None:
            stage = _NOT_TAKEN
            run(inputs)
    except Exception as error:
        if not is_foreign(error):
            raise
        if stage == "cannot be made a mini-batch":
            refuse_absent_label(item, i, of, error)
        if stage == _NOT_TAKEN and is_first:
            _refuse_module(samples, i, run, of, error)
        raise InvalidSampleError(
            explanation(samples.net, stage, x, error), i, of
        ) from error
    return described(x)


def _refuse_module(samples, i, run, of, error):
    """Raise a FailingModuleError if the module fails on other samples as it does on the i-th
    one.
    """
    x = samples.input_of(samples.fetch(i))
    if _known_remedy(samples.net, x, error) is not None:
        return
    n_all = len(samples.dataset)
    step = max(1, n_all // _MOST_TRIED)
    others = [j for j in range(0, n_all, step) if j != i][: _MOST_TRIED - 1]
    if not others or not all(_fails_alike(samples, j, run, error) for j in others):
        return
    name = type(samples.net.module_).__name__
    raise FailingModuleError(
        f"forward of {name} raises {type(error).__name__} for each of {len(others) + 1} "
        f"samples of {of} that were tried, so it is due to the module, or to the form of all "
        f"samples. {quoted(error)}. A sample is a {described(x)}; {_expected(samples.net)}. "
        "Look at the module's forward, or bring the samples into the form that it takes."
    ) from error


def _fails_alike(samples, i, run, error):
    try:
        run(samples.collated([samples.fetch(i)]))
    except Exception as other:
        return is_foreign(other) and type(other) is type(error)
    return False


def _do_not_stack(samples, one, other):
    try:
        samples.collated([samples.fetch(one), samples.fetch(other)])
    except Exception as error:
        return is_foreign(error)
    return False


def explanation(net, stage, x, error):
    """Return the words for an error about an input x, None where there is none."""
    if x is None:
        return not_fetched(error)
    return (
        f"it {stage}. It is a {described(x)}; {_expected(net)}. {_remedy(net, x, error)} "
        f"{quoted(error)}"
    )


def _parameters(net):
    """Return the parameters of the module's forward, None where they are not known."""
    module = getattr(net, "module_", None)
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (AttributeError, TypeError, ValueError):
        return None


def _expected(net):
    parameters = _parameters(net)
    if parameters is None:
        return "the module's forward takes another form"
    return f"the module's forward takes ({', '.join(map(str, parameters))})"


def _remedy(net, x, error):
    """Return the words for the first thing that is not as it should be."""
    known = _known_remedy(net, x, error)
    if known is not None:
        return known
    return (
        "Bring the sample into the form that the module takes, in the Dataset or in the "
        "module's forward."
    )


def _known_remedy(net, x, error):
    """Return the words for what is known to be wrong with an input, None where nothing is."""
    for is_so, words in _REMEDIES:
        if is_so(net, x, error):
            return words(net, x)
    return None


def _leaves(x):
    if isinstance(x, Mapping):
        return [leaf for part in x.values() for leaf in _leaves(part)]
    if isinstance(x, (list, tuple)) and nesting(x) != "array":
        return [leaf for part in x for leaf in _leaves(part)]
    return [x]


def _has_unknown_names(net, x, error):
    parameters = _parameters(net)
    if not isinstance(x, Mapping) or parameters is None:
        return False
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return not takes_any and bool(
        set(x) ^ {p.name for p in parameters if p.name in x or p.default is p.empty}
    )


def _is_odd_array(net, x, error):
    return any(
        isinstance(leaf, np.ndarray) and not _is_plain(leaf.dtype)
        for leaf in _leaves(x)
    )


def _is_plain(dtype):
    return dtype.kind in "biuf" and dtype.isnative


def _odd_dtype(net, x):
    dtype = next(
        leaf.dtype
        for leaf in _leaves(x)
        if isinstance(leaf, np.ndarray) and not _is_plain(leaf.dtype)
    )
    return (
        f"torch has no tensors of {dtype.str} ({dtype.name}); convert the data: "
        "X.astype(numpy.float32)."
    )


def _float_dtypes(net):
    module = getattr(net, "module_", None)
    return (
        {p.dtype for p in module.parameters() if p.is_floating_point()}
        if module is not None
        else set()
    )


def _dtype_of(x):
    leaves = _leaves(x)
    if len(leaves) != 1 or not hasattr(leaves[0], "dtype"):
        return None
    leaf = leaves[0]
    return (
        leaf.dtype
        if isinstance(leaf, torch.Tensor)
        else torch.as_tensor(np.asarray(leaf)).dtype
    )


def _is_of_another_dtype(net, x, error):
    wanted = _float_dtypes(net)
    dtype = _dtype_of(x)
    return (
        "type" in str(error)
        and len(wanted) == 1
        and dtype is not None
        and dtype not in wanted
    )


def _other_dtype(net, x):
    (wanted,) = _float_dtypes(net)
    name = str(wanted).removeprefix("torch.")
    how = (
        f"X.astype(numpy.{name})"
        if hasattr(np, name)
        else f"torch.as_tensor(X, dtype=torch.{name})"
    )
    return (
        f"X has dtype {_dtype_of(x)} and the net's parameters have {wanted}; convert X, such "
        f"as {how}, or cast in the module's forward."
    )


_REMEDIES = [
    (
        lambda net, x, error: (
            isinstance(x, (tuple, list)) and len(x) > 2 and nesting(x) != "array"
        ),
        lambda net, x: remedy_for_parts(x),
    ),
    (
        _has_unknown_names,
        lambda net, x: (
            "The keys of a dict, and the columns of a frame, go to the arguments of forward "
            "of these names; name them so and leave out others (a label belongs beside the "
            "dict: (dict, label)). For one argument give one array: X.to_numpy(numpy.float32) "
            "of a frame; before it in a Pipeline set_output(transform='default')."
        ),
    ),
    (
        lambda net, x, error: any(
            leaf is None or isinstance(leaf, (str, bytes)) for leaf in _leaves(x)
        ),
        lambda net, x: (
            "torch makes no tensors of text or None; leave it out of the input, or turn text "
            "into numbers, in the Dataset or in the steps of a Pipeline before the net."
        ),
    ),
    (_is_odd_array, _odd_dtype),
    (
        lambda net, x, error: any(
            isinstance(leaf, (list, tuple)) for leaf in _leaves(x)
        ),
        lambda net, x: (
            "Lists of numbers become lists of tensors; give tensors or arrays, of a "
            "datasets.Dataset "
            'ds.with_format("torch").'
        ),
    ),
    (
        lambda net, x, error: any(
            not isinstance(leaf, (torch.Tensor, np.ndarray, np.generic, int, float))
            for leaf in _leaves(x)
        ),
        lambda net, x: (
            "Turn it into a tensor, in the Dataset's transform or in a collate_fn of the net."
        ),
    ),
    (_is_of_another_dtype, _other_dtype),
]
