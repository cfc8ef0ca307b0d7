"""The nodes of an ONNX graph in an order in which they can run, and no more than are needed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atrous.errors import ReadError
from atrous.readers.onnx.file import subgraphs

if TYPE_CHECKING:
    import onnx

__all__ = ["Ordered", "captured", "copied", "graphs", "inlined", "layer_name", "ordered"]

MAX_NODES = 250_000
MAX_NESTING = 16
MAX_CALLS = 64


@dataclass(frozen=True, slots=True)
class Ordered:
    """Nodes in execution order, and every name that one of them or an output reads."""

    nodes: tuple[onnx.NodeProto, ...]
    read: frozenset[str]


def layer_name(node: onnx.NodeProto, index: int) -> str:
    """What to call a node: its own name, or its operator and place in the file."""
    return node.name[:200] or f"{node.op_type[:80]}_{index}"


def ordered(graph: onnx.GraphProto, known: Iterable[str]) -> Ordered:
    """The nodes that the graph's outputs need, sorted so that each follows what it reads.

    `known` are the names that exist outside: inputs, initialisers, values around a subgraph.
    Raises `ReadError` for a cycle, a value made twice, or one that nothing makes.
    """
    nodes = list(graph.node)
    if len(nodes) > MAX_NODES:
        raise ReadError(f"holds {len(nodes):,} nodes; at most {MAX_NODES:,} are read.")
    outside = set(known)
    own = {item.name for item in (*graph.input, *graph.initializer)}
    own.update(item.values.name for item in graph.sparse_initializer)
    maker: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in maker or name in own:
                raise ReadError(
                    f"{layer_name(node, index)}: makes {name[:80]!r}, which something else "
                    "makes as well."
                )
            maker[name] = index
    reads = [_reads(node) for node in nodes]
    for index, names in enumerate(reads):
        for name in names:
            if name not in maker and name not in own and name not in outside:
                raise ReadError(
                    f"{layer_name(nodes[index], index)}: reads {name[:80]!r}, which nothing "
                    "makes; an initialiser is missing."
                )
    order = _sorted(nodes, reads, maker)
    read = {item.name for item in graph.output}
    for name in read:
        if name not in maker and name not in own and name not in outside:
            raise ReadError(f"the output {name[:80]!r} is made by nothing.")
    kept = []
    for index in reversed(order):
        if any(name in read for name in nodes[index].output if name):
            kept.append(nodes[index])
            read.update(reads[index])
    return Ordered(tuple(reversed(kept)), frozenset(read))


def _reads(node: onnx.NodeProto) -> list[str]:
    """The names that a node reads, for itself or for the graphs inside it."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        names += captured(graph)
    return names


def captured(graph: onnx.GraphProto, depth: int = 1) -> list[str]:
    """The names that a subgraph reads from around it."""
    if depth > MAX_NESTING:
        raise ReadError(f"nests graphs deeper than {MAX_NESTING}; that is not read.")
    own = {item.name for item in (*graph.input, *graph.initializer)}
    own.update(item.values.name for item in graph.sparse_initializer)
    own.update(name for node in graph.node for name in node.output)
    names: dict[str, None] = {}
    for node in graph.node:
        names.update(dict.fromkeys(name for name in node.input if name))
        for inner in subgraphs(node):
            names.update(dict.fromkeys(captured(inner, depth + 1)))
    names.update(dict.fromkeys(item.name for item in graph.output if item.name))
    return [name for name in names if name not in own]


def _sorted(
    nodes: Sequence[onnx.NodeProto], reads: Sequence[Sequence[str]], maker: dict[str, int]
) -> list[int]:
    """The nodes in the order of the file, except where one reads what comes later."""
    # The order of the file, except where it reads what comes later.
    needs = [{maker[name] for name in names if name in maker} for names in reads]
    waiting = [len(n) for n in needs]
    users: list[list[int]] = [[] for _ in nodes]
    for index, makers in enumerate(needs):
        for made in makers:
            users[made].append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users[index]:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(nodes):
        raise ReadError(_cycle(nodes, needs, set(range(len(nodes))) - set(order)))
    return order


def _cycle(nodes: Sequence[onnx.NodeProto], needs: Sequence[set[int]], left: set[int]) -> str:
    """The message for nodes that wait for one another."""
    index = min(left)
    path: dict[int, None] = {}
    while index not in path:
        path[index] = None
        index = min(needs[index] & left)
    steps = list(path)
    steps = steps[steps.index(index) :]
    names = [layer_name(nodes[i], i) for i in reversed(steps)]
    shown = " -> ".join(names[:4] + (["..."] if len(names) > 4 else []) + names[:1])
    return f"its nodes form a cycle: {shown}; a network runs forward only."


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with calls of its own functions replaced by what they do.

    Raises `ReadError` where functions call themselves or would make too many nodes.
    """
    if not model.functions:
        return model
    import onnx
    from onnx import inliner

    _check_functions(model)
    # Without the weights: they are as large as the file, and inlining copies it.
    shell = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    shell.functions.extend(model.functions)
    graph = shell.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    try:
        shell = inliner.inline_local_functions(shell)
    except Exception as error:  # whatever the parser says is about the file
        raise ReadError(f"its functions cannot be inlined: {one_line(error)}.") from None
    shell.graph.initializer.extend(model.graph.initializer)
    shell.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    return shell


def _check_functions(model: onnx.ModelProto) -> None:
    """Raise `ReadError` where functions call themselves, or make too many nodes."""
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto], path: tuple[tuple[str, str], ...]) -> int:
        if len(path) > MAX_CALLS:
            raise ReadError(f"nests functions deeper than {MAX_CALLS}; that is not read.")
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += 1
            if key in bodies:
                if key in path:
                    raise ReadError(f"the function {node.op_type[:80]!r} calls itself.")
                if key not in sizes:
                    sizes[key] = size(bodies[key], (*path, key))
                total += sizes[key]
            for graph in subgraphs(node):
                total += size(graph.node, (*path, ("", "")))
            if total > MAX_NODES:
                raise ReadError(f"its functions make more than {MAX_NODES:,} nodes.")
        return total

    size(model.graph.node, ())


def one_line(error: BaseException) -> str:
    """The first line of an error's text, without its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all graphs inside its nodes, outermost first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that calls no functions of its own."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not model.functions:
        return copy
    shell = inlined(model)
    for ours, theirs in (
        (copy.graph.node, shell.graph.node),
        (copy.graph.value_info, shell.graph.value_info),
        (copy.opset_import, shell.opset_import),
    ):
        del ours[:]
        ours.extend(theirs)
    del copy.functions[:]
    return copy
