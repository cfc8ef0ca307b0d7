"""Two ONNX models as one: a front that runs in a loop over tiles of the image, a back behind it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from atrous.plan.along import AxisTiles
from atrous.plan.tiles import TilePlan

__all__ = ["looped"]

_FRONT, _BACK = "front/", "back/"


def looped(
    front: onnx.ModelProto, back: onnx.ModelProto, plan: TilePlan, name: str = "image"
) -> onnx.ModelProto:
    """The model that runs `front` on each tile of `plan`, and `back` on what they make together.

    `front` takes one tile and makes one map, `back` takes the whole map. The loop's body is written
    once, however many tiles there are; each turn reads its part of the image, and hands out as much
    of its map as every tile keeps. The last tile along an axis hands out what ends with the map,
    some of which the one before has as well. The image is called `name`, and outputs as in `back`.
    """
    kept = plan.outputs[0]
    cut = [axis for axis in plan.axes if axis.axis in kept.axes]
    sizes = [_kept_length(axis, kept.name) for axis in cut]
    dims = [kept.axes.index(axis.axis) for axis in cut]
    outputs = [one.name for one in back.graph.output]
    front = compose.add_prefix(front, _FRONT)
    back = compose.add_prefix(back, _BACK)
    image = helper.make_tensor_value_info(
        name, front.graph.input[0].type.tensor_type.elem_type, list(plan.inputs[0].shape)
    )
    places = _turns_of(plan, cut, kept.name, sizes)
    nodes = [
        helper.make_node(
            "Loop",
            ["tiles/tiles", "tiles/always"],
            ["tiles/stacked"],
            name="tiles/tiles",
            body=_body(front, plan, dims, name),
        ),
        *_joined(cut, kept.name, kept.shape, dims, sizes, back.graph.input[0].name),
        *back.graph.node,
    ]
    made = [onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in back.graph.output]
    for one, called in zip(made, outputs, strict=True):
        nodes.append(helper.make_node("Identity", [one.name], [called]))
        one.name = called
    graph = helper.make_graph(
        nodes,
        "tiled",
        [image],
        made,
        [
            numpy_helper.from_array(np.array(len(plan), np.int64), "tiles/tiles"),
            numpy_helper.from_array(np.array(True), "tiles/always"),
            *(numpy_helper.from_array(value, name) for name, value in places.items()),
            *back.graph.initializer,
        ],
    )
    domains = {one.domain: one.version for one in (*front.opset_import, *back.opset_import)}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = max(front.ir_version, back.ir_version)
    model.functions.extend([*front.functions, *back.functions])
    return model


def _kept_length(axis: AxisTiles, name: str) -> int:
    return len(axis.kept(name, 0))


def _turns_of(
    plan: TilePlan, cut: Sequence[AxisTiles], name: str, sizes: Sequence[int]
) -> dict[str, np.ndarray]:
    """Where each tile begins in the image, and what is handed out in its map: a row for each."""
    reads, starts = [], []
    for index in product(*(range(axis.count) for axis in plan.axes)):
        place = dict(zip((axis.axis for axis in plan.axes), index, strict=True))
        reads.append([axis.origin(place[axis.axis]) for axis in plan.axes])
        starts.append(
            [
                min(axis.kept(name, place[axis.axis]).start, axis.outputs[name] - size)
                - axis.offset(name, axis.origin(place[axis.axis]))
                for axis, size in zip(cut, sizes, strict=True)
            ]
        )
    run = [axis.size for axis in plan.axes]
    return {
        "tiles/reads": np.array(reads, np.int64),
        "tiles/starts": np.array(starts, np.int64),
        "tiles/run": np.array(run, np.int64),
        "tiles/kept": np.array(sizes, np.int64),
    }


def _body(
    front: onnx.ModelProto, plan: TilePlan, dims: Sequence[int], image: str
) -> onnx.GraphProto:
    along = [plan.inputs[0].axes.index(axis.axis) for axis in plan.axes]
    (given,), (made,) = front.graph.input, front.graph.output
    nodes = [
        helper.make_node("Gather", ["tiles/reads", "tiles/turn"], ["tiles/from"]),
        helper.make_node("Add", ["tiles/from", "tiles/run"], ["tiles/to"]),
        helper.make_node("Slice", [image, "tiles/from", "tiles/to", "tiles/along"], [given.name]),
        *front.graph.node,
        helper.make_node("Gather", ["tiles/starts", "tiles/turn"], ["tiles/first"]),
        helper.make_node("Add", ["tiles/first", "tiles/kept"], ["tiles/last"]),
        helper.make_node(
            "Slice", [made.name, "tiles/first", "tiles/last", "tiles/dims"], ["tiles/part"]
        ),
        helper.make_node("Identity", ["tiles/go on"], ["tiles/still"]),
    ]
    shape = [None] * len(made.type.tensor_type.shape.dim)
    return helper.make_graph(
        nodes,
        "tile",
        [
            helper.make_tensor_value_info("tiles/turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("tiles/go on", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("tiles/still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("tiles/part", made.type.tensor_type.elem_type, shape),
        ],
        [
            numpy_helper.from_array(np.array(along, np.int64), "tiles/along"),
            numpy_helper.from_array(np.array(dims, np.int64), "tiles/dims"),
            *front.graph.initializer,
        ],
    )


def _joined(
    cut: Sequence[AxisTiles],
    name: str,
    shape: Sequence[int],
    dims: Sequence[int],
    sizes: Sequence[int],
    target: str,
) -> list[onnx.NodeProto]:
    """The stack of all tiles' parts as one map: along each axis the last one gives what is left."""
    counts = [axis.count for axis in cut]
    rank, held = len(shape), list(shape)
    for dim, size in zip(dims, sizes, strict=True):
        held[dim] = size
    nodes = [_constant("tiles/grid", [*counts, *held])]
    nodes.append(helper.make_node("Reshape", ["tiles/stacked", "tiles/grid"], ["tiles/gridded"]))
    order: list[int] = []
    for dim in range(rank):
        if dim in dims:
            order.append(dims.index(dim))
        order.append(len(counts) + dim)
    nodes.append(helper.make_node("Transpose", ["tiles/gridded"], ["tiles/ordered"], perm=order))
    rows = [n * (counts[dims.index(i)] if i in dims else 1) for i, n in enumerate(held)]
    nodes += [
        _constant("tiles/rows", rows),
        helper.make_node("Reshape", ["tiles/ordered", "tiles/rows"], ["tiles/joined 0"]),
    ]
    value = "tiles/joined 0"
    for at, (axis, dim, size) in enumerate(zip(cut, dims, sizes, strict=True), 1):
        length = axis.outputs[name]
        full, surplus = axis.count * size, axis.count * size - length
        if not surplus:
            continue
        # The last part ends with the map: what the one before it has as well is left out, in one
        # step, which holds the map twice and no more.
        before = full - size
        left = [*range(before), *range(before + surplus, full)]
        nodes.append(_constant(f"tiles/left {at}", left))
        names = [value, f"tiles/left {at}"]
        value = f"tiles/joined {at}"
        nodes.append(helper.make_node("Gather", names, [value], axis=dim))
    nodes.append(helper.make_node("Identity", [value], [target]))
    return nodes


def _constant(name: str, values: Sequence[int]) -> onnx.NodeProto:
    value = numpy_helper.from_array(np.array(values, np.int64), name)
    return helper.make_node("Constant", [], [name], value=value)
