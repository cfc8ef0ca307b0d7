"""Bilinear resizes as calls of layers."""

from __future__ import annotations

import torch
from torch.fx import Node

from atrous.optimization.graph.clean import is_call
from atrous.optimization.layer.call import LayerCall, Resizing

__all__ = ["resize_call"]

_OVERLOADS = ("aten.upsample_bilinear2d.vec", "aten.upsample_bilinear2d.default")


def resize_call(node: Node) -> LayerCall | None:
    """The call of a node that resizes a batch of maps bilinearly, in float32; else None."""
    if not is_call(node, *_OVERLOADS) or node.kwargs or not isinstance(node.args[0], Node):
        return None
    given, made = node.args[0].meta.get("val"), node.meta.get("val")
    if given is None or made is None or 0 in (*given.shape, *made.shape):
        return None
    if given.dtype != torch.float32:
        return None
    corners = bool(node.args[2])
    rest = node.args[3:]
    if is_call(node, _OVERLOADS[0]):  # either the sizes or the scales
        rates = rest[0] if rest and node.args[1] is None else None
    else:
        rates = rest if len(rest) == 2 and None not in rest else None
        if rest and rates is None and any(one is not None for one in rest):
            return None
    # A rate that is not positive counts as none in PyTorch.
    if rates is not None and not all(float(one) > 0 for one in rates):
        return None
    scales = None
    if rates is not None and not corners:
        # An axis that keeps its size is copied, whatever its rate.
        sizes = zip(given.shape[2:], made.shape[2:], rates, strict=True)
        height, width = (1.0 if one == other else 1 / float(rate) for one, other, rate in sizes)
        scales = (height, width)
    high, wide = map(int, made.shape[2:])
    return LayerCall(
        "bilinear",
        tuple(map(int, given.shape)),
        (),
        bias=False,
        resizing=Resizing((high, wide), corners, scales),
    )
