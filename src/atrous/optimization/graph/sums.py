"""Sums of layers of one tap as one layer of the channels of all: exact, and their sum is read less.

In networks with skip connections (WaveNet), what every block gives is added to one total, which is
then read and written once a block. As one layer, on the blocks' maps side by side, several of them
are added at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import constants_first, is_call, merged
from atrous.optimization.graph.fold import CONVS, has_constant_weights

__all__ = ["join_sums"]

_aten: Any = torch.ops.aten


@dataclass(frozen=True, slots=True)
class _Term:
    """A layer of one tap, and the addition that takes it into the total; None for the first."""

    conv: Node
    add: Node | None

    @property
    def channels(self) -> int:
        return int(self.conv.args[1].meta["val"].shape[1])

    @property
    def filters(self) -> int:
        return int(self.conv.args[1].meta["val"].shape[0])


def joined_weight(*weights: torch.Tensor) -> torch.Tensor:
    """The weight of the layers' channels side by side."""
    return torch.cat(weights, 1)


def joined_bias(*biases: torch.Tensor) -> torch.Tensor:
    """The sum of biases, rounded once."""
    made = torch.stack([one.double() for one in biases]).sum(0)
    return made.to(biases[0].dtype)


def join_sums(graph: Graph) -> None:
    """Makes one layer of those whose results are only summed up, as many as pay.

    Their channels together are as many as their filters at most: what they read is then less than
    what the total would be written and read again, and what is held meanwhile is bounded.
    """
    constants = constants_first(graph)
    for node in reversed(list(graph.nodes)):
        if node.op != "call_function" or not _is_sum(node) or _goes_on(node):
            continue
        group: list[_Term] = []
        for term in _terms(node, constants):
            if group and sum(one.channels for one in (*group, term)) > term.filters:
                _join(graph, group, constants)
                group = []
            group.append(term)
        _join(graph, group, constants)


def _is_sum(node: Any) -> bool:
    if not is_call(node, "aten.add.Tensor") or node.kwargs or len(node.args) != 2:
        return False
    return all(
        isinstance(one, Node) and _shape(one) == _shape(node) and one is not node.args[1 - at]
        for at, one in enumerate(node.args)
    )


def _shape(node: Node) -> tuple[int, ...] | None:
    made = node.meta.get("val")
    if not isinstance(made, torch.Tensor) or made.dtype != torch.float32:
        return None
    return tuple(map(int, made.shape))


def _goes_on(node: Node) -> bool:
    """Whether a sum is only a part of the next one."""
    return len(node.users) == 1 and _is_sum(next(iter(node.users)))


def _is_term(node: Node, constants: set[Node]) -> bool:
    """Whether a node is a layer of one tap that only the sum reads."""
    if not is_call(node, *CONVS) or len(node.users) != 1 or not has_constant_weights(node, constants):
        return False
    held = node.args[1].meta.get("val")
    stride, padding, _, groups = [*node.args[3:], *[1, 0, 1, 1][max(len(node.args) - 3, 0) :]][:4]
    plain = _all(stride, 1) and (padding in ("valid", "same") or _all(padding, 0)) and groups == 1
    return bool(
        plain
        and held is not None
        and all(size == 1 for size in held.shape[2:])
        and node.meta["val"].dim() == held.dim()
        and node.args[0] not in constants
    )


def _all(value: Any, wanted: int) -> bool:
    return all(one == wanted for one in ([value] if isinstance(value, int) else value))


def _terms(last: Node, constants: set[Node]) -> list[_Term]:
    """The layers that a chain of sums adds up, the first one first, without gaps at the end."""
    found: list[_Term] = []
    node: Node = last
    while True:
        own = [at for at in (1, 0) if _is_term(node.args[at], constants)]
        if not own:
            break
        found.append(_Term(node.args[own[0]], node))
        rest = node.args[1 - own[0]]
        if not (_is_sum(rest) and len(rest.users) == 1):
            if _is_term(rest, constants):
                found.append(_Term(rest, None))
            break
        node = rest
    return found[::-1]


def _join(graph: Graph, group: Sequence[_Term], constants: set[Node]) -> None:
    """One layer in the place of the last one's, which is added where that was."""
    if len(group) < 2:
        return
    last = group[-1]
    if last.add is None:  # the first of a sum is never the last of several
        return
    convs = [term.conv for term in group]
    biases = [conv.args[2] for conv in convs if len(conv.args) > 2 and conv.args[2] is not None]
    with graph.inserting_before(last.add):
        weight = graph.call_function(joined_weight, tuple(conv.args[1] for conv in convs))
        bias = graph.call_function(joined_bias, tuple(biases)) if biases else None
        x = graph.call_function(_aten.cat.default, ([conv.args[0] for conv in convs], 1))
        made = graph.call_function(last.conv.target, (x, weight, bias))
    held, like = last.conv.args[1].meta["val"], last.conv.args[0].meta["val"]
    channels = sum(term.channels for term in group)
    weight.meta["val"] = held.new_empty((held.shape[0], channels, *held.shape[2:]))
    if bias is not None:
        bias.meta["val"] = biases[0].meta["val"]
    constants.update({weight, bias} - {None})
    x.meta = {**last.conv.meta, "covers": (), "val": like.new_empty(
        (like.shape[0], channels, *like.shape[2:]))}
    made.meta = dict(last.conv.meta)
    made.meta["layer"] = ", ".join(conv.meta["layer"] for conv in convs)
    adds = [term.add for term in group if term.add is not None]
    merged(made, *convs, *adds)
    first = group[0].add
    if first is None:
        last.add.replace_all_uses_with(made)
    else:
        total = next(one for one in first.args if one is not group[0].conv)
        with graph.inserting_before(last.add):
            added = graph.call_function(_aten.add.Tensor, (total, made))
        added.meta = {**last.add.meta, "covers": ()}
        last.add.replace_all_uses_with(added)
    for add in reversed(adds):
        graph.erase_node(add)
    for conv in convs:
        graph.erase_node(conv)
