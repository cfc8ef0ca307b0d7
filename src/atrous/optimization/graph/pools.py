"""Pools as calls of layers."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from atrous.geometry import Window
from atrous.optimization.graph.clean import target_of
from atrous.optimization.layer.call import LayerCall, Pooling

__all__ = ["each_axis", "pool_call"]

_MAX = {f"aten.max_pool{rank}d.default": rank for rank in (1, 2, 3)}
_AVERAGE = {f"aten.avg_pool{rank}d.default": rank for rank in (1, 2, 3)}


def pool_call(node: Node) -> LayerCall | None:
    """The call of a node that is a pool of a batch in float32 or float64; else None."""
    target = target_of(node)
    rank = _MAX.get(target) or _AVERAGE.get(target)
    if rank is None or node.kwargs or not isinstance(node.args[0], Node):
        return None
    given, made = node.args[0].meta.get("val"), node.meta.get("val")
    if given is None or made is None or given.dim() != rank + 2 or 0 in (*given.shape, *made.shape):
        return None
    if given.dtype not in (torch.float32, torch.float64):
        return None
    rest: list[Any] = list(node.args[1:])
    kernel = each_axis(rest[0], rank)
    stride = each_axis(rest[1], rank) if len(rest) > 1 and rest[1] else kernel
    pads = each_axis(rest[2], rank) if len(rest) > 2 else (0,) * rank
    outputs = tuple(map(int, made.shape[2:]))
    if target in _MAX:
        rates = each_axis(rest[3], rank) if len(rest) > 3 else (1,) * rank
        pooling = Pooling(outputs, ceil=bool(rest[4]) if len(rest) > 4 else False)
    else:
        rates = (1,) * rank
        averaging: list[Any] = [False, True, None]
        averaging[: max(len(rest) - 3, 0)] = rest[3:]
        ceil, counts, divisor = averaging
        if divisor is not None and divisor < 1:
            return None
        pooling = Pooling(outputs, bool(ceil), bool(counts), divisor or 0)
    return LayerCall(
        "max pool" if target in _MAX else "average pool",
        tuple(map(int, given.shape)),
        (),
        bias=False,
        windows=Window.of_axes(kernel, stride, rates, pads),
        dtype=str(given.dtype).removeprefix("torch."),
        pooling=pooling,
    )


def each_axis(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each axis, where one for all may be given."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values
