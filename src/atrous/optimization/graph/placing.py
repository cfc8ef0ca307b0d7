"""Joins whose parts are written where they belong, instead of being copied there.

A layer of which nobody but a concatenation along the channels reads the result, and whose strategy
can write to a part of a larger map, does so: the map is there before it. The other parts are copied
to it afterwards, as a concatenation does with all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.growing import grown, join_of
from atrous.optimization.layer.ways import WAYS

__all__ = ["place_parts", "placed_at"]

_LEAST = 1 << 14
"""Elements of a part for which it is worth it."""


def hollow(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A map with channels last into which others are written, anew for each that is read."""
    batch, channels, *sizes = shape
    return like.new_empty((batch, *sizes, channels)).movedim(-1, 1)


def completed(
    whole: torch.Tensor, copied: Sequence[tuple[int, torch.Tensor]], *_written: torch.Tensor
) -> torch.Tensor:
    """`whole`, to which some parts were written, with the others copied to their channels."""
    for at, one in copied:
        grown(whole, at, one)
    return whole


def placed_at(node: Node) -> int | None:
    """The channel from which on a layer writes into its join; None where it does not."""
    at: int | None = node.meta.get("place")
    return at


def place_parts(graph: Graph, strategies: Mapping[str, str]) -> None:
    """Lets layers write into the joins that alone read them, where their strategies can."""
    order = {node: at for at, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        found = join_of(node)
        if found is None or len({*found.maps}) < len(found.maps):
            continue
        ends, at = [], 0
        for one in found.maps:
            ends.append((at, one))
            at += int(one.meta["val"].shape[1])
        written = [pair for pair in ends if _is_written(pair[1], strategies)]
        if not written:
            continue
        first = min((one for _, one in written), key=order.__getitem__)
        shape = tuple(map(int, node.meta["val"].shape))
        with graph.inserting_before(first):
            whole = graph.call_function(hollow, (first.args[0], shape))
        whole.meta = dict(node.meta)
        for at, one in written:
            one.kwargs = {"whole": whole}
            one.meta["place"] = at
        copied = [pair for pair in ends if pair not in written]
        with graph.inserting_before(node):
            made = graph.call_function(completed, (whole, copied, *(one for _, one in written)))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        graph.erase_node(node)


def _is_written(node: Node, strategies: Mapping[str, str]) -> bool:
    if not is_layer(node) or len(node.users) != 1:
        return False
    call: Any = node.meta["call"]
    way = WAYS.get(strategies.get(node.name, ""))
    large = prod(node.meta["val"].shape) >= _LEAST
    return bool(large and way is not None and call.dtype == "float32" and way.placing(call))
