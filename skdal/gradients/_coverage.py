"""Proof of coverage: every use of every scored parameter is accounted for, or the net is refused.

A few samples are run once with the parameters in the autograd graph. Every use of a parameter is an
edge of that graph; all edges of one must belong to one of, in this order,

1. calls of the module that owns it, which has a rule;
2. calls of `torch.nn.functional.linear` (attention);
3. elementwise operations (positions, class tokens, layer scales);
4. calls of the smallest module that holds them all, which is then handled by itself.

And the loss of the first sample must not depend on what the layers give for the others.
"""

from functools import cached_property, partial
from typing import Any, NamedTuple

import torch

from skdal.exceptions import CrossSampleLayerError
from skdal.gradients._backward import differentiate
from skdal.gradients._direct import DirectUses, direct_uses, is_direct
from skdal.gradients._functional import (
    FunctionalLinears,
    functional_linear,
    sample_first,
)
from skdal.gradients._graph import has_custom_function, nodes_of, walk
from skdal.gradients._isolated import Isolated, SampleAxes
from skdal.gradients._loop import cut
from skdal.gradients._parameters import owners_of
from skdal.gradients._tape import (
    Layer,
    Uncovered,
    arguments,
    has_sample_axis,
    output_hooks,
    tensors_in,
)
from skdal.gradients.rules import DOTS, inner_products, rule_for


class Plan(NamedTuple):
    """How the parameters of a net are covered.

    Attributes
    ----------
    layers : dict of str to Layer
        What the tape watches, by name.
    modules : dict of str to torch.nn.Module
        Those layers that are modules.
    linears : dict of int to str
        Id of a weight that is used by `torch.nn.functional.linear` to the name of its layer.
    direct : dict of str to Parameter
        Parameters used by elementwise operations.
    rows : dict of str to set of float
        How many rows a sample has in the uses of each of these.
    has_attention : bool
        Whether the net calls torch's attention.
    """

    layers: dict
    modules: dict
    linears: dict
    direct: dict
    rows: dict
    has_attention: bool

    @property
    def is_plain(self):
        """Whether no function call has to be caught."""
        return not self.linears and not self.has_attention


def cover(model, inputs, labels, parameters):
    """Return the Plan for a net.

    Raises
    ------
    Uncovered
        Some parameters have uses that nothing accounts for; all are listed.
    CrossSampleLayerError
        The samples of a mini-batch depend on each other.
    """
    trace = _Trace(model, inputs, labels, parameters)
    plan, problems = Plan({}, {}, {}, {}, {}, trace.has_attention), {}
    for name in parameters:
        if trace.uses_of(name) and (reason := _cover_parameter(name, trace, plan)):
            problems[name] = reason
    if problems:
        raise Uncovered(problems)
    trace.refuse_mixing(plan)
    return plan


def _cover_parameter(name, trace, plan):
    """Add what covers a parameter to the plan, or return why nothing does."""
    owner = trace.owners[name][0]
    module = trace.modules[owner]
    where = f"{owner or 'the module itself'} ({type(module).__name__})"
    if trace.is_hidden(owner):
        return f"{where} runs inside a custom autograd function"
    is_once = (
        len(trace.owners[name]) == 1 and _names_in(module, trace.parameters[name]) == 1
    )
    has_rule = is_once and rule_for(module) and trace.is_inside(name, owner)
    if has_rule and trace.has_sample_axis(owner):
        _add(plan, trace, owner, name, partial(_by_rule, rule_for(module)))
    elif not has_rule and _is_linear(name, trace):
        _add_linear(plan, trace, name)
    elif name in trace.apart:
        plan.direct[name], plan.rows[name] = trace.parameters[name], trace.apart[name]
    elif (alone := _isolating_module(name, trace)) is not None:
        _add(plan, trace, alone, name, None)
    elif has_rule:
        return f"the first axis in {where} is not the sample"
    else:
        return f"no rule for {where}, and no module but the whole holds all that it is used for"
    return None


def _names_in(module, parameter):
    return sum(p is parameter for p in module._parameters.values())


def _is_linear(name, trace):
    calls, parameter = trace.linear_calls_of(name), trace.parameters[name]
    if not 0 < len(calls) == len(trace.uses_of(name)) or any(
        len(call.x) % trace.n_samples for call in calls
    ):
        return False
    if parameter is not calls[0].bias:
        return all(call.weight is parameter for call in calls)
    # The gradient of a bias is summed over all calls of its weight, so each must have it, and no other.
    of_weight = trace.linear_calls_with(calls[0].weight)
    return len(of_weight) == len(calls) and all(
        call.bias is parameter for call in of_weight
    )


def _isolating_module(name, trace):
    module_name = trace.owners[name][0]
    while module_name and not (
        trace.is_inside(name, module_name) and trace.has_sample_axis(module_name)
    ):
        module_name = module_name.rpartition(".")[0]
    return module_name or None


def _add(plan, trace, module_name, name, statistics):
    """Add a parameter to a module's layer; without `statistics` the module is handled by itself."""
    module = trace.modules[module_name]
    key = module_name if statistics else f"{module_name} by itself"
    if key not in plan.layers:
        axis = sample_axis(module)
        dots = (
            partial(_by_rule, inner_products)
            if statistics and type(module) in DOTS
            else None
        )
        plan.layers[key] = Layer(
            module,
            {},
            statistics or Isolated(module, {}, trace.axes_of(module_name)),
            axis,
            dots,
        )
        plan.modules[key] = module
    own = next(
        o
        for o, p in module.named_parameters(remove_duplicate=False)
        if p is trace.parameters[name]
    )
    plan.layers[key].names[own] = name
    if not statistics:
        plan.layers[key].statistics.parameters[own] = trace.parameters[name]


def _add_linear(plan, trace, name):
    for call in trace.linear_calls_of(name):
        key = plan.linears.setdefault(id(call.weight), f"linear {name}")
        layer = plan.layers.setdefault(key, Layer(None, {}, functional_linear, None))
        layer.names["weight" if trace.parameters[name] is call.weight else "bias"] = (
            name
        )


def _by_rule(rule, layer, inputs, output_grads, direction):
    return rule(
        layer, [arguments(layer, *call) for call in inputs], output_grads, direction
    )


def sample_axis(module):
    """Return the axis of a module's input and output that is the sample."""
    return 0 if getattr(module, "batch_first", True) else 1


class _ModuleCall(NamedTuple):
    """A call of a module.

    Attributes
    ----------
    begins, ends : set of nodes
        Those of its inputs and outputs.
    inputs, outputs : list of tensor
        What it got and gave.
    axis : int or None
        Which axis of input and output is the sample, if one is.
    """

    begins: set
    ends: set
    inputs: list
    outputs: list
    axis: Any


class _LinearCall(NamedTuple):
    """A call of `torch.nn.functional.linear`; see `FunctionalLinears`."""

    weight: torch.Tensor
    bias: torch.Tensor
    x: torch.Tensor
    output: torch.Tensor


class _Trace:
    """One run of a net on a few samples, with its parameters in the graph.

    Attributes
    ----------
    modules : dict of str to torch.nn.Module
        All.
    owners : dict of str to list of str
        Parameter name to the names of the modules that own it.
    has_attention : bool
        Whether the net calls torch's attention.
    """

    def __init__(self, model, inputs, labels, parameters):
        self.model, self.inputs, self.parameters = model, inputs, parameters
        self.n_samples = len(tensors_in(inputs)[0])
        self.modules = dict(model.module.named_modules())
        self.owners = owners_of(self.modules, parameters)
        self._leaves = {id(parameter) for parameter in model.module.parameters()}
        self._calls, self._order, self._linear_calls, self._hidden = {}, [], [], set()
        functions = FunctionalLinears(self._record_linear)
        with output_hooks(self.modules, self._record), functions:
            self._outputs = model.forward(inputs)
            labels = self._outputs.detach().argmax(1) if labels is None else labels
            self._losses = model.losses(self._outputs, labels)
        self.has_attention = functions.met_attention
        # What a get_loss of the net's own adds beside the outputs, such as a penalty, is no part of a sample.
        self._uses, self._nodes = walk(
            nodes_of([x for x, _ in model.output_gradients(self._outputs, labels)])
        )

    def _record(self, name, inputs, output):
        if not torch.is_grad_enabled():
            self._hidden.add(name)
            return
        axis = sample_axis(self.modules[name])
        axis = (
            axis
            if all(has_sample_axis(x, axis, self.n_samples) for x in (inputs, output))
            else None
        )
        begins, ends = set(nodes_of(inputs)), set(nodes_of(output))
        call = _ModuleCall(begins, ends, tensors_in(inputs), tensors_in(output), axis)
        self._calls.setdefault(name, []).append(call)
        if (
            ".parametrizations." not in f".{name}"
        ):  # these make weights, which have no samples
            self._order.append((name, call))

    def _record_linear(self, *call):
        if (
            id(call[0]) in self._leaves
        ):  # a weight that is computed anew is another one in the next pass
            self._linear_calls.append(_LinearCall(*call))

    def uses_of(self, name):
        """Return all uses of a parameter that the losses depend on."""
        return self._uses.get(id(self.parameters[name]), [])

    def linear_calls_of(self, name):
        """Return the calls of `linear` on a parameter that the losses depend on."""
        parameter = self.parameters[name]
        return [
            call
            for call in self._linear_calls
            if (call.weight is parameter or call.bias is parameter)
            and call.output.grad_fn in self._nodes
        ]

    def linear_calls_with(self, weight):
        """Return all calls of `linear` on a weight."""
        return [call for call in self._linear_calls if call.weight is weight]

    def is_hidden(self, module_name):
        """Tell whether a module may have run inside a custom autograd function, which hides its graph."""
        return module_name in self._hidden and has_custom_function(self._nodes)

    def is_inside(self, name, module_name):
        """Tell whether every use of a parameter is within calls of a module."""
        inside = set()
        for call in self._reaching(module_name):
            inside |= walk(call.ends, stop=call.begins)[1]
        return all(use.node in inside for use in self.uses_of(name))

    def has_sample_axis(self, module_name):
        """Tell whether the sample is an axis of all inputs and outputs of a module."""
        return all(call.axis is not None for call in self._reaching(module_name))

    def axes_of(self, module_name):
        """Return the SampleAxes of a module."""
        axes = SampleAxes(sample_axis(self.modules[module_name]))
        for call in self._reaching(module_name):
            axes.of("in", call.inputs, self.n_samples)
            axes.of("out", call.outputs, self.n_samples)
        return axes

    def _reaching(self, module_name):
        return [
            call for call in self._calls.get(module_name, []) if call.ends & self._nodes
        ]

    @cached_property
    def apart(self):
        """By name, the rows a sample of parameters whose uses are elementwise and give every sample its own part."""
        uses = direct_uses(self._nodes)
        direct = {
            name: p
            for name, p in self.parameters.items()
            if is_direct(uses.get(id(p), []))
        }
        if not direct:
            return {}
        collected = DirectUses(direct, [(self._losses, None)], self)
        differentiate(
            self._losses[0], list(direct.values()), retain_graph=True, allow_unused=True
        )
        collected.remove()
        own = [
            name
            for name, gradient in collected.gradients.items()
            if bool((gradient[1:] == 0).all())
        ]
        return {
            name: collected.rows[name] for name in own if name not in collected.problems
        }

    def refuse_mixing(self, plan):
        """Raise if the first or last sample's loss depends on what some layer gives for another sample.

        Raises
        ------
        CrossSampleLayerError
            Its outputs are others if it is run alone: the net mixes samples.
        Uncovered
            They are not: a layer has its samples along another axis than it seems.
        """
        for sample in sorted({0, self.n_samples - 1}) if self.n_samples > 1 else ():
            mixed = [
                layer
                for layer, others in self._parts_of_others(plan, sample)
                if bool((others.nan_to_num(nan=0.0) != 0).any())
            ]
            if mixed:
                self._refuse(plan, mixed, sample)

    def _refuse(self, plan, mixed, sample):
        if self._is_the_same_alone(sample):
            names = [
                n
                for layer in mixed
                if layer in plan.layers
                for n in plan.layers[layer].names.values()
            ]
            raise Uncovered(
                dict.fromkeys(names or mixed, "the first axis is not the sample")
            )
        raise CrossSampleLayerError(
            f"the module mixes the samples of a mini-batch after {_described(mixed[-1], self.modules)}"
            f"{self._next_unmixed(mixed[-1])}, so that no sample has a gradient of its own."
        )

    def _parts_of_others(self, plan, sample):
        """Return, by layer, the gradient of a sample's loss with respect to what the layer gave for the others."""
        watched = [
            (name, call.outputs[0], call)
            for name, call in self._order
            if call.outputs and call.axis is not None
        ]
        watched += [
            (plan.linears[id(call.weight)], call.output, call)
            for call in self._linear_calls
            if id(call.weight) in plan.linears
        ]
        watched = [row for row in watched if row[1].requires_grad]
        outputs = [row[1] for row in watched]
        grads = differentiate(
            self._losses[sample], outputs, retain_graph=True, allow_unused=True
        )
        others = [i for i in range(self.n_samples) if i != sample]
        parts = []
        for (name, _, call), grad in zip(watched, grads):
            if grad is None:
                continue
            if isinstance(call, _LinearCall):
                grad = sample_first(grad, self.n_samples)
            parts.append((name, grad.movedim(getattr(call, "axis", 0), 0)[others]))
        return parts

    def _is_the_same_alone(self, sample):
        with torch.no_grad():
            alone = self.model.forward(
                cut(self.inputs, slice(sample, sample + 1), self.n_samples)
            )[0]
        together = self._outputs[sample].detach()
        return bool(
            torch.linalg.norm(alone - together) <= 1e-3 * torch.linalg.norm(together)
        )

    def _next_unmixed(self, name):
        names = [n for n, _ in self._order]
        after = names[len(names) - names[::-1].index(name) :] if name in names else []
        leaves = [n for n in after if not list(self.modules[n].children())]
        return (
            f" and no later than in {_described(leaves[0], self.modules)}"
            if leaves
            else ""
        )


def _described(name, modules):
    return f"{name} ({type(modules[name]).__name__})" if name in modules else name
