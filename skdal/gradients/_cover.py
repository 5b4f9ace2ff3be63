"""Proof of coverage: every use of every scored parameter is accounted for.

A few samples are run once with the parameters in the autograd graph. Every use of a
parameter is an edge of that graph; all edges of one must belong to one of, in this order,

1. calls of the module that owns it, which has a rule ("rule");
2. calls of `torch.nn.functional.linear`, as in attention ("linear");
3. elementwise operations: positions, class tokens, layer scales ("direct");
4. calls of the smallest module that holds them all, and is handled by itself ("alone").

A net with any other use is refused, and so is one whose samples depend on each other.
"""

from functools import cache, partial
from typing import NamedTuple

from skdal.gradients._direct import rows_apart
from skdal.gradients._graph import walk
from skdal.gradients._hooks import arguments
from skdal.gradients._isolated import Isolated, SampleAxes
from skdal.gradients._mixing import refuse_mixing
from skdal.gradients._tape import Layer
from skdal.gradients._trace import sample_axis, traced
from skdal.gradients._uncovered import Uncovered
from skdal.gradients.rules._linear import functional_linear
from skdal.utils import own_parameters


class Plan(NamedTuple):
    """How the parameters of a net are covered.

    Attributes
    ----------
    layers : dict of str to Layer
        What the tape watches, by name.
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
    linears: dict
    direct: dict
    rows: dict
    has_attention: bool

    @property
    def modules(self):
        """Those layers that are modules, by name."""
        return {
            name: layer.module
            for name, layer in self.layers.items()
            if layer.module is not None
        }

    @property
    def parameter_names(self):
        """The names of each layer's parameters in the net, by layer."""
        return {key: list(layer.names.values()) for key, layer in self.layers.items()}

    @property
    def is_plain(self):
        """Whether no function call has to be caught."""
        return not self.linears and not self.has_attention


class Refusal(NamedTuple):
    """Why nothing covers a parameter."""

    reason: str


class Cover(NamedTuple):
    """What covers a parameter: one of the four kinds, and the module if it is one."""

    kind: str
    module_name: str | None = None


def cover(model, batch, parameters, rulebook):
    """Return the Plan for a net.

    Parameters
    ----------
    model : object
        With `module`, `forward`, `losses`, `output_gradients`.
    batch : MiniBatch
        A few samples.
    parameters : dict of str to Parameter
        Those that are scored.
    rulebook : Rulebook
        The rules; see `rules`.

    Raises
    ------
    Uncovered
        Some parameters have uses that nothing accounts for; all are listed.
    CrossSampleLayerError
        The samples of a mini-batch depend on each other.
    """
    trace = traced(model, batch, parameters)
    apart = cache(partial(rows_apart, trace))
    covers = {
        name: cover_of(name, trace, rulebook, apart)
        for name in parameters
        if trace.uses_of(name)
    }
    problems = {
        name: found.reason
        for name, found in covers.items()
        if isinstance(found, Refusal)
    }
    if problems:
        raise Uncovered(problems)
    plan = _planned(trace, covers, rulebook, apart)
    refuse_mixing(model, trace, plan.parameter_names, plan.linears)
    return plan


# --- what covers a parameter ---------------------------------------------------------------


def cover_of(name, trace, rulebook, apart):
    """Return the Cover of a parameter, or a Refusal.

    Parameters
    ----------
    name : str
        Of a parameter that is used.
    trace : Trace
        Of a few samples.
    rulebook : Rulebook
        The rules.
    apart : callable
        () -> the names of parameters of which operations give each sample its own part.
    """
    owner = trace.owners[name][0]
    module = trace.modules[owner]
    where = f"{owner or 'the module itself'} ({type(module).__name__})"
    if trace.is_hidden(owner):
        return Refusal(f"{where} runs inside a custom autograd function")
    has_rule = rulebook.rule_for(module) is not None and _is_owners_alone(name, trace)
    if has_rule and has_sample_axis(trace.calls_of(owner)):
        return Cover("rule", owner)
    if rulebook.refusal_of:
        return Refusal(f"{where}: {rulebook.refusal_of(module)}")
    if not has_rule and is_linear(trace, name):
        return Cover("linear")
    if name in apart():
        return Cover("direct")
    alone = _isolating_module(name, trace)
    if alone:
        return Cover("alone", alone)
    if has_rule:
        return Refusal(f"the first axis in {where} is not the sample")
    return Refusal(
        f"no rule for {where}, and no module but the whole holds all that it is used for"
    )


def _is_owners_alone(name, trace):
    """Tell whether calls of one module, which has a parameter once, are all uses of it."""
    owner, *others = trace.owners[name]
    own = own_parameters(trace.modules[owner]).values()
    is_once = sum(p is trace.parameters[name] for p in own) == 1
    if others or not is_once:
        return False
    return is_inside(trace.uses_of(name), trace.calls_of(owner))


def is_inside(uses, calls):
    """Tell whether every one of some uses is within calls: between their ends and begins."""
    inside = set()
    for call in calls:
        _, nodes = walk(call.ends, stop=call.begins)
        inside |= nodes
    return all(use.node in inside for use in uses)


def has_sample_axis(calls):
    """Tell whether the sample is an axis of all inputs and outputs of calls."""
    return all(call.axis is not None for call in calls)


def is_linear(trace, name):
    """Tell whether calls of `linear` on a parameter are all uses of it."""
    parameter = trace.parameters[name]
    calls = trace.linear_calls_of(name)
    if not 0 < len(calls) == len(trace.uses_of(name)):
        return False
    if any(len(call.x) % trace.n_samples for call in calls):
        return False
    weight = calls[0].weight
    if parameter is not calls[0].bias:
        return all(call.weight is parameter for call in calls)
    # The gradient of a bias is summed over all calls of its weight, so each must have it, and
    # no other.
    of_weight = [call for call in trace.linear_calls if call.weight is weight]
    is_theirs = all(call.bias is parameter for call in of_weight)
    return len(of_weight) == len(calls) and is_theirs


def _isolating_module(name, trace):
    """Return the smallest module whose calls are all uses of a parameter, or ""."""
    module_name = trace.owners[name][0]
    while module_name:
        calls = trace.calls_of(module_name)
        if is_inside(trace.uses_of(name), calls) and has_sample_axis(calls):
            break
        module_name = module_name.rpartition(".")[0]
    return module_name


# --- the plan ------------------------------------------------------------------------------


def _planned(trace, covers, rulebook, apart):
    layers = {}
    linears = {}
    direct = {}
    for name, (kind, module_name) in covers.items():
        if kind == "direct":
            direct[name] = trace.parameters[name]
        elif kind == "linear":
            _add_linear(layers, linears, trace, name)
        else:
            key = module_name if kind == "rule" else f"{module_name} by itself"
            if key not in layers:
                make = _ruled if kind == "rule" else _alone
                names = _own_names(module_name, trace, covers, kind)
                layers[key] = make(trace, module_name, names, rulebook)
    rows = {name: apart()[name] for name in direct}
    return Plan(layers, linears, direct, rows, trace.has_attention)


def _own_names(module_name, trace, covers, kind):
    """Return a layer's own names of the parameters that it covers, to those in the net."""
    named = trace.modules[module_name].named_parameters(remove_duplicate=False)
    own_names = {}
    for own, parameter in named:
        own_names.setdefault(id(parameter), own)
    return {
        own_names[id(trace.parameters[name])]: name
        for name, covering in covers.items()
        if covering == Cover(kind, module_name)
    }


def _ruled(trace, module_name, names, rulebook):
    module = trace.modules[module_name]
    rule_of_dot = rulebook.rule_of_dot_for(module)
    return Layer(
        "rule",
        module,
        names,
        _by_rule(rulebook.rule_for(module)),
        sample_axis(module),
        rule_of_dot and _by_rule(rule_of_dot),
    )


def _alone(trace, module_name, names, rulebook):
    module = trace.modules[module_name]
    parameters = {own: trace.parameters[name] for own, name in names.items()}
    axes = SampleAxes(sample_axis(module))
    for call in trace.calls_of(module_name):
        axes.of("in", call.inputs, trace.n_samples)
        axes.of("out", call.outputs, trace.n_samples)
    statistics = Isolated(module, parameters, axes)
    return Layer("alone", module, names, statistics, axes.first)


def _add_linear(layers, linears, trace, name):
    """Add what covers a parameter by calls of `linear`: one layer for each weight."""
    for call in trace.linear_calls_of(name):
        key = linears.setdefault(id(call.weight), f"linear {name}")
        layer = layers.setdefault(
            key, Layer("linear", None, {}, functional_linear, None)
        )
        is_weight = trace.parameters[name] is call.weight
        layer.names["weight" if is_weight else "bias"] = name


def _by_rule(rule):
    """Return a rule as a function of what the tape records: an input is (args, kwargs)."""

    def statistics(layer, inputs, output_grads, direction):
        inputs = [arguments(layer, args, kwargs) for args, kwargs in inputs]
        return rule(layer, inputs, output_grads, direction)

    return statistics
