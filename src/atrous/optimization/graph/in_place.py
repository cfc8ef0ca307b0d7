"""Elementwise operations that overwrite what nothing else reads any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import constants_of, is_call, target_of
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.one_pass import OnePass
from atrous.optimization.layer.call import LayerCall

__all__ = ["OVERWRITING", "is_fresh", "overwrite"]

_aten: Any = torch.ops.aten
_UNARY: tuple[str, ...] = ("relu", "hardtanh", "silu", "hardswish", "hardsigmoid", "gelu")
_UNARY += ("sigmoid", "tanh", "leaky_relu", "elu", "mish", "exp", "neg", "rsqrt", "sqrt")
_BINARY = ("add", "mul", "sub", "div")
OVERWRITING = frozenset(f"{name}_" for name in (*_UNARY, *_BINARY))
"""Elementwise operations in place."""
_FRESH = {
    *(f"aten.{name}.default" for name in _UNARY),
    *(f"aten.{name}.Tensor" for name in _BINARY),
    *(f"aten.conv{rank}d.default" for rank in (1, 2, 3)),
    *(f"aten.conv{rank}d.padding" for rank in (1, 2, 3)),
    "aten.conv_transpose1d.default",
    "aten.conv_transpose2d.input",
    "aten.conv_transpose3d.input",
    "aten.linear.default",
    "aten.layer_norm.default",
    "aten.group_norm.default",
    "aten.bmm.default",
    "aten.mm.default",
    "aten.addmm.default",
    "aten.cat.default",
    "aten.constant_pad_nd.default",
    "aten.upsample_bilinear2d.vec",
    "aten.upsample_nearest2d.vec",
    "aten._native_batch_norm_legit_no_training.default",
}
"""Operations whose result is memory of its own; those that may hand out a view are not here."""


def overwrite(graph: Graph, only: frozenset[str] | None = None) -> None:
    """Lets elementwise operations, and sums of layers, work in place where that changes nothing.

    The operand is a result of its own memory, of the result's shape and dtype, that nothing else
    uses. `only` names the operations (`aten.relu`) that may; None is all of them.
    """
    # What depends on parameters alone is computed once and held: it is read again by the next run.
    kept = constants_of(graph)
    for node in graph.nodes:
        if is_layer(node):
            call: LayerCall = node.meta["call"]
            if call.adds and only is None and _is_free(node, node.args[3], kept):
                node.meta["call"] = replace(call, overwrites=True)
            continue
        if isinstance(node.target, OnePass):
            free = [at for at, one in enumerate(node.args) if _is_free(node, one, kept)]
            if free and only is None:
                node.target = node.target.overwriting(free[0])
            continue
        base, _, overload = target_of(node).removeprefix("aten.").partition(".")
        unary = base in _UNARY and overload == "default"
        binary = base in _BINARY and overload == "Tensor"
        if not (unary or binary) or (only is not None and f"aten.{base}" not in only):
            continue
        swaps = base in ("add", "mul") and not node.kwargs and len(node.args) == 2
        if swaps and not _is_free(node, node.args[0], kept) and _is_free(node, node.args[1], kept):
            node.args = node.args[::-1]
        if not _is_free(node, node.args[0], kept):
            continue
        packet = getattr(_aten, f"{base}_", None)
        if packet is not None and overload in packet.overloads():
            node.target = getattr(packet, overload)


def _is_free(node: Node, operand: Any, kept: set[Node]) -> bool:
    """Whether a node may overwrite an operand."""
    if not isinstance(operand, Node) or len(operand.users) != 1 or operand in kept:
        return False
    if [*node.args, *node.kwargs.values()].count(operand) != 1 or not is_fresh(operand):
        return False
    held, made = operand.meta.get("val"), node.meta.get("val")
    if not isinstance(held, torch.Tensor) or not isinstance(made, torch.Tensor):
        return False
    return bool(held.shape == made.shape and held.dtype == made.dtype)


def is_fresh(node: Node) -> bool:
    """Whether a node's result is memory of its own."""
    if is_layer(node) or isinstance(node.target, OnePass) or target_of(node) in _FRESH:
        return True
    if getattr(node.target, "__name__", "") == "getitem":
        return is_call(node.args[0], "aten._native_batch_norm_legit_no_training.default")
    # What works in place already does so on memory of its own.
    base, _, overload = target_of(node).removeprefix("aten.").partition(".")
    return base.endswith("_") and f"aten.{base.rstrip('_')}.{overload}" in _FRESH
