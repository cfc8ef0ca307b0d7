"""A traced graph without what does nothing, and in the few forms that the other passes look for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

__all__ = [
    "clean",
    "constants_first",
    "constants_of",
    "drop_unused",
    "is_call",
    "merged",
    "replaced",
    "target_of",
]

_aten: Any = torch.ops.aten
_VIEWS = {
    "aten.reshape.default",
    "aten.permute.default",
    "aten.transpose.int",
    "aten.squeeze.dim",
    "aten.unsqueeze.default",
    "aten.expand.default",
    "aten.slice.Tensor",
    "aten.select.int",
    "aten.alias.default",
    "aten.detach.default",
}
_COPIES = {"aten.clone.default", "aten.contiguous.default", "aten.lift_fresh_copy.default"}
_SAME = {"aten.alias.default", "aten.detach.default"}
_RANDOM = torch.Tag.nondeterministic_seeded


def target_of(node: Any) -> str:
    """The operation that a node calls, such as `aten.relu.default`; empty for what calls none."""
    return str(node.target) if isinstance(node, Node) and node.op == "call_function" else ""


def is_call(node: Any, *targets: str) -> bool:
    """Whether a node calls one of these operations."""
    return target_of(node) in targets


def merged(into: Node, *nodes: Node) -> None:
    """`into` now does what `nodes` did as well."""
    covers = dict.fromkeys(into.meta.get("covers", ()))
    for node in nodes:
        covers.update(dict.fromkeys(node.meta.get("covers", ())))
    into.meta["covers"] = tuple(covers)


def replaced(node: Node, by: Node, *also: Node) -> None:
    """Puts `by` in the place of `node`; it now does what `also` and `node` did as well."""
    merged(by, *also, node)
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def constants_of(graph: Graph) -> set[Node]:
    """The nodes that depend on parameters and buffers alone, and give the same every time."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            found.add(node)
        elif node.op == "call_function":
            is_random = _RANDOM in getattr(node.target, "tags", ())
            if not is_random and all(one in found for one in node.all_input_nodes):
                found.add(node)
    return found


def constants_first(graph: Graph) -> set[Node]:
    """Moves the constants to the front, where whatever is put in may use them; returns them."""
    found = constants_of(graph)
    place = next(iter(graph.nodes))
    for node in [n for n in graph.nodes if n.op == "placeholder"]:
        if node is not place:
            place.append(node)
            place = node
    for node in [n for n in graph.nodes if n in found]:
        place.append(node)
        place = node
    return found


def drop_unused(graph: Graph) -> None:
    """Takes out every node whose result nothing uses, but for the inputs."""
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))


def clean(graph: Graph) -> None:
    """Takes out copies and aliases, and writes paddings, views and SiLU in one way each.

    A copy stays where the model hands it out: what the caller gets must not share memory with
    what it gave.
    """
    for node in list(graph.nodes):
        if is_call(node, "aten.view.default", "aten._unsafe_view.default"):
            # In another layout a view may need a copy.
            node.target = _aten.reshape.default
        elif is_call(node, "aten.pad.default"):
            _plain_pad(node)
        elif _does_nothing(node):
            _skip(node, node.args[0])
        elif is_call(node, "aten.mul.Tensor"):
            _silu(graph, node)


def _skip(node: Node, source: Any) -> None:
    if source.op == "call_function":
        merged(source, node)
    node.replace_all_uses_with(source)


def _does_nothing(node: Node) -> bool:
    """Whether its result may be what it is given."""
    if is_call(node, *_SAME):
        return True
    if is_call(node, "aten.permute.default"):
        return _is_identity(node.args[1])
    is_off = is_call(node, "aten.dropout.default") and not node.args[2]
    return (is_off or is_call(node, *_COPIES)) and not _is_handed_out(node)


def _is_identity(dims: Sequence[int]) -> bool:
    return list(dims) == list(range(len(dims)))


def _is_handed_out(node: Node) -> bool:
    """Whether an output is this node, or a view of it."""
    return any(
        user.op == "output" or (target_of(user) in _VIEWS and _is_handed_out(user))
        for user in node.users
    )


def _plain_pad(node: Node) -> None:
    x, pads, *rest = node.args
    mode = rest[0] if rest else node.kwargs.get("mode", "constant")
    value = rest[1] if len(rest) > 1 else node.kwargs.get("value")
    if mode == "constant":
        node.target = _aten.constant_pad_nd.default
        node.args, node.kwargs = (x, list(pads), 0.0 if value is None else value), {}


def _silu(graph: Graph, node: Node) -> None:
    for x, gate in (node.args, node.args[::-1]):
        if is_call(gate, "aten.sigmoid.default") and gate.args[0] is x and len(gate.users) == 1:
            with graph.inserting_before(node):
                made = graph.call_function(_aten.silu.default, (x,))
            made.meta = dict(node.meta)
            replaced(node, made, gate)
            return
