"""An ONNX model cut at one value: what leads to it, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from atrous.errors import UnsupportedError
from atrous.readers.onnx.file import subgraphs
from atrous.readers.onnx.graph import copied, one_line

if TYPE_CHECKING:
    import onnx

__all__ = ["halves", "with_sizes_of"]

Shape = Sequence[int | None]
_ASKING = ("Shape", "Size")
_FLOATS = (1, 10, 11, 16)
"""float32, float16, float64, bfloat16."""


def with_sizes_of(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy in which numbers stand where the file asks for the shape of a value.

    In a tile it would be told the tile's, where the image's is meant.
    """
    import numpy as np
    from onnx import numpy_helper

    copy = copied(model)
    kept = []
    for node in copy.graph.node:
        if node.op_type not in _ASKING or node.input[0] not in shapes:
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


def halves(
    model: onnx.ModelProto, value: str, tile: Shape, whole: Shape
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model up to `value` on one tile, and from there on the whole map.

    `tile` is the shape of the image's part, `whole` that of the map. Weights that both need are in
    both. Raises `UnsupportedError` where the first part does not run on a tile.
    """
    graph = model.graph
    stored = {item.name for item in graph.initializer}
    (image,) = (item for item in graph.input if item.name not in stored)
    kind = image.type.tensor_type.elem_type
    known = {one.name: one.type.tensor_type.elem_type for one in graph.value_info}
    held = known.get(value, kind if kind in _FLOATS else 1)
    makers = {name: node for node in graph.node for name in node.output}
    before = _nodes_before({value}, makers, stop={image.name})
    behind = _nodes_before({item.name for item in graph.output}, makers, stop={value})
    front = _half(model, before, [(image.name, kind, tile)], [(value, held, [None] * len(whole))])
    _check_front(front, value)
    return front, _half(model, behind, [(value, held, whole)], list(graph.output))


def _check_front(front: onnx.ModelProto, value: str) -> None:
    import onnx

    asking = [n for node in front.graph.node for n in _all_nodes(node) if n.op_type in _ASKING]
    if asking:
        raise UnsupportedError(
            f"{asking[0].output[0]}: asks for a shape that only a run knows, and in a tile it is "
            "another; cut before it with less memory, or give the PyTorch module."
        )
    try:
        onnx.shape_inference.infer_shapes(front, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise UnsupportedError(
            f"{value}: what lies before it holds numbers for the size of the image, so it does not "
            f"run on a tile: {one_line(error)}; pass them as an input."
        ) from None


def _all_nodes(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [node, *(n for g in subgraphs(node) for one in g.node for n in _all_nodes(one))]


def _nodes_before(
    names: Iterable[str], makers: dict[str, onnx.NodeProto], stop: set[str]
) -> set[int]:
    """The nodes, by identity, that make any of these values, not looked at beyond `stop`."""
    found: set[int] = set()
    asked = [name for name in names if name not in stop]
    while asked:
        node = makers.get(asked.pop())
        if node is None or id(node) in found:
            continue
        found.add(id(node))
        asked += [name for name in _read_by(node) if name not in stop]
    return found


def _read_by(node: onnx.NodeProto) -> list[str]:
    inner = [name for graph in subgraphs(node) for one in graph.node for name in _read_by(one)]
    return [name for name in (*node.input, *inner) if name]


def _half(
    model: onnx.ModelProto,
    kept: set[int],
    inputs: Sequence[tuple[str, int, Shape]],
    outputs: Sequence[object],
) -> onnx.ModelProto:
    import onnx
    from onnx import helper

    nodes = [node for node in model.graph.node if id(node) in kept]
    read = {name for node in nodes for name in _read_by(node)}
    made = onnx.ModelProto()
    made.ir_version = model.ir_version
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    graph = made.graph
    graph.name = model.graph.name
    graph.node.extend(nodes)
    graph.initializer.extend(item for item in model.graph.initializer if item.name in read)
    for name, kind, shape in inputs:
        graph.input.append(helper.make_tensor_value_info(name, kind, list(shape)))
    for one in outputs:
        if isinstance(one, tuple):
            name, kind, shape = one
            one = helper.make_tensor_value_info(name, kind, list(shape))
        graph.output.append(one)
    return made
