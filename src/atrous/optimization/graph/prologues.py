"""Element-wise passes that the layers behind them can make by themselves, found and joined."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch.fx import Graph, Node

from atrous.optimization.graph.chains import chains_in
from atrous.optimization.graph.clean import merged
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.one_pass import OnePass
from atrous.optimization.layer.prologue import Prologue, prepared_fed
from atrous.optimization.layer.ways import Runs

__all__ = [
    "PassRead",
    "fed_layer",
    "is_fed",
    "join_passes",
    "passes_read",
    "prologue_of",
    "runs_of_fed",
]

_MOST_READERS = 2
"""Layers that each make the same pass."""


def fed_layer(inputs: Any, weight: Any, bias: Any, other: Any = None) -> Any:
    """Stands in the graph for the call of a layer that makes what it reads of `inputs`."""
    raise NotImplementedError((inputs, weight, bias, other))


def is_fed(node: Any) -> bool:
    """Whether a node is the call of such a layer; then its meta has the `prologue`."""
    return isinstance(node, Node) and node.target is fed_layer


def prologue_of(node: Node) -> Prologue:
    """The pass and the call of a node that is a fed layer."""
    prologue: Prologue = node.meta["prologue"]
    return prologue


@dataclass(frozen=True, slots=True)
class PassRead:
    """The node of a pass, and all layers that read it, in order."""

    before: Node
    layers: tuple[Node, ...]

    def prologue(self, layer: Node) -> Prologue:
        """What the pass and one of the layers are together."""
        made: Any = self.before.target
        return Prologue(made.inputs, made.steps, made.scratch, layer.meta["call"])


def passes_read(graph: Graph) -> dict[Node, PassRead]:
    """By the last of their layers, the passes that nothing else reads and all of them could make.

    Layers that may run as one with others are left to that.
    """
    chained = {node for links in chains_in(graph).values() for node in links.nodes}
    order = {node: at for at, node in enumerate(graph.nodes)}
    found = {}
    for node in graph.nodes:
        if not isinstance(node.target, OnePass) or not 0 < len(node.users) <= _MOST_READERS:
            continue
        read = PassRead(node, tuple(sorted(node.users, key=order.__getitem__)))
        if all(_is_fed(one, node, chained) for one in read.layers) and all(
            read.prologue(one).runs_as_one for one in read.layers
        ):
            found[read.layers[-1]] = read
    return found


def _is_fed(layer: Node, before: Node, chained: Collection[Node]) -> bool:
    """Whether a layer reads a pass as its input alone."""
    if not is_layer(layer) or layer in chained or len(layer.args) > 4:
        return False
    return layer.args[0] is before and before not in layer.args[1:]


def join_passes(graph: Graph, passes: Collection[PassRead]) -> None:
    """Makes the layers that read each of the passes make it; they keep their names."""
    for read in passes:
        for node in read.layers:
            node.meta["prologue"] = read.prologue(node)
            node.target = fed_layer
            node.args = (tuple(read.before.args), *node.args[1:])
            del node.meta["call"]
        merged(read.layers[-1], read.before)
        graph.erase_node(read.before)


def runs_of_fed(node: Node, strategy: str, values: Mapping[Node, Any]) -> Runs:
    """What computes a node that is a fed layer, with the weights of now."""
    weight, bias = values[node.args[1]], values.get(node.args[2])
    return prepared_fed(prologue_of(node), strategy, weight, bias)
