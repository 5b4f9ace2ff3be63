"""One run of a net on a few samples with its parameters in the autograd graph.

What is read from it, see `_cover` and `_mixing`, are nodes, and paths between them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from skdal.gradients._functional import FunctionalLinears
from skdal.gradients._graph import has_custom_function, nodes_of, walk
from skdal.gradients._hooks import has_sample_axis, output_hooks
from skdal.gradients._minibatch import MiniBatch
from skdal.gradients._parameters import owners_of
from skdal.utils import tree_leaves


class ModuleCall(NamedTuple):
    """A call of a module.

    Attributes
    ----------
    name : str
        The module's.
    begins, ends : set of nodes
        Those of its inputs and outputs.
    inputs, outputs : list of tensor
        What it got and gave.
    axis : int or None
        Which axis of input and output is the sample, if one is.
    """

    name: str
    begins: set
    ends: set
    inputs: list
    outputs: list
    axis: int | None


class LinearCall(NamedTuple):
    """A call of `torch.nn.functional.linear`; see `FunctionalLinears`."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    x: torch.Tensor
    output: torch.Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """What one run showed.

    Attributes
    ----------
    batch : MiniBatch
        The samples.
    parameters : dict of str to Parameter
        Those that are scored.
    modules : dict of str to torch.nn.Module
        All.
    owners : dict of str to list of str
        Parameter name to the names of the modules that own it.
    calls : list of ModuleCall
        In the order in which they ended.
    linear_calls : list of LinearCall
        On weights of the module's own.
    hidden : set of str
        Names of modules that ran without a graph.
    has_attention : bool
        Whether the net calls torch's attention.
    outputs, losses : tensor (n, K), tensor (n,)
        What the net gave.
    uses : dict of int to list of Use
        The uses of leaves that the losses depend on, by id.
    nodes : set of graph nodes
        What the losses depend on.
    """

    batch: MiniBatch
    parameters: dict
    modules: dict
    owners: dict
    calls: list
    linear_calls: list
    hidden: set
    has_attention: bool
    outputs: Any
    losses: Any
    uses: dict
    nodes: set

    @property
    def n_samples(self):
        """How many ran."""
        return len(self.batch)

    def uses_of(self, name):
        """Return all uses of a parameter that the losses depend on."""
        return self.uses.get(id(self.parameters[name]), [])

    def calls_of(self, module_name):
        """Return the calls of a module that the losses depend on."""
        return [
            call
            for call in self.calls
            if call.name == module_name and call.ends & self.nodes
        ]

    def linear_calls_of(self, name):
        """Return the calls of `linear` on a parameter that the losses depend on."""
        parameter = self.parameters[name]
        return [
            call
            for call in self.linear_calls
            if (call.weight is parameter or call.bias is parameter)
            and call.output.grad_fn in self.nodes
        ]

    def is_hidden(self, module_name):
        """Tell whether a module may have run inside a custom autograd function.

        Such a function hides its graph.
        """
        return module_name in self.hidden and has_custom_function(self.nodes)


def traced(model, batch, parameters):
    """Run a net on a few samples and return the Trace."""
    modules = dict(model.module.named_modules())
    recorder = _Recorder(modules, len(batch), model.module.parameters())
    functions = FunctionalLinears(recorder.record_linear)
    with output_hooks(modules, recorder.record), functions:
        outputs = model.forward(batch.inputs)
        labels = batch.labels
        if labels is None:
            labels = outputs.detach().argmax(1)
        losses = model.losses(outputs, labels)
    # What a get_loss of the net's own adds beside the outputs, such as a penalty, is no part
    # of a sample's loss.
    pairs = model.output_gradients(outputs, labels)
    uses, nodes = walk(nodes_of([tensor for tensor, _ in pairs]))
    return Trace(
        batch,
        parameters,
        modules,
        owners_of(modules, parameters),
        recorder.calls,
        recorder.linear_calls,
        recorder.hidden,
        functions.met_attention,
        outputs,
        losses,
        uses,
        nodes,
    )


class _Recorder:
    """Records calls while a net runs."""

    def __init__(self, modules, n_samples, parameters):
        self.calls = []
        self.linear_calls = []
        self.hidden = set()
        self._modules = modules
        self._n_samples = n_samples
        self._leaves = {id(parameter) for parameter in parameters}

    def record(self, name, inputs, output):
        if not torch.is_grad_enabled():
            self.hidden.add(name)
            return
        axis = sample_axis(self._modules[name])
        for values in (inputs, output):
            if axis is not None and not has_sample_axis(values, axis, self._n_samples):
                axis = None
        call = ModuleCall(
            name,
            set(nodes_of(inputs)),
            set(nodes_of(output)),
            tree_leaves(inputs),
            tree_leaves(output),
            axis,
        )
        self.calls.append(call)

    def record_linear(self, *call):
        weight = call[0]
        # A weight that is computed anew is another one in the next pass.
        if id(weight) in self._leaves:
            self.linear_calls.append(LinearCall(*call))


def sample_axis(module):
    """Return the axis of a module's input and output that is the sample."""
    return 0 if getattr(module, "batch_first", True) else 1
