"""Joins in traced code whose inputs no longer fit: one input resampled to the size of another."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import nn
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from atrous.conversion.edits import Edit, resampled_edit
from atrous.conversion.plan import Plan, Resampled
from atrous.network import Node as Layer
from atrous.network.ops import Concat, Elementwise
from atrous.refusal import Refusal
from atrous.writers.torch.layers import Resample, ResampleList
from atrous.writers.torch.recoded import module_call

__all__ = ["Join", "edit_joins", "joins_of"]

_SIZES = {"size", "dim", "ndimension", "numel", "stride", "element_size", "nelement"}
_FACTS = {"shape", "ndim", "dtype", "device", "itemsize", "layout", "requires_grad"}
_ALIASES = {
    "cat": "concat",
    "concatenate": "concat",
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
}
_ORDER = ("input", "tensors", "other")
_IN_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Join:
    """A join of a network: the maps that it reads, in order, and those that are resampled."""

    layer: Layer
    inputs: tuple[str, ...]
    resampled: tuple[Resampled, ...] = ()

    @property
    def label(self) -> str:
        """What kind of join it is; `concat`, or an elementwise operation."""
        op = self.layer.op
        return op.label if isinstance(op, Elementwise) else "concat"

    @property
    def places(self) -> dict[int, int]:
        """The place of each input that is resampled, and of the one that sets the size."""
        return {
            place: self.inputs.index(one.other)
            for one in self.resampled
            for place, name in enumerate(self.inputs)
            if name == one.source
        }


def joins_of(plan: Plan) -> list[Join]:
    """All joins of the reference in their order; none where the plan resamples nothing."""
    if not plan.resampled:
        return []
    found = []
    for node in plan.reference.nodes:
        inputs = tuple(x for x in node.inputs if not plan.reference.tensor(x).constant)
        if isinstance(node.op, Elementwise | Concat) and len(inputs) > 1:
            held = tuple(one for one in plan.resampled if one.join == node.name)
            found.append(Join(node, inputs, held))
    return found


def edit_joins(
    graph: Graph, joins: Sequence[Join], extra: dict[str, nn.Module], edits: list[Edit]
) -> Refusal | None:
    """Resamples inputs of the joins in a traced graph, or says why that cannot be.

    `joins` are those of the network that this code performs, in their order, as often as it runs.
    A map is resampled by a module `atrous_resample*`, at run time, to the size of the other map. A
    join in place on what is resampled is no longer in place: what is resampled is a new tensor.
    """
    calls = _calls(graph)
    for label in dict.fromkeys(join.label for join in joins if join.resampled):
        here, there = [join for join in joins if join.label == label], calls.get(label, [])
        first = next(join for join in here if join.resampled)
        if not there or len(here) % len(there):
            return Refusal(
                "resample",
                first.layer.name,
                f"the code around it calls {label} {len(there)} times on maps where the network "
                f"has {len(here)} such joins, so its inputs cannot be resampled; join maps by +, "
                "torch.add or torch.cat in the code of a module, or convert the part before it "
                "(outputs=...).",
            )
        for index, call in enumerate(there):
            runs = here[index :: len(there)]
            refusal = _edit_join(graph, call, runs, extra)
            if refusal is not None:
                return refusal
            edits += [resampled_edit(one) for join in runs for one in join.resampled]
    return None


def _edit_join(
    graph: Graph, call: Node, runs: Sequence[Join], extra: dict[str, nn.Module]
) -> Refusal | None:
    """One call, which performs each of the joins in turn."""
    places: dict[int, int] = {}
    for join in runs:
        places.update(join.places)
    if not places:
        return None
    resampled = [one for join in runs for one in join.resampled]
    layer = resampled[0].join
    operands = _operands(call)
    listed = _takes_list(call)
    if any(
        len(join.inputs) != (len(join.layer.inputs) if listed else len(operands)) for join in runs
    ):
        return Refusal(
            "resample", layer, "its inputs in the network are not those in the model's code."
        )
    if any(other in places for other in places.values()) or any(
        places[place] != other for join in runs for place, other in join.places.items()
    ):
        return Refusal(
            "calls",
            layer,
            "its code runs several times, and what must be resampled differs; give each run a "
            "module of its own.",
        )
    rank = len(resampled[0].sizes)
    if listed:
        each = ResampleList(rank, places)
        _swap(call, {0: module_call(graph, call, (operands[0],), each, "resample", extra)})
        return None
    made: dict[tuple[Node, Node], Node] = {}
    swapped: dict[int, Node] = {}
    for place, other in places.items():
        pair = operands[place], operands[other]
        if pair not in made:
            made[pair] = module_call(graph, call, pair, Resample(rank), "resample", extra)
        swapped[place] = made[pair]
    old = operands[0]
    _swap(call, swapped)
    if 0 in places and _out_of_place(call):
        # Whoever reads the old tensor after this reads what the join made of it.
        later = _after(graph, call)
        old.replace_all_uses_with(call, delete_user_cb=later.__contains__)
    return None


def _calls(graph: Graph) -> dict[str, list[Node]]:
    """The calls that join two maps or more, by what they do."""
    live: set[Node] = set()
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.op in ("placeholder", "call_module"):
            live.add(node)
        if node.op not in ("call_function", "call_method") or _asks(node):
            continue
        if any(source in live for source in node.all_input_nodes):
            live.add(node)
        if sum(operand in live for operand in _operands(node)) > 1 or _takes_list(node):
            found.setdefault(_label(node), []).append(node)
    return found


def _takes_list(node: Node) -> bool:
    """Whether a call joins a list that comes from elsewhere, of whatever length."""
    given = node.args[0] if node.args else node.kwargs.get("tensors")
    return _label(node) == "concat" and isinstance(given, Node)


def _asks(node: Node) -> bool:
    """True for a call that asks a tensor for its size or type."""
    if node.op == "call_method":
        return node.target in _SIZES
    return node.target is builtins.getattr and node.args[1] in _FACTS


def _label(node: Node) -> str:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.target in _IN_PLACE:
        name = _IN_PLACE[node.target].__name__
    name = str(name).rstrip("_")
    return _ALIASES.get(name, name)


def _operands(node: Node) -> list[Node]:
    """The nodes that a call reads, one for each time."""
    found: list[Node] = []

    def at(operand: Node) -> Node:
        found.append(operand)
        return operand

    map_arg((node.args, _ordered(node.kwargs)), at)
    return found


def _swap(call: Node, swapped: Mapping[int, Node]) -> None:
    places = count()

    def at(node: Node) -> Node:
        return swapped.get(next(places), node)

    args: Any = map_arg(call.args, at)
    kwargs: Any = map_arg(_ordered(call.kwargs), at)
    call.args, call.kwargs = args, kwargs


def _ordered(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords with operands in the order in which they are joined."""
    held = sorted(kwargs, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    return {name: kwargs[name] for name in held}


def _out_of_place(call: Node) -> bool:
    """Makes a call that writes into its first operand one that does not; False for any other."""
    if call.target in _IN_PLACE:
        call.target = _IN_PLACE[call.target]
        return True
    name = call.target if isinstance(call.target, str) else ""
    if call.op == "call_method" and name.endswith("_") and not name.endswith("__"):
        call.target = name.rstrip("_")
        return True
    return False


def _after(graph: Graph, call: Node) -> set[Node]:
    nodes = list(graph.nodes)
    return set(nodes[nodes.index(call) + 1 :])
