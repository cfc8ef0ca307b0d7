"""A graph as straight Python code, with its weights prepared and its memory given back early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from atrous.frameworks.modules import held
from atrous.operators.kernels.torch_layouts import strided
from atrous.optimization.graph.chains import chain_of, is_chain, runs_of_chain
from atrous.optimization.graph.clean import constants_of
from atrous.optimization.graph.fuse import call_of, is_layer
from atrous.optimization.graph.placing import placed_at
from atrous.optimization.graph.prologues import is_fed, prologue_of, runs_of_fed
from atrous.optimization.layer.call import laid_out
from atrous.optimization.layer.ways import PLAIN, WAYS, runs_of
from atrous.optimization.records import Layout

__all__ = [
    "Program",
    "Ready",
    "Step",
    "Strides",
    "activation_bytes",
    "compiled",
    "ends_of",
    "filled",
    "profiled",
    "state_of",
    "steps_of",
    "strides_of",
    "values_of",
]

Strides = tuple[int, ...] | None
"""How a tensor lies in memory, or None for whatever comes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a program: what is called, on which results, and which of them end here."""

    node: Node
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    ends: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A graph with a layout, and a strategy for each layer by the name of its node.

    `strides` are those of the outputs, which are handed out as the model does.
    """

    graph: Graph
    constants: Mapping[str, torch.Tensor]
    layout: Layout
    strategies: Mapping[str, str]
    strides: tuple[Strides, ...] = ()

    def steps(self, values: Mapping[Node, Any]) -> list[Step]:
        """The lines that run, where `values` are there before: the constants, as they are now."""
        nodes = steps_of(self.graph, values)
        ends = ends_of(nodes, {*values, *self.graph.output_node().all_input_nodes})
        steps = []
        for node in nodes:
            args: tuple[Any, ...] = tuple(node.args)
            target: Any = node.target
            if is_layer(node):
                call = call_of(node, values)
                weight, bias = values.get(node.args[1]), values.get(node.args[2])
                strategy = WAYS[self.strategies.get(node.name, PLAIN)]
                target = runs_of(strategy, weight, bias, call)
                args = (node.args[0], node.args[3]) if call.adds else (node.args[0],)
                if (at := placed_at(node)) is not None:
                    target, args = target.into, (node.kwargs["whole"], at, *args)
            elif is_chain(node):
                target = runs_of_chain(node, values)
                args = (node.args[0], node.args[2]) if chain_of(node).last.adds else (node.args[0],)
            elif is_fed(node):
                target = runs_of_fed(node, self.strategies[node.name], values)
                adds = prologue_of(node).call.adds
                args = (node.args[0], node.args[3]) if adds else (node.args[0],)
            kwargs = {} if is_layer(node) else node.kwargs
            steps.append(Step(node, target, args, kwargs, ends[node]))
        return steps

    @property
    def inputs(self) -> list[Node]:
        """The nodes of the inputs."""
        return list(self.graph.find_nodes(op="placeholder"))

    def values(self, model: nn.Module) -> dict[Node, Any]:
        """What the constants are, with the model's parameters as they are now."""
        return values_of(self.graph, model, self.constants)


def steps_of(graph: Graph, values: Collection[Node]) -> list[Node]:
    """The operations that run each time, where `values` are there before."""
    return [n for n in graph.nodes if n.op == "call_function" and n not in values]


def ends_of(nodes: Sequence[Node], kept: Collection[Node]) -> dict[Node, tuple[Node, ...]]:
    """For each of the nodes, what none reads after it; `kept` is to stay."""
    last = {used: node for node in nodes for used in node.all_input_nodes}
    return {
        node: tuple(n for n in node.all_input_nodes if last[n] is node and n not in kept)
        for node in nodes
    }


def activation_bytes(graph: Graph) -> int:
    """What the results of a graph take at most at once, each in memory of its own."""
    constants = constants_of(graph)
    nodes = steps_of(graph, constants)
    ends = ends_of(nodes, {*constants, *graph.output_node().all_input_nodes})
    live = peak = 0
    for node in nodes:
        live += _bytes_of(node)
        peak = max(peak, live)
        live -= sum(map(_bytes_of, ends[node]))
    return peak


def _bytes_of(node: Node) -> int:
    made = torch.utils._pytree.tree_leaves(node.meta.get("val"))
    return sum(
        math.prod(map(int, one.shape)) * one.element_size()
        for one in made
        if isinstance(one, torch.Tensor)
    )


def filled(arguments: Any, held: Mapping[Node, Any]) -> Any:
    """Arguments with what is held of the nodes in them."""
    return torch.fx.node.map_arg(arguments, held.__getitem__)


def state_of(graph: Graph, model: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where the parameters and buffers are held that the graph reads."""
    keys = [n.target for n in graph.nodes if n.op == "get_attr"]
    return [held(model, key) for key in dict.fromkeys(keys) if not key.startswith("constant:")]


def values_of(
    graph: Graph, model: nn.Module, constants: Mapping[str, torch.Tensor]
) -> dict[Node, Any]:
    """What every node is that depends on parameters and buffers alone."""
    found = constants_of(graph)
    values: dict[Node, Any] = {}
    with torch.no_grad():
        for node in graph.nodes:
            if node not in found:
                continue
            if node.op == "get_attr":
                if node.target in constants:
                    values[node] = constants[node.target]
                else:
                    home, name = held(model, node.target)
                    values[node] = home[name].detach()
            else:
                values[node] = node.target(
                    *filled(node.args, values), **filled(node.kwargs, values)
                )
    return values


@dataclass(frozen=True, slots=True)
class Ready:
    """A program with the weights of now: a function of the flat inputs, which returns the outputs.

    `steps` are its lines one by one, and `constants` what these read beside one another's results.
    """

    run: Callable[..., list[Any]]
    steps: Sequence[Step]
    constants: Mapping[Node, Any]


def compiled(program: Program, model: nn.Module) -> Ready:
    """The program as Python code, with its weights prepared."""
    values = program.values(model)
    constants: dict[Node, Any] = {}
    steps = program.steps(values)
    names: dict[str, Any] = {"laid_out": laid_out, "layout": program.layout, "strided": strided}
    letters: dict[Node, str] = {n: f"x{at}" for at, n in enumerate(program.inputs)}
    lines = [f"def forward({', '.join(letters.values())}):"]
    if program.layout == "channels_last":
        lines += [
            f"    {letters[n]} = laid_out({letters[n]}, layout)"
            for n in program.inputs
            if n.meta["val"].dim() in (3, 4, 5)
        ]

    def written(value: Any) -> str:
        if isinstance(value, Node) and value not in values:
            return letters[value]
        if isinstance(value, list | tuple):
            inner = "".join(f"{written(one)}, " for one in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        if isinstance(value, float) and not math.isfinite(value):
            return f"float('{value}')"
        if value is None or isinstance(value, bool | int | float | str):
            return repr(value)
        name = f"c{len(names)}"
        names[name] = values[value] if isinstance(value, Node) else value
        if isinstance(value, Node):
            constants[value] = values[value]
        return name

    for at, step in enumerate(steps):
        names[f"f{at}"] = step.call
        letters[step.node] = f"v{at}"
        args = [written(one) for one in step.args]
        args += [f"{key}={written(one)}" for key, one in step.kwargs.items()]
        ends = "".join(f"; {letters[one]} = None" for one in step.ends)
        lines.append(f"    v{at} = f{at}({', '.join(args)}){ends}")
    results = []
    for at, one in enumerate(program.graph.output_node().args[0]):
        text = written(one)
        strides = program.strides[at] if at < len(program.strides) else None
        if isinstance(one, Node) and one in values:
            # The caller may write into what it gets.
            text = f"{text}.clone()"
        elif strides is not None:
            text = f"strided({text}, {written(strides)})"
        results.append(text)
    lines.append(f"    return [{', '.join(results)}]")
    exec(compile("\n".join(lines), "<atrous.optimize>", "exec"), names)  # noqa: S102
    return Ready(names["forward"], steps, constants)


def strides_of(value: Any) -> Strides:
    """How the original hands out a tensor; None where its elements share memory."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return None
    shared = any(
        step == 0 and size > 1 for size, step in zip(value.shape, value.stride(), strict=True)
    )
    return None if shared else tuple(value.stride())


_LONG = 0.5
"""Seconds of rounds that are enough."""


def profiled(
    program: Program,
    ready: Ready,
    inputs: Sequence[torch.Tensor],
    rounds: int = 3,
    seen: Callable[..., None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Node, float]:
    """The milliseconds of each step within whole runs, the least of the rounds.

    What else the machine does only adds to a step; of long runs one round tells enough. `seen` is
    told each step of the first run and what it is called with; `clock` gives seconds.
    """
    steps = ready.steps
    taken: dict[Node, list[float]] = {step.node: [] for step in steps}
    started = clock()
    with torch.inference_mode():
        for turn in range(rounds):
            if turn and clock() - started > _LONG:
                break
            given = (laid_out(x, program.layout) for x in inputs)
            held = {**ready.constants, **dict(zip(program.inputs, given, strict=True))}
            for step in steps:
                args, kwargs = filled(step.args, held), filled(step.kwargs, held)
                if seen is not None and turn == 0:
                    seen(step.node, *args)
                begin = clock()
                held[step.node] = step.call(*args, **kwargs)
                taken[step.node].append(clock() - begin)
                del args, kwargs
                for ended in step.ends:
                    held.pop(ended, None)
    return {node: 1e3 * min(values) for node, values in taken.items()}
