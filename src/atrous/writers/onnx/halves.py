"""An ONNX model cut at one value: what leads to it, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atrous.errors import UnsupportedError
from atrous.readers.onnx.file import subgraphs
from atrous.readers.onnx.graph import one_line
from atrous.readers.onnx.parts import ASKING, excerpt, nodes_before

if TYPE_CHECKING:
    import onnx

__all__ = ["halves"]

Shape = Sequence[int | None]
_FLOATS = (1, 10, 11, 16)
"""float32, float16, float64, bfloat16."""


def halves(
    model: onnx.ModelProto, value: str, tile: Shape, whole: Shape, *, check: bool = True
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model up to `value` on one tile, and from there on the whole map.

    `tile` is the shape of the image's part, `whole` that of the map. Weights that both need are in
    both. Raises `UnsupportedError` where the first part does not run on a tile, if that is to be
    checked.
    """
    graph = model.graph
    stored = {item.name for item in graph.initializer}
    (image,) = (item for item in graph.input if item.name not in stored)
    kind = image.type.tensor_type.elem_type
    known = {one.name: one.type.tensor_type.elem_type for one in graph.value_info}
    held = known.get(value, kind if kind in _FLOATS else 1)
    makers = {name: node for node in graph.node for name in node.output}
    before = nodes_before({value}, makers, stop={image.name})
    behind = nodes_before({item.name for item in graph.output}, makers, stop={value})
    front = excerpt(model, before, [(image.name, kind, tile)], [(value, held, [None] * len(whole))])
    if check:
        _check_front(front, value)
    return front, excerpt(model, behind, [(value, held, whole)], list(graph.output))


def _check_front(front: onnx.ModelProto, value: str) -> None:
    import onnx

    asking = [n for node in front.graph.node for n in _all_nodes(node) if n.op_type in ASKING]
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
