"""Layers of a graph that may run as one, found and joined."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import merged
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.chain import Chain, prepared_chain
from atrous.optimization.layer.ways import Runs

__all__ = [
    "Links",
    "chain_of",
    "chains_in",
    "is_chain",
    "join",
    "layers",
    "parts_of",
    "runs_of_chain",
]


def layers(x: Any, parts: Any, other: Any = None) -> Any:
    """Stands in the graph for the calls of several layers that run as one."""
    raise NotImplementedError((x, parts, other))


def is_chain(node: Any) -> bool:
    """Whether a node is the calls of several layers; then its meta has the `chain`."""
    return isinstance(node, Node) and node.target is layers


def chain_of(node: Node) -> Chain:
    """The chain of a node that is one."""
    chain: Chain = node.meta["chain"]
    return chain


@dataclass(frozen=True, slots=True)
class Links:
    """The nodes of a chain, in order, and what they are together."""

    nodes: tuple[Node, ...]
    chain: Chain

    @property
    def operands(self) -> tuple[Node, ...]:
        """What the chain reads: its input, and what its last layer adds."""
        last = self.nodes[-1]
        return (self.nodes[0].args[0], *([last.args[3]] if self.chain.last.adds else []))


def chains_in(graph: Graph) -> dict[Node, Links]:
    """By the last of their layers, the chains that could run as one; some share layers."""
    found = {}
    for node in graph.nodes:
        links = _links(node)
        if links is not None and links.chain.runs_as_one:
            found[node] = links
    return found


def _links(last: Node) -> Links | None:
    """The chain that ends with a node; None where there is none."""
    if not is_layer(last) or len(last.args) > 4:
        return None
    before = _only_read_by(last)
    if before is None:
        return None
    call: LayerCall = before.meta["call"]
    if not call.is_depthwise:
        return Links((before, last), Chain(call, None, last.meta["call"]))
    first = _only_read_by(before)
    if first is None:
        return None
    return Links((first, before, last), Chain(first.meta["call"], call, last.meta["call"]))


def _only_read_by(node: Node) -> Node | None:
    """The layer before a layer, where nothing else reads it."""
    before = node.args[0]
    if not isinstance(before, Node) or not is_layer(before) or len(before.args) > 4:
        return None
    alone = len(before.users) == 1 and [*node.all_input_nodes].count(before) == 1
    return before if alone and before not in node.args[1:] else None


def parts_of(nodes: Collection[Node], values: Mapping[Node, Any]) -> list[Any]:
    """Weight and bias of each layer."""
    return [(values[node.args[1]], values.get(node.args[2])) for node in nodes]


def join(graph: Graph, chains: Collection[Links]) -> None:
    """Puts one node in the place of each chain's last layer; it has that layer's name."""
    for links in chains:
        *inner, last = links.nodes
        parts = tuple((node.args[1], node.args[2]) for node in links.nodes)
        x, *others = links.operands
        last.target = layers
        last.args = (x, parts, *others)
        last.meta["chain"] = links.chain
        last.meta["layer"] = ", ".join(node.meta["layer"] for node in links.nodes)
        del last.meta["call"]
        merged(last, *inner)
        for node in reversed(inner):
            graph.erase_node(node)


def runs_of_chain(node: Node, values: Mapping[Node, Any]) -> Runs:
    """What computes a node that is a chain, with the weights that its layers have now."""
    parts: Any = node.args[1]
    held: list[tuple[torch.Tensor, torch.Tensor | None]] = [
        (values[weight], values.get(bias)) for weight, bias in parts
    ]
    return prepared_chain(chain_of(node), held)
