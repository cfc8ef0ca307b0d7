"""Joins before layers of one tap: parts that are the same at all positions are multiplied once.

A pyramid of rates (ASPP) joins its branches with the mean of the whole map, spread out again, and
multiplies all of them at every position. What the mean gives there is one number for each filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import constants_first, is_call, replaced
from atrous.optimization.graph.fold import CONVS, has_constant_weights
from atrous.optimization.graph.growing import join_of

__all__ = ["take_out_steady"]

_aten: Any = torch.ops.aten
_SPREADS = (
    "aten.expand.default",
    *(
        f"aten.upsample_{kind}.{overload}"
        for kind in ("bilinear2d", "nearest2d")
        for overload in ("vec", "default")
    ),
)


def take_out_steady(graph: Graph) -> None:
    """Makes of a layer of one tap on a join one of the parts that differ by position, plus a sum.

    Exact but for the order of the sums: a product of one tap is the sum of those of its parts.
    """
    constants = constants_first(graph)
    for node in list(graph.nodes):
        if not is_call(node, *CONVS) or not _is_one_tap(node):
            continue
        join = join_of(node.args[0])
        if join is None or len(join.node.users) > 1 or not has_constant_weights(node, constants):
            continue
        steady = [one for one in join.maps if _spread_from(one) is not None]
        if steady and len(steady) < len(join.maps):
            _take_out(graph, node, join.maps)


def _is_one_tap(node: Node) -> bool:
    padding = node.args[4] if len(node.args) > 4 else 0
    groups = node.args[6] if len(node.args) > 6 else 1
    held = node.args[1]
    taps = held.meta["val"].shape[2:] if isinstance(held, Node) else (0,)
    none = padding == 0 or (isinstance(padding, list | tuple) and not any(padding))
    batched = node.meta["val"].dim() == 2 + len(taps)
    return groups == 1 and none and set(taps) == {1} and batched


def _spread_from(part: Node) -> Node | None:
    """What a part spreads out over all positions; None where it differs between these."""
    if not is_call(part, *_SPREADS) or not isinstance(part.args[0], Node):
        return None
    given, made = part.args[0].meta.get("val"), part.meta["val"]
    alike = given is not None and given.dim() == made.dim() and given.shape[:2] == made.shape[:2]
    return part.args[0] if alike and set(given.shape[2:]) == {1} else None


def _take_out(graph: Graph, node: Node, maps: Sequence[Node]) -> None:
    weight: Any = node.args[1]
    starts = [0]
    for one in maps:
        starts.append(starts[-1] + int(one.meta["val"].shape[1]))
    parts = list(zip(maps, starts, starts[1:], strict=False))
    kept = [part for part in parts if _spread_from(part[0]) is None]
    steady = [part for part in parts if _spread_from(part[0]) is not None]

    def put(target: Any, arguments: tuple[Any, ...], value: Any) -> Node:
        made = graph.call_function(target, arguments)
        made.meta = {**node.meta, "val": value, "covers": ()}
        return made

    def joined(nodes: Sequence[Node], dim: int) -> Node:
        if len(nodes) == 1:
            return nodes[0]
        value = torch.cat([one.meta["val"] for one in nodes], dim)
        return put(_aten.cat.default, ([*nodes], dim), value)

    def columns(which: Sequence[tuple[Node, int, int]]) -> Node:
        held = weight.meta["val"]
        return joined(
            [
                put(
                    torch.narrow,
                    (weight, 1, first, end - first),
                    held.narrow(1, first, end - first),
                )
                for _, first, end in which
            ],
            1,
        )

    with graph.inserting_before(node):
        whole = node.meta["val"]
        rest = joined([one for one, _, _ in kept], 1)
        products = put(node.target, (rest, columns(kept), *node.args[2:]), whole)
        points = joined(
            [source for one, _, _ in steady if (source := _spread_from(one)) is not None], 1
        )
        once = put(
            node.target, (points, columns(steady)), whole[(..., *[slice(0, 1)] * (whole.dim() - 2))]
        )
        spread = put(_aten.expand.default, (once, [*map(int, whole.shape)]), whole)
        total = put(_aten.add.Tensor, (products, spread), whole)
    replaced(node, total, node.args[0])
