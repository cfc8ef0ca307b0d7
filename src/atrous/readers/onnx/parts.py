"""A part of an ONNX graph, from some of its values to others, as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from atrous.readers.onnx.file import subgraphs
from atrous.readers.onnx.graph import copied

if TYPE_CHECKING:
    import onnx

__all__ = ["ASKING", "bare", "excerpt", "nodes_before", "read_by", "with_sizes_of"]

Shape = Sequence[int | None]
ASKING = ("Shape", "Size")


def bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without weights, which calls no functions of its own."""
    import onnx

    shell = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    shell.functions.extend(model.functions)
    shell.graph.name = model.graph.name
    shell.graph.node.extend(model.graph.node)
    shell.graph.input.extend(model.graph.input)
    shell.graph.output.extend(model.graph.output)
    return copied(shell) if model.functions else shell


def with_sizes_of(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy in which numbers stand where the file asks for the shape of a value.

    In a tile it would be told the tile's, where the image's is meant; or the other way round.
    """
    import numpy as np
    from onnx import numpy_helper

    copy = copied(model)
    kept = []
    for node in copy.graph.node:
        if node.op_type not in ASKING or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = np.array(shapes[node.input[0]], np.int64)
        given = {one.name: one.i for one in node.attribute}
        made = shape[given.get("start", 0) : given.get("end")]
        made = made if node.op_type == "Shape" else np.array(shape.prod(), np.int64)
        copy.graph.initializer.append(numpy_helper.from_array(made, node.output[0]))
    nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def nodes_before(
    names: Iterable[str], makers: Mapping[str, onnx.NodeProto], stop: set[str]
) -> set[int]:
    """The nodes, by identity, that make any of these values, not looked at beyond `stop`."""
    found: set[int] = set()
    asked = [name for name in names if name not in stop]
    while asked:
        node = makers.get(asked.pop())
        if node is None or id(node) in found:
            continue
        found.add(id(node))
        asked += [name for name in read_by(node) if name not in stop]
    return found


def read_by(node: onnx.NodeProto) -> list[str]:
    """The values that a node reads, for itself or for the graphs inside it."""
    inner = [name for graph in subgraphs(node) for one in graph.node for name in read_by(one)]
    return [name for name in (*node.input, *inner) if name]


def excerpt(
    model: onnx.ModelProto,
    kept: set[int],
    inputs: Sequence[tuple[str, int, Shape]],
    outputs: Sequence[object],
    weights: Iterable[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    """The nodes `kept`, by identity, with these inputs and outputs: names, kinds and shapes.

    An output may be what the file says of it. `weights` are the tensors that are stored, those of
    the model if not given; what no node reads is left out.
    """
    import onnx
    from onnx import helper

    nodes = [node for node in model.graph.node if id(node) in kept]
    read = {name for node in nodes for name in read_by(node)}
    read.update(one.name for one in outputs if isinstance(one, onnx.ValueInfoProto))
    made = onnx.ModelProto()
    made.ir_version = model.ir_version
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    graph = made.graph
    graph.name = model.graph.name
    graph.node.extend(nodes)
    held = model.graph.initializer if weights is None else weights
    graph.initializer.extend(item for item in held if item.name in read)
    for name, kind, shape in inputs:
        graph.input.append(helper.make_tensor_value_info(name, kind, list(shape)))
    for one in outputs:
        if isinstance(one, tuple):
            name, kind, shape = one
            one = helper.make_tensor_value_info(name, kind, list(shape))
        graph.output.append(one)
    return made
