"""One run of a graph during which every layer gets its strategy, on the values that it meets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from atrous.operators.kernels.torch_layouts import plane_strides
from atrous.optimization import arena
from atrous.optimization.graph.chains import Links, chains_in, join, parts_of
from atrous.optimization.graph.fuse import call_of, is_layer
from atrous.optimization.graph.placing import place_parts
from atrous.optimization.graph.program import (
    Program,
    Strides,
    ends_of,
    filled,
    steps_of,
    values_of,
)
from atrous.optimization.graph.prologues import PassRead, join_passes, passes_read
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall, laid_out
from atrous.optimization.layer.chain import CHAINED, chosen
from atrous.optimization.layer.choose import Choice, choose
from atrous.optimization.layer.prologue import Fed, chosen_fed
from atrous.optimization.layer.rounding import ALLOWED
from atrous.optimization.layer.timing import Timer
from atrous.optimization.records import Layout

__all__ = ["Progress", "Tuned", "in_layout", "tuned"]

Progress = Callable[[str, float], None]
"""Told what is being worked at, and the share of the work that is done."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A program, and the choice for each of its layers by the name of its node."""

    program: Program
    choices: Mapping[str, Choice]

    @property
    def rounds(self) -> bool:
        """Whether some layer computes other sums than the definition's."""
        return any(one.error is not None for one in self.choices.values())

    @property
    def times(self) -> dict[str, float]:
        """What each layer takes by its strategy, by the name of its node; 0 where nobody knows."""
        return {name: one.taken for name, one in self.choices.items()}

    @property
    def milliseconds(self) -> float | None:
        """What the layers take by the strategies chosen; None where one was not measured."""
        each = self.times.values()
        return sum(each) if all(each) else None


def in_layout(graph: Graph, layout: Layout, strides: Sequence[Strides] = ()) -> Graph:
    """A copy of the graph whose layers are called in that layout.

    `strides` are those in which its results are handed out: resizes that only make such a result
    make it in planes where it is wanted so, since what they read is the smaller map.
    """
    made = copy.deepcopy(graph)
    for node in made.nodes:
        if is_layer(node):
            node.meta["call"] = replace(node.meta["call"], layout=layout)
    for node, wanted in zip(made.output_node().args[0], strides, strict=False):
        if isinstance(node, Node) and is_layer(node) and len(node.users) == 1:
            call: LayerCall = node.meta["call"]
            if (
                call.resizing is not None
                and not call.adds
                and wanted == plane_strides(node.meta["val"].shape)
            ):
                node.meta["call"] = replace(call, layout="contiguous")
    return made


def tuned(
    graph: Graph,
    model: nn.Module,
    constants: Mapping[str, torch.Tensor],
    layout: Layout,
    inputs: Sequence[torch.Tensor],
    strides: Sequence[Strides],
    choices: Choices,
    timer: Timer,
    progress: Progress,
    allowed: float = ALLOWED,
    limit: Callable[[Mapping[str, float], Collection[str]], bool] | None = None,
) -> Tuned | None:
    """The graph in that layout with the fastest strategy of each layer.

    `strides` are those of the results, as they are handed out.
    `limit` is told what the layers so far take, and the names of all nodes so far; where it is
    exceeded, this is given up, and None returned.
    """
    graph = in_layout(graph, layout, strides)
    plain = Program(graph, constants, layout, {})
    values = values_of(graph, model, constants)
    nodes = steps_of(graph, values)
    ends = ends_of(nodes, values)
    held = dict(values)
    for node, x in zip(plain.inputs, inputs, strict=True):
        held[node] = laid_out(x, layout)
    found: dict[str, Choice] = {}
    names: set[str] = set()
    joined = _Joined(graph, values, choices, timer)
    passing = _Passing(graph, values, choices, timer, allowed)
    with torch.inference_mode(), arena.kept():
        for done, node in enumerate(nodes):
            if is_layer(node):
                progress(node.meta["layer"], done / len(nodes))
                call = call_of(node, values)
                operands = [held[node.args[0]], *([held[node.args[3]]] if call.adds else [])]
                weight, bias = values.get(node.args[1]), values.get(node.args[2])
                passing.enters(node, operands)
                choice = choose(call, weight, bias, tuple(operands), choices, timer, allowed)
                found[node.name] = choice
                held[node] = choice.runs(*operands)
                joined.tried(node, operands, found)
                passing.tried(node, found)
                del operands
                names.add(node.name)
                if limit is not None and limit({n: one.taken for n, one in found.items()}, names):
                    return None
            else:
                args, kwargs = filled(node.args, held), filled(node.kwargs, held)
                held[node] = passing.made(node, args, kwargs)
                del args, kwargs
            for ended in ends[node]:
                held.pop(ended, None)
    join(graph, joined.taken)
    join_passes(graph, passing.taken)
    strategies = {name: choice.strategy for name, choice in found.items()}
    place_parts(graph, strategies)
    return Tuned(replace(plain, strategies=strategies), found)


class _Joined:
    """The chains that take less as one, each tried when the last of its layers has its strategy."""

    def __init__(
        self, graph: Graph, values: Mapping[Node, Any], choices: Choices, timer: Timer
    ) -> None:
        self._chains, self._values = chains_in(graph), values
        self._choices, self._timer = choices, timer
        self._inputs: dict[Node, torch.Tensor] = {}
        self.taken: list[Links] = []

    def tried(self, node: Node, operands: Sequence[torch.Tensor], found: dict[str, Choice]) -> None:
        """Puts the chain that ends with a layer in the place of its layers' choices, if it wins."""
        for last, links in self._chains.items():
            if links.nodes[0] is node:
                self._inputs[last] = operands[0]
        if (ended := self._chains.get(node)) is None:
            return
        given = (self._inputs.pop(node), *operands[1:])
        separate = [found.get(one.name) for one in ended.nodes]
        # Two chains may share a layer: the one before has it.
        own = [one for one in separate if one is not None and one.strategy != CHAINED]
        if len(own) < len(separate):
            return
        parts = parts_of(ended.nodes, self._values)
        made = chosen(ended.chain, parts, own, given, self._choices, self._timer)
        if made is not None:
            self.taken.append(ended)
            for one in ended.nodes[:-1]:
                del found[one.name]
            found[node.name] = made


class _Passing:
    """The passes that the layers behind them make, tried when the last of these has a strategy."""

    def __init__(
        self,
        graph: Graph,
        values: Mapping[Node, Any],
        choices: Choices,
        timer: Timer,
        allowed: float,
    ) -> None:
        self._passes, self._values = passes_read(graph), values
        self._befores = {read.before for read in self._passes.values()}
        self._layers = {node for read in self._passes.values() for node in read.layers}
        self._choices, self._timer, self._allowed = choices, timer, allowed
        self._inputs: dict[Node, tuple[torch.Tensor, ...]] = {}
        self._others: dict[Node, tuple[torch.Tensor, ...]] = {}
        self.taken: list[PassRead] = []

    def made(self, node: Node, args: Any, kwargs: Any) -> Any:
        """What a node is; the inputs of a pass that will be tried are held, and not overwritten."""
        target: Any = node.target
        if node not in self._befores:
            return target(*args, **kwargs)
        self._inputs[node] = tuple(args)
        return target.overwriting(-1)(*args)

    def enters(self, node: Node, operands: Sequence[torch.Tensor]) -> None:
        """Holds what a layer adds, which it may overwrite."""
        if node in self._layers:
            self._others[node] = tuple(one.clone() for one in operands[1:])

    def tried(self, node: Node, found: dict[str, Choice]) -> None:
        """Puts fed layers in the place of a pass and those behind it, if they win."""
        if (read := self._passes.get(node)) is None:
            return
        fed = [
            Fed(
                read.prologue(one),
                self._values[one.args[1]],
                self._values.get(one.args[2]),
                self._others.pop(one),
                found[one.name],
            )
            for one in read.layers
        ]
        inputs = self._inputs.pop(read.before)
        passed = read.before.target.overwriting(-1)
        made = chosen_fed(fed, passed, inputs, self._choices, self._timer, self._allowed)
        if made is not None:
            self.taken.append(read)
            found.update({one.name: choice for one, choice in zip(read.layers, made, strict=True)})
