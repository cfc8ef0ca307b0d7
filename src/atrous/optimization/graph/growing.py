"""Joins that grow: maps that are joined again and again with one more, in one memory.

A dense block (DenseNet) joins all maps so far before each of its layers, which copies the first of
them once a layer. Where all that reads the joins are passes that take parts of maps, there is one
map of all channels from the beginning: each new one is copied once, to its place, and a join is the
part of it that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import is_call
from atrous.optimization.graph.one_pass import OnePass

__all__ = ["grow_joins", "grown", "join_of"]

_aten: Any = torch.ops.aten
_LEAST = 3
"""Joins in a row that are worth it."""


@dataclass(frozen=True, slots=True)
class _Join:
    """A concatenation of maps along their channels."""

    node: Node
    maps: tuple[Node, ...]

    @property
    def channels(self) -> int:
        return int(self.node.meta["val"].shape[1])


def begun(channels: int, *maps: torch.Tensor) -> torch.Tensor:
    """A map of so many channels that lies as the first of `maps` does; it begins with them."""
    first = maps[0]
    shape = (first.shape[0], channels, *first.shape[2:])
    if first.movedim(1, -1).is_contiguous():
        made = first.new_empty((shape[0], *shape[2:], channels)).movedim(-1, 1)
    else:
        made = first.new_empty(shape)
    return grown(made, 0, *maps)


def grown(whole: torch.Tensor, at: int, *maps: torch.Tensor) -> torch.Tensor:
    """`whole`, whose channels from `at` on are now those of `maps`."""
    for one in maps:
        whole[:, at : at + one.shape[1]].copy_(one)
        at += one.shape[1]
    return whole


def grow_joins(graph: Graph) -> None:
    """Makes one map of joins of which each begins with all that the one before it joined."""
    joins = [found for node in graph.nodes if (found := join_of(node)) is not None]
    taken: set[Node] = set()
    for last in reversed(joins):
        if last.node in taken:
            continue
        chain = _chain_of(last, [one for one in joins if one.node not in taken])
        if len(chain) >= _LEAST:
            taken.update(one.node for one in chain)
            _grow(graph, chain)


def join_of(node: Node) -> _Join | None:
    """The join of float32 maps along their channels that a node is; None where it is none."""
    if not is_call(node, "aten.cat.default") or len(node.args) < 2 or node.args[1] != 1:
        return None
    maps, made = node.args[0], node.meta.get("val")
    if made is None or made.dim() < 3 or made.dtype != torch.float32:
        return None
    alike = all(
        isinstance(one, Node) and one.meta["val"].dtype == made.dtype and one.meta["val"].dim() > 2
        for one in maps
    )
    return _Join(node, tuple(maps)) if alike else None


def _chain_of(last: _Join, joins: Sequence[_Join]) -> list[_Join]:
    """The joins that end with one, each a beginning of the next, read by passes alone."""
    chain = [last]
    for one in sorted(joins, key=lambda join: -len(join.maps)):
        after = chain[-1]
        begins = len(one.maps) < len(after.maps) and after.maps[: len(one.maps)] == one.maps
        if begins and all(isinstance(user.target, OnePass) for user in one.node.users):
            chain.append(one)
    return chain[::-1]


def _grow(graph: Graph, chain: Sequence[_Join]) -> None:
    last = chain[-1]
    whole: Node | None = None
    done = 0
    for join in chain:
        with graph.inserting_before(join.node):
            if whole is None:
                whole = graph.call_function(begun, (last.channels, *join.maps))
            else:
                at = sum(int(one.meta["val"].shape[1]) for one in join.maps[:done])
                whole = graph.call_function(grown, (whole, at, *join.maps[done:]))
            whole.meta = {**join.node.meta, "val": last.node.meta["val"]}
            part = whole
            if join is not last:
                part = graph.call_function(_aten.slice.Tensor, (whole, 1, 0, join.channels))
                part.meta = {**join.node.meta, "covers": ()}
        done = len(join.maps)
        join.node.replace_all_uses_with(part)
        graph.erase_node(join.node)
