"""Convolutions whose channels part ways at once, as one convolution for each part."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import constants_first, is_call, replaced
from atrous.optimization.graph.fold import CONVS, has_constant_weights

__all__ = ["split"]

_SPLITS = (
    "aten.split.Tensor",
    "aten.split_with_sizes.default",
    "aten.chunk.default",
    "aten.tensor_split.sections",
)


def split(graph: Graph) -> None:
    """Makes of a convolution whose result is only split along its channels one for each part.

    Exact: an output channel is computed from its own filters. Each part then has its activation
    fused, as in gated networks (`tanh(a) * sigmoid(b)`), and lies in memory of its own.
    """
    constants = constants_first(graph)
    for node in list(graph.nodes):
        if is_call(node, *_SPLITS) and _is_parted(node, constants):
            _part(graph, node)


def _is_parted(node: Node, constants: set[Node]) -> bool:
    conv = node.args[0]
    if not is_call(conv, *CONVS) or len(conv.users) != 1 or conv.args[0] in constants:
        return False
    rank = conv.meta["val"].dim()
    dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    groups = conv.args[6] if len(conv.args) > 6 else 1
    batched = rank == conv.args[1].meta["val"].dim()
    is_read = all(getattr(user.target, "__name__", "") == "getitem" for user in node.users)
    along = dim % rank == 1
    return groups == 1 and batched and along and is_read and has_constant_weights(conv, constants)


def _part(graph: Graph, node: Node) -> None:
    conv: Any = node.args[0]
    weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
    starts = [0]
    for part in node.meta["val"]:
        starts.append(starts[-1] + int(part.shape[1]))
    for user in list(node.users):
        first = starts[user.args[1]]
        count = int(user.meta["val"].shape[1])
        with graph.inserting_before(conv):
            filters = _rows(graph, weight, first, count)
            shifts = None if bias is None else _rows(graph, bias, first, count)
        with graph.inserting_before(user):
            made = graph.call_function(
                conv.target, (conv.args[0], filters, shifts, *conv.args[3:]), dict(conv.kwargs)
            )
        made.meta = {**conv.meta, "val": user.meta["val"], "covers": ()}
        # What the whole took before counts for its first part.
        replaced(user, made, *([conv, node] if first == 0 else []))


def _rows(graph: Graph, tensor: Node, first: int, count: int) -> Node:
    made = graph.call_function(torch.narrow, (tensor, 0, first, count))
    made.meta = {"val": tensor.meta["val"].narrow(0, first, count), "covers": ()}
    return made
