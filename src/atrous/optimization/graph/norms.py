"""Norms that no layer takes in, as a factor and a term of each channel; and sums over an axis.

They are for the pass over memory that they are then a part of.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.operators.kernels.elementwise import elementwise_natively
from atrous.operators.kernels.torch_elementwise import norm_factors_of, sums_of
from atrous.optimization.graph.clean import constants_first, is_call, merged, replaced
from atrous.optimization.graph.fold import norm_scale, norm_shift
from atrous.optimization.graph.one_pass import LEAST

__all__ = ["take_apart"]

_aten: Any = torch.ops.aten
_BATCH = "aten._native_batch_norm_legit_no_training.default"
_GROUP = "aten.group_norm.default"


class GroupFactors:
    """`factors(x, weight, bias)` of a group norm, as a node calls it."""

    __name__ = "group_factors"

    def __init__(self, groups: int, epsilon: float) -> None:
        self._factors = norm_factors_of(groups, epsilon)

    def __repr__(self) -> str:
        return self.__name__

    def __call__(self, x: torch.Tensor, weight: Any, bias: Any) -> Any:
        return self._factors(x, weight, bias)


@dataclass(frozen=True, slots=True)
class _Summing:
    """Sums over channels, or over the positions of each; of what, and how."""

    x: Node
    channels: bool
    keepdim: bool
    squared: bool = False
    mean: bool = False


class AxisSum:
    """Sums over channels or positions, as a node calls them."""

    __name__ = "axis_sum"

    def __init__(self, asked: _Summing) -> None:
        self._sums = sums_of(
            channels=asked.channels,
            keepdim=asked.keepdim,
            squared=asked.squared,
            mean=asked.mean,
        )

    def __repr__(self) -> str:
        return self.__name__

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._sums(x)


def channel_values(values: torch.Tensor, rank: int) -> torch.Tensor:
    """One number for each channel, in float32, as maps of that rank broadcast it."""
    return values.float().reshape(-1, *[1] * (rank - 2))


def take_apart(graph: Graph) -> None:
    """Batch norms by what they hold, and group norms, as a product and a sum.

    Where the kernels are there: what is element-wise then becomes one pass, and the moments of a
    group, the mean of a channel and what is summed over channels are summed up by all threads.
    """
    if not elementwise_natively():
        return
    constants = constants_first(graph)
    for node in list(graph.nodes):
        if node in constants or not _is_large(node):
            continue
        if is_call(node, _BATCH):
            _batch_norm(graph, node, constants)
        elif is_call(node, _GROUP):
            _group_norm(graph, node)
        elif (summing := _summing(node)) is not None:
            with graph.inserting_before(node):
                sums = graph.call_function(AxisSum(summing), (summing.x,))
            sums.meta = dict(node.meta)
            replaced(node, sums)


def _is_large(node: Node) -> bool:
    x = node.args[0] if node.args else None
    made = x.meta.get("val") if isinstance(x, Node) else None
    return (
        isinstance(made, torch.Tensor)
        and made.dtype == torch.float32
        and made.dim() > 2
        and made.numel() >= LEAST
    )


def _summing(node: Node) -> _Summing | None:
    """What a node sums up; None for what is no sum or mean of channels, or of their positions."""
    x = node.args[0]
    rank = x.meta["val"].dim()
    if is_call(node, "aten.mean.dim", "aten.sum.dim_IntList") and not node.kwargs:
        axes = sorted(axis % rank for axis in (node.args[1] if len(node.args) > 1 else ()) or ())
        keepdim = bool(node.args[2]) if len(node.args) > 2 else False
        if axes not in ([1], [*range(2, rank)]):
            return None
        squared = is_call(x, "aten.square.default") and len(x.users) == 1
        of = x.args[0] if squared else x
        return _Summing(of, axes == [1], keepdim, squared, is_call(node, "aten.mean.dim"))
    if is_call(node, *(f"aten.adaptive_avg_pool{n}d.default" for n in (1, 2, 3))):
        sizes = node.args[1]
        wanted = [sizes] if isinstance(sizes, int) else sizes
        if all(one == 1 for one in wanted) and rank == node.meta["val"].dim() == len(wanted) + 2:
            return _Summing(x, channels=False, keepdim=True, mean=True)
    return None


def _batch_norm(graph: Graph, node: Node, constants: set[Node]) -> None:
    x, weight, bias, mean, variance, _, eps = node.args
    results = [user for user in node.users if user.users]
    if not {weight, bias, mean, variance} - {None} <= constants or len(results) != 1:
        return
    if results[0].target is not operator.getitem or results[0].args[1] != 0:
        return
    rank = x.meta["val"].dim()
    with graph.inserting_before(node):
        scale = graph.call_function(norm_scale, (weight, variance, eps))
        shift = graph.call_function(norm_shift, (bias, mean, scale))
        factors = [graph.call_function(channel_values, (one, rank)) for one in (scale, shift)]
    like = x.meta["val"]
    for one in factors:
        one.meta["val"] = like.new_empty((like.shape[1], *[1] * (rank - 2)))
    constants.update((scale, shift, *factors))
    _product_and_sum(graph, results[0], x, *factors, node)


def _group_norm(graph: Graph, node: Node) -> None:
    x, groups, *rest = node.args
    named = {"weight": 0, "bias": 1, "eps": 2}
    held: list[Any] = [*rest, *[None, None, 1e-5][len(rest) :]][:3]
    for name, value in node.kwargs.items():
        if name in named:
            held[named[name]] = value
    weight, bias, eps = held
    for one in (weight, bias):
        if one is not None and one.meta["val"].dtype != torch.float32:
            return
    like = x.meta["val"]
    with graph.inserting_before(node):
        both = graph.call_function(GroupFactors(int(groups), float(eps)), (x, weight, bias))
        factors = [graph.call_function(operator.getitem, (both, at)) for at in (0, 1)]
    both.meta = {**node.meta, "val": None, "covers": ()}
    for one in factors:
        shape = (*like.shape[:2], *[1] * (like.dim() - 2))
        one.meta = {**node.meta, "val": like.new_empty(shape), "covers": ()}
    _product_and_sum(graph, node, x, *factors)


def _product_and_sum(
    graph: Graph, node: Node, x: Node, scale: Node, shift: Node, *also: Node
) -> None:
    """`x * scale + shift` in the place of a node."""
    with graph.inserting_before(node):
        product = graph.call_function(_aten.mul.Tensor, (x, scale))
        total = graph.call_function(_aten.add.Tensor, (product, shift))
    product.meta = {**node.meta, "covers": ()}
    total.meta = {**node.meta, "covers": node.meta.get("covers", ())}
    for one in also:
        merged(total, one)
    replaced(node, total)
