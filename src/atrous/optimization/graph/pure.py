"""An exported graph without operations in place, where these are easily told apart.

PyTorch's own way (`run_decompositions`) runs the whole export again, which takes as long as the
export did. Most models need none of that: they overwrite what a layer has just made, normalize by
what they hold, and drop nothing out.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.frameworks.torch import is_composite
from atrous.optimization.graph.clean import is_call, replaced, target_of
from atrous.optimization.graph.in_place import OVERWRITING, is_fresh

__all__ = ["made_pure"]

_aten: Any = torch.ops.aten
_APART = {
    "aten.mean.dim",
    *(f"aten.adaptive_avg_pool{rank}d.default" for rank in (1, 2, 3)),
    *(f"aten.avg_pool{rank}d.default" for rank in (1, 2, 3)),
    *(f"aten.max_pool{rank}d.default" for rank in (1, 2, 3)),
}
"""Operations whose result shares no memory with what they read, beside those that are fresh."""
_KEPT = {"aten.reshape.default", "aten.contiguous.default"}
"""What may hand out a view, and is known to the passes as such."""


def made_pure(graph: Graph) -> bool:
    """Whether the graph has, or now has, only operations that change nothing.

    What overwrites memory that something else may still read, or is not known here, leaves the
    graph half changed, and false.
    """
    seen: set[Node] = set()
    for node in list(graph.nodes):
        if node.op == "call_function" and not _is_made_pure(graph, node, seen):
            return False
        seen.add(node)
    return True


def _is_made_pure(graph: Graph, node: Node, seen: set[Node]) -> bool:
    target: Any = node.target
    if getattr(target, "__name__", "") == "getitem" or is_call(node, *_KEPT):
        return True
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if is_call(node, "aten.batch_norm.default"):
        return _normalized(graph, node)
    if is_call(node, "aten.dropout.default", "aten.dropout_.default"):
        return len(node.args) > 2 and node.args[2] is False and _skipped(graph, node)
    if is_call(node, "aten.detach_.default"):
        return _skipped(graph, node)
    if is_call(node, "aten.flatten.using_ints"):
        node.target, node.args = _aten.reshape.default, (node.args[0], [*node.meta["val"].shape])
        return True
    if is_call(node, "aten.chunk.default"):
        return _split(node)
    if target._schema.is_mutable:
        return _out_of_place(node, seen)
    views = any(one.alias_info is not None for one in target._schema.arguments)
    # PyTorch does not say of these whether they change what they are given.
    unsure = getattr(torch.Tag, "maybe_aliasing_or_mutating", None) in target.tags
    return not unsure and not (views and is_composite(target))


def _skipped(graph: Graph, node: Node) -> bool:
    node.replace_all_uses_with(node.args[0])
    graph.erase_node(node)
    return True


def _normalized(graph: Graph, node: Node) -> bool:
    """A batch norm by what it holds, as the operation that has no other mode."""
    x, weight, bias, mean, variance, training, momentum, eps = node.args[:8]
    if training or mean is None or variance is None:
        return False
    held = (x, weight, bias, mean, variance, momentum, eps)
    with graph.inserting_before(node):
        norm = graph.call_function(_aten._native_batch_norm_legit_no_training.default, held)
        first = graph.call_function(operator.getitem, (norm, 0))
    norm.meta = {**node.meta, "val": (node.meta["val"],)}
    first.meta = dict(node.meta)
    replaced(node, first)
    return True


def _split(node: Node) -> bool:
    """Chunks are parts of one size; the last may be smaller."""
    dim = node.args[2] if len(node.args) > 2 else 0
    size = int(node.meta["val"][0].shape[dim])
    node.target, node.args = _aten.split.Tensor, (node.args[0], size, dim)
    return size > 0


def _is_own(node: Any) -> bool:
    """Whether a node's result is memory that nothing else has."""
    return isinstance(node, Node) and (is_fresh(node) or target_of(node) in _APART)


def _out_of_place(node: Node, seen: set[Node]) -> bool:
    """An elementwise operation in place, as the one that makes memory of its own.

    Nothing else may share the memory: what it overwrites is fresh, and so is what was made of it
    before. Who reads it later reads the result.
    """
    namespace, base, overload = target_of(node).split(".")
    x: Any = node.args[0]
    packet = getattr(_aten, base.rstrip("_"), None)
    if namespace != "aten" or base not in OVERWRITING or packet is None:
        return False
    if overload not in packet.overloads() or not _is_own(x):
        return False
    held = [one.meta.get("val") for one in node.all_input_nodes]
    if any(not isinstance(one, torch.Tensor) or one.dtype != held[0].dtype for one in held):
        return False
    before = [user for user in x.users if user in seen]
    if not all(map(_is_own, before)):
        return False
    node.target = getattr(packet, overload)
    for user in [user for user in x.users if user is not node and user not in seen]:
        user.replace_input_with(x, node)
    return True
