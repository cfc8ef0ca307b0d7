"""One run of a graph during which every layer gets its strategy, on the values that it meets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.fx import Graph

from atrous.optimization import arena
from atrous.optimization.graph.fuse import call_of, is_layer
from atrous.optimization.graph.program import Program, ends_of, filled, steps_of, values_of
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import laid_out
from atrous.optimization.layer.choose import Choice, choose
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
    def milliseconds(self) -> float | None:
        """What the layers take by the strategies chosen; None where one was not measured."""
        each = [dict(one.milliseconds).get(one.strategy, 0.0) for one in self.choices.values()]
        return sum(each) if all(each) else None


def in_layout(graph: Graph, layout: Layout) -> Graph:
    """A copy of the graph whose layers are called in that layout."""
    made = copy.deepcopy(graph)
    for node in made.nodes:
        if is_layer(node):
            node.meta["call"] = replace(node.meta["call"], layout=layout)
    return made


def tuned(
    graph: Graph,
    model: nn.Module,
    constants: Mapping[str, torch.Tensor],
    layout: Layout,
    inputs: Sequence[torch.Tensor],
    choices: Choices,
    timer: Timer,
    progress: Progress,
    allowed: float = ALLOWED,
) -> Tuned:
    """The graph in that layout with the fastest strategy of each layer."""
    graph = in_layout(graph, layout)
    plain = Program(graph, constants, layout, {})
    values = values_of(graph, model, constants)
    nodes = steps_of(graph, values)
    ends = ends_of(nodes, values)
    held = dict(values)
    for node, x in zip(plain.inputs, inputs, strict=True):
        held[node] = laid_out(x, layout)
    found: dict[str, Choice] = {}
    with torch.inference_mode(), arena.kept():
        for done, node in enumerate(nodes):
            if is_layer(node):
                progress(node.meta["layer"], done / len(nodes))
                call = call_of(node, values)
                operands = [held[node.args[0]], *([held[node.args[3]]] if call.adds else [])]
                weight, bias = values.get(node.args[1]), values.get(node.args[2])
                choice = choose(call, weight, bias, tuple(operands), choices, timer, allowed)
                found[node.name] = choice
                held[node] = choice.runs(*operands)
                del operands
            else:
                args, kwargs = filled(node.args, held), filled(node.kwargs, held)
                held[node] = node.target(*args, **kwargs)
                del args, kwargs
            for ended in ends[node]:
                held.pop(ended, None)
    strategies = {name: choice.strategy for name, choice in found.items()}
    return Tuned(replace(plain, strategies=strategies), found)
