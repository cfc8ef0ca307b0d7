"""Graphs in which tensors are written to, as graphs in which every value keeps its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import getitem
from typing import Any

import torch

from atrous.frameworks.torch import name_of

__all__ = ["functional"]

_ATEN = torch.ops.aten


def _named(names: str) -> frozenset[str]:
    return frozenset(f"aten.{name}" for name in names.split())


_SEVERAL = _named("chunk split split_with_sizes tensor_split unsafe_chunk unsafe_split unbind")
_SAME = _named("alias detach contiguous to lift_fresh")
_RESHAPED = _named("view reshape _unsafe_view view_as reshape_as flatten unflatten ravel") | _named(
    "squeeze unsqueeze squeeze_ unsqueeze_"
)
_TURNED = _named("transpose t swapaxes swapdims mT adjoint numpy_T")
_NO_WRITES = _named("detach_ requires_grad_")


@dataclass(slots=True, eq=False)
class _Member:
    """A tensor that shares memory: the node that it is now, what it views, and the view's node."""

    node: Any
    parent: _Member | None
    view: Any
    family: list[_Member]


def functional(graph: torch.fx.Graph) -> bool:
    """Give what a write changes a new name wherever it is read afterwards; False where unknown how.

    A write to a view makes a new base, the old one with the piece in its place, and the other views
    of that base are made again. Meant are graphs of recordings: their nodes say in `meta["alias"]`
    whether their result shares the memory of their first argument.
    """
    nodes = list(graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    members: dict[Any, _Member] = {}
    for node in nodes:
        written = _written(node)
        if written is None:
            viewed = _viewed(node)
            parent = None if viewed is None else members.get(viewed)
            family = [] if parent is None else parent.family
            members[node] = _Member(node, parent, node, family)
            family.append(members[node])
        elif written not in members or not _renamed(graph, order, members[written], node, members):
            return False
    return True


def _renamed(
    graph: torch.fx.Graph,
    order: dict[Any, int],
    member: _Member,
    write: Any,
    members: dict[Any, _Member],
) -> bool:
    """After `write`, all that shares memory with its result is read under new names."""
    at = order[write]
    stale = [
        other
        for other in member.family
        if other is not member and any(order[user] > at for user in other.node.users)
    ]
    member.node = write
    members[write] = member
    if not stale:
        return True
    if len(_writes_of(write)) != 1:
        return False
    maker = _Maker(graph, write)
    made: dict[_Member, Any] = {member: write}
    while member.parent is not None:
        piece = maker.put_back(member, made[member])
        if piece is None:
            return False
        made[member.parent] = piece
        member = member.parent
    for other in stale:
        if maker.remade(other, made) is None:
            return False
    for node in maker.nodes:
        order[node] = at
    for other, value in made.items():
        old, other.node = other.node, value
        members[value] = other
        if old is not value:
            old.replace_all_uses_with(value, lambda user: order[user] > at)
    for node in reversed(maker.nodes):
        if not node.users:
            graph.erase_node(node)
    return True


class _Maker:
    """Makes nodes behind a write."""

    def __init__(self, graph: torch.fx.Graph, write: Any) -> None:
        self.graph, self.write, self.last = graph, write, write
        self.nodes: list[Any] = []

    def node(self, target: Any, args: Sequence[Any], like: Any) -> Any:
        """A call whose result has the shape of what `like` makes."""
        with self.graph.inserting_after(self.last):
            made = self.graph.create_node(
                "call_function", target, tuple(args), name=target.overloadpacket.__name__
            )
        made.meta["val"] = _made_by(like)
        made.meta["nn_module_stack"] = self.write.meta.get("nn_module_stack", {})
        self.last = made
        self.nodes.append(made)
        return made

    def put_back(self, member: _Member, piece: Any) -> Any:
        """The parent with `piece` where it is viewed; None for views that say not where that is."""
        view, parent = member.view, member.parent
        if parent is None:
            return None
        whole, name = parent.node, name_of(view)
        if name in _SAME or name in _RESHAPED:
            sizes = list(_made_by(whole).shape)
            return self.node(_ATEN.reshape.default, (piece, sizes), whole)
        if name in _TURNED:
            return self.node(view.target, (piece, *view.args[1:]), whole)
        if name == "aten.permute":
            rank = len(view.args[1])
            order = [d % rank for d in view.args[1]]
            back = sorted(range(rank), key=order.__getitem__)
            return self.node(_ATEN.permute.default, (piece, back), whole)
        if name == "aten.slice":
            return self.node(_ATEN.slice_scatter.default, (whole, piece, *view.args[1:]), whole)
        if name == "aten.select":
            return self.node(_ATEN.select_scatter.default, (whole, piece, *view.args[1:]), whole)
        part = _piece_of(view)
        if part is None:
            return None
        target = _ATEN.slice_scatter.default if len(part) == 3 else _ATEN.select_scatter.default
        return self.node(target, (whole, piece, *part), whole)

    def remade(self, member: _Member, made: dict[_Member, Any]) -> Any:
        """The view of what its parent is now; None where it cannot be made again."""
        if member in made:
            return made[member]
        if member.parent is None:
            return None
        parent = self.remade(member.parent, made)
        if parent is None:
            return None
        view, part = member.view, _piece_of(member.view)
        if part is not None:
            target = _ATEN.slice.Tensor if len(part) == 3 else _ATEN.select.int
            made[member] = self.node(target, (parent, *part), view)
        elif view.kwargs or view.target is getitem:
            return None
        else:
            made[member] = self.node(view.target, (parent, *view.args[1:]), view)
        return made[member]


def _piece_of(view: Any) -> tuple[int, ...] | None:
    """Of a piece of a split: dimension, start and end; of an unbind: dimension and index."""
    if view.target is not getitem:
        return None
    split, index = view.args
    if name_of(split) not in _SEVERAL:
        return None
    given = {a.name: a.default_value for a in split.target._schema.arguments}
    names = [a.name for a in split.target._schema.arguments]
    given |= dict(zip(names, split.args, strict=False)) | split.kwargs
    pieces = split.meta["val"]
    dim = int(given["dim"]) % len(_made_by(split.args[0]).shape)
    if name_of(split) == "aten.unbind":
        return dim, index
    ends = list(accumulate(piece.shape[dim] for piece in pieces))
    return dim, ends[index] - pieces[index].shape[dim], ends[index]


def _writes_of(node: Any) -> list[int]:
    """The places of the arguments that a call writes to."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or name_of(node) in _NO_WRITES:
        return []
    if "settled" in node.meta:
        # Whoever reads a constant that is written to has its numbers.
        return []
    return [
        i
        for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _written(node: Any) -> Any:
    """The node whose memory a call writes to; None where it writes nothing."""
    if node.op != "call_function" or torch.Tag.inplace_view in getattr(node.target, "tags", ()):
        return None
    places = _writes_of(node)
    return node.args[places[0]] if places and places[0] < len(node.args) else None


def _viewed(node: Any) -> Any:
    """The node whose memory a node's result shares; None where it has its own."""
    if node.op != "call_function" or not node.args:
        return None
    first = node.args[0]
    if not isinstance(first, torch.fx.Node):
        return None
    if node.target is getitem:
        return first.args[0] if name_of(first) in _SEVERAL else None
    return first if node.meta.get("alias") else None


def _made_by(node: Any) -> Any:
    """What a node makes, without values; of a piece, that piece."""
    return node.meta["val"]
