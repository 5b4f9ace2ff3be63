"""The BackPACK backend: per-sample gradients by BackPACK's rules, on a copy of the module.

BackPACK's `extend` is not used: it wraps the output of every module, so that the `out += identity`
of torchvision's nets fails, and keeps its hooks in a global list. BackPACK's first-order rules need
a layer's input and the gradient of its output, and all between layers is torch's own backward pass;
hooks on output tensors give both. Of the rules only BatchGrad's are used: BatchL2Grad is wrong for
convolutions with groups.
"""

import copy
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import nn

from skdal.gradients._backward import differentiate
from skdal.gradients._loop import cut, predicted_labels
from skdal.gradients._memory import is_out_of_memory
from skdal.gradients._seeds import seeds_of
from skdal.gradients._tape import Uncovered, arguments, output_hooks, tensors_in
from skdal.utils import reason

_CHUNK_VALUES = 2**24  # gradient entries held at once
_FLOOR = 1e-18  # lengths are compared absolutely below: float32 underflows
_TF32_EPS = 2**-10

# What the rule of a class takes for granted. Elsewhere BackPACK raises, or is silently wrong.
_CONV = {
    "padding_mode='zeros'": lambda layer: layer.padding_mode == "zeros",
    "padding in numbers": lambda layer: layer.padding != "same",
}
_CONV_TRANSPOSE = {"output_padding=0": lambda layer: not any(layer.output_padding)}
_EMBEDDING = {
    "padding_idx=None": lambda layer: layer.padding_idx is None,
    "sparse=False": lambda layer: not layer.sparse,
    "a weight of torch's default dtype": lambda layer: (
        layer.weight.dtype == torch.get_default_dtype()
    ),
}
_RECURRENT = {
    "batch_first=True": lambda layer: layer.batch_first,
    "num_layers=1": lambda layer: layer.num_layers == 1,
    "bias=True": lambda layer: layer.bias,
    "dropout=0": lambda layer: layer.dropout == 0,
    "bidirectional=False": lambda layer: not layer.bidirectional,
}
_CONDITIONS = {
    nn.Linear: {},
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.ConvTranspose1d: _CONV_TRANSPOSE,
    nn.ConvTranspose2d: _CONV_TRANSPOSE,
    nn.ConvTranspose3d: _CONV_TRANSPOSE,
    nn.BatchNorm1d: {},
    nn.BatchNorm2d: {},
    nn.BatchNorm3d: {},
    nn.Embedding: _EMBEDDING,
    nn.RNN: _RECURRENT
    | {"nonlinearity='tanh'": lambda layer: layer.nonlinearity == "tanh"},
    nn.LSTM: _RECURRENT | {"proj_size=0": lambda layer: layer.proj_size == 0},
}
_OWN_NAMES = {
    "weight",
    "bias",
    "weight_ih_l0",
    "weight_hh_l0",
    "bias_ih_l0",
    "bias_hh_l0",
}


class BackpackBackend:
    """Per-sample statistics by BackPACK, for one query, during which the weights may not change.

    Attributes
    ----------
    fresh : bool
        Whether the last call used another set of parameters than the calls before.
    shares : dict of tuple of str to (sq_norm, dot)
        Each parameter's part of the last call's statistics.
    """

    def __init__(self):
        self.fresh, self.shares = True, {}
        self._twin, self._seen = None, set()

    def __call__(self, model, inputs, labels, parameters, direction):
        """Return per-sample (sq_norm, dot, label) of a mini-batch; see `_backends`.

        Raises
        ------
        Uncovered
            BackPACK has no rule for a layer, or none that holds for it and for the way it is used.
        """
        if self._twin is None:
            self._twin = model.with_module(_twin_of(model.module, parameters))
        labels = predicted_labels(self._twin, inputs) if labels is None else labels
        size = max(
            1,
            _CHUNK_VALUES
            // sum(parameter.numel() for parameter in parameters.values()),
        )
        parts, used = [], set()
        for rows in (
            slice(start, start + size) for start in range(0, len(labels), size)
        ):
            found = _statistics(
                self._twin,
                cut(inputs, rows, len(labels)),
                labels[rows],
                parameters,
                direction,
            )
            none = torch.zeros(
                2, len(labels[rows]), dtype=torch.float64, device=labels.device
            )
            parts.append(torch.stack([found.get(name, none) for name in parameters]))
            used.update(found)
        self.fresh = frozenset(used) not in self._seen
        self._seen.add(frozenset(used))
        shares = torch.cat(parts, dim=2)
        with_dot = lambda sq_norm, dot: (sq_norm, None if direction is None else dot)
        self.shares = {
            (name,): with_dot(*share) for name, share in zip(parameters, shares)
        }
        return *with_dot(*shares.sum(0)), labels


def _twin_of(module, parameters):
    """Return a deep copy in which only `parameters` require a gradient and no activation is in place."""
    held = [
        value
        for part in module.modules()
        for value in (*vars(part).values(), *part.buffers(recurse=False))
    ]
    # torch copies no result of a computation, such as features that a module keeps.
    results = {
        id(x): x.detach().clone()
        for x in held
        if isinstance(x, torch.Tensor) and not x.is_leaf
    }
    try:
        with (
            torch.no_grad()
        ):  # else the parameters of a scripted module are copied as results
            twin = copy.deepcopy(module, results)
    except Exception as error:  # whatever the parts of the module raise
        if is_out_of_memory(error):
            raise
        raise Uncovered(
            {"the module": f"it cannot be copied ({reason(error)})"}
        ) from error
    originals = {id(parameter) for parameter in module.parameters()}
    if kept := [
        name
        for name, parameter in twin.named_parameters()
        if id(parameter) in originals
    ]:
        raise Uncovered(
            dict.fromkeys(kept, "a deep copy of the module still has the original")
        )
    for part in twin.modules():
        if vars(part).get("inplace") is True:
            part.inplace = False
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(name in parameters)
    return twin


def _statistics(twin, inputs, labels, originals, direction):
    """Return (sq_norm, dot), float64 (2, n), of every parameter that the losses depend on, by its name.

    The samples' gradients of each have to add up to autograd's, so that no use of it is missing.
    """
    parameters = {
        name: p for name, p in twin.module.named_parameters() if name in originals
    }
    layers = _layers_of(twin.module, parameters)
    tape = _Tape(layers, direction, len(labels))
    with output_hooks(
        {name: layer.module for name, layer in layers.items()}, tape.record
    ):
        outputs = twin.forward(inputs)
    seeds, scale = seeds_of(twin, outputs, labels)
    seeds = [(tensor, gradient) for tensor, gradient in seeds if tensor.requires_grad]
    if not seeds:
        return {}
    ends = [*parameters.values(), *(originals[name] for name in parameters)]
    tensors, gradients = zip(*seeds)
    gradients = differentiate(tensors, ends, gradients, allow_unused=True)
    gradients, leaked = gradients[: len(parameters)], gradients[len(parameters) :]
    n_owners = Counter(
        full for layer in layers.values() for full in layer.names.values()
    )
    problems = {}
    for full, gradient, leak in zip(parameters, gradients, leaked):
        if leak is not None:
            problems[full] = "a deep copy of the module still uses the original"
        elif gradient is not None:
            problems[full] = (
                "shared between modules"
                if n_owners[full] > 1
                else tape.problem(full, gradient)
            )
    if any(problems.values()):
        raise Uncovered(
            {full: problem for full, problem in problems.items() if problem}
        )
    return {
        full: torch.stack(
            [tape.shares[full].sq_norm / scale / scale, tape.shares[full].dot / scale]
        )
        for full in problems
    }


class _Layer(NamedTuple):
    """A module with scored parameters of its own.

    Attributes
    ----------
    module : torch.nn.Module
        The module.
    names : dict of str to str
        Its own name of a parameter ("weight") to the name in the net ("fc.weight").
    """

    module: Any
    names: dict


def _layers_of(module, parameters):
    """Return the modules that `parameters` belong to, by their names in the net."""
    full = {id(parameter): name for name, parameter in parameters.items()}
    owned = {
        name: _Layer(
            part,
            {own: full[id(p)] for own, p in part._parameters.items() if id(p) in full},
        )
        for name, part in module.named_modules()
    }
    return {name: layer for name, layer in owned.items() if layer.names}


class _Share(NamedTuple):
    """A parameter's part of the statistics, as the gradients are scaled.

    Attributes
    ----------
    sq_norm, dot : float64 tensor (n,)
        Per sample; the dot is zero without a direction.
    total : tensor
        The sum of the samples' gradients.
    eps : float
        Precision of what the layer computes.
    """

    sq_norm: torch.Tensor
    dot: torch.Tensor
    total: torch.Tensor
    eps: float


class _Tape:
    """Folds the layers' per-sample gradients into shares during the backward pass.

    Parameters
    ----------
    layers : dict of str to _Layer
        By the modules' names in the net.
    direction : dict of str to tensor, or None
        By the parameters' names in the net.
    n_samples : int
        Length of the mini-batch.

    Attributes
    ----------
    shares : dict of str to _Share
        By the parameters' names in the net.
    """

    def __init__(self, layers, direction, n_samples):
        from backpack.extensions import BatchGrad  # not for those who never ask for it

        self.shares = {}
        self._layers, self._direction, self._n_samples = layers, direction, n_samples
        self._names = {
            full: name
            for name, layer in layers.items()
            for full in layer.names.values()
        }
        self._problems = {name: _limit(layer.module) for name, layer in layers.items()}
        self._batch_grad, self._ran = BatchGrad(), set()

    def record(self, name, inputs, output):
        """Forward hook: watch the output, of several the first."""
        tensor = next(iter(tensors_in(output)), None)
        if tensor is not None and tensor.requires_grad:
            values = tensor.detach()  # its own hook would keep the output alive
            tensor.register_hook(
                lambda gradient: self._collect(name, inputs, values, gradient)
            )

    def problem(self, full, gradient):
        """Return why a parameter has no share, or none that adds up to `gradient`; None if it has."""
        name = self._names[full]
        problem = self._problems[name]
        if not problem and not _adds_up(self.shares.get(full), gradient):
            problem = "BackPACK sees a part of its gradient only (is it used functionally, or by a second input or output?)"
        return (
            problem
            and f"{name or 'the module itself'} ({type(self._layers[name].module).__name__}): {problem}"
        )

    def _collect(self, name, inputs, output, gradient):
        if self._problems[name]:
            return
        inputs = tensors_in(arguments(self._layers[name].module, *inputs))[0]
        if name in self._ran:
            self._problems[name] = "BackPACK keeps the last of its several uses only"
        elif not all(x.ndim and len(x) == self._n_samples for x in (inputs, gradient)):
            self._problems[name] = "its first axis is not the sample"
        else:
            self._ran.add(name)
            self._fold(name, inputs, output, gradient)

    def _fold(self, name, inputs, output, gradient):
        layer, names = self._layers[name]
        try:
            with torch.no_grad(), torch.autocast(gradient.device.type, enabled=False):
                rows = _per_sample(
                    self._batch_grad, layer, list(names), inputs, output, gradient
                )
        except Exception as error:  # whatever BackPACK raises
            if is_out_of_memory(error):
                raise
            self._problems[name] = f"BackPACK's rule fails ({reason(error)})"
            return
        for own, full in names.items():
            g = rows.pop(own)
            total, g = g.sum(0), g.reshape(len(g), -1).double()
            dot = (
                torch.zeros_like(g[:, 0])
                if self._direction is None
                else g @ self._direction[full].flatten().double()
            )
            self.shares[full] = _Share(
                torch.einsum("np,np->n", g, g), dot, total, _precision(gradient)
            )


def _per_sample(extension, layer, names, inputs, output, gradient):
    """Return BackPACK's gradients (n, *shape) of a layer's parameters, in float32 at least."""
    from backpack.core.derivatives.convnd import weight_jac_t_save_memory

    # Else BackPACK repeats every channel of the output for every channel of the input.
    saves = type(layer) in (nn.Conv1d, nn.Conv2d) and layer.padding != "valid"
    dtype = torch.promote_types(getattr(layer, names[0]).dtype, torch.float32)
    layer.input0 = inputs.detach().to(dtype) if inputs.is_floating_point() else inputs
    layer.output = output.to(dtype)
    try:
        with weight_jac_t_save_memory(saves):
            extension(layer, (None,), (gradient.to(dtype),))
        return {
            name: vars(getattr(layer, name)).pop(extension.savefield) for name in names
        }
    finally:
        del layer.input0, layer.output


def _limit(layer):
    """Return why BackPACK's rule does not hold for a layer, or None.

    A subclass, a parametrized or a re-wired layer computes something else than its class says.
    """
    broken = [
        text
        for text, holds in _CONDITIONS.get(type(layer), {}).items()
        if not holds(layer)
    ]
    if broken:
        return f"BackPACK's rule needs {', '.join(broken)}"
    is_plain = (
        type(layer) in _CONDITIONS
        and "forward" not in vars(layer)
        and set(layer._parameters) <= _OWN_NAMES
    )
    return None if is_plain else "BackPACK has no rule for it"


def _adds_up(share, gradient):
    """Tell whether a parameter's per-sample gradients add up to autograd's gradient of the summed losses."""
    if share is None:
        return False
    missing = torch.linalg.vector_norm(share.total - gradient, dtype=torch.float64)
    tolerance = max(share.eps, torch.finfo(gradient.dtype).eps) ** 0.5
    return (
        not missing > tolerance * share.sq_norm.sqrt().sum() + _FLOOR
    )  # NaN is a score that others report


def _precision(gradient):
    is_tf32 = gradient.is_cuda and gradient.dtype == torch.float32
    return _TF32_EPS if is_tf32 else torch.finfo(gradient.dtype).eps
