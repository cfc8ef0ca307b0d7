"""Every family of ONNX operators against ONNX Runtime: shapes, and who reads what."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import atrous
from atrous.network.folded_pads import folded
from atrous.readers.onnx.reader import read_onnx
from tests.onnx_probe import assert_reads_agree, ints, model, one, session, weights

IMAGE = (1, 2, 9, 11)
EMPTY = np.zeros(0, np.float32)


def floats(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "no padding": {},
    "asymmetric pads": {"pads": [1, 0, 2, 3]},
    "stride and dilation": {"strides": [2, 3], "dilations": [3, 2], "pads": [2, 2, 1, 3]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
    "valid": {"auto_pad": "VALID", "strides": [3, 1], "dilations": [2, 2]},
    "groups": {"group": 2, "pads": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("attributes", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)])
def test_convolutions_read_what_the_runtime_reads(
    attributes: dict[str, Any], kernel: tuple[int, int]
) -> None:
    weight = weights(4, 2 // attributes.get("group", 1), *kernel)
    assert_reads_agree(one("Conv", IMAGE, weight, weights(4), **attributes))


def test_convolutions_along_one_and_three_axes_read_what_the_runtime_reads() -> None:
    assert_reads_agree(one("Conv", (1, 2, 17), weights(3, 2, 3), dilations=[4], pads=[8, 0]))
    assert_reads_agree(
        one("Conv", (1, 1, 4, 5, 6), weights(2, 1, 2, 3, 2), strides=[1, 2, 2], pads=[0, 1, 0] * 2)
    )


TRANSPOSED: dict[str, dict[str, Any]] = {
    "stride 2": {"strides": [2, 2]},
    "pads": {"strides": [2, 3], "pads": [1, 0, 1, 2]},
    "output padding": {"strides": [3, 2], "output_padding": [2, 1], "pads": [1, 1, 1, 1]},
    "dilation": {"strides": [2, 1], "dilations": [2, 3]},
    "output shape": {"strides": [2, 2], "output_shape": [9, 10]},
    "same upper": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "same lower": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "output shape, same upper": {
        "strides": [2, 2],
        "auto_pad": "SAME_UPPER",
        "output_shape": [9, 10],
    },
    "groups": {"group": 2, "strides": [2, 2]},
}


@pytest.mark.parametrize("attributes", TRANSPOSED.values(), ids=TRANSPOSED)
@pytest.mark.parametrize("kernel", [3, 4])
def test_transposed_convolutions_read_what_the_runtime_reads(
    attributes: dict[str, Any], kernel: int
) -> None:
    assert_reads_agree(one("ConvTranspose", (1, 2, 4, 5), weights(2, 3, kernel, 3), **attributes))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "dilation"),
    [
        (3, 2, (1, 1, 1, 1), 1),
        (2, 2, (0, 0, 0, 0), 1),
        (3, 3, (1, 0, 1, 2), 1),
        (2, 3, (0, 1, 1, 0), 1),
        (3, 2, (2, 1, 0, 1), 2),
        (2, 4, (1, 1, 1, 1), 3),
    ],
)
def test_pools_read_what_the_runtime_reads(
    op: str, ceil: int, kernel: int, stride: int, pads: tuple[int, ...], dilation: int
) -> None:
    assert_reads_agree(
        one(
            op,
            IMAGE,
            opset=22,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=pads,
            ceil_mode=ceil,
            dilations=[dilation] * 2,
        )
    )


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_pools_with_automatic_padding_read_what_the_runtime_reads(auto: str) -> None:
    assert_reads_agree(
        one("MaxPool", IMAGE, opset=11, kernel_shape=[2, 3], strides=[2, 2], auto_pad=auto)
    )


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pools_read_everything(op: str) -> None:
    network = assert_reads_agree(one(op, (1, 2, 4, 5)))
    assert network.nodes[-1].mixes == ("h", "w")


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "coordinates",
    ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"],
)
@pytest.mark.parametrize("sizes", [(18, 22), (12, 7), (27, 5), (1, 16), (7, 33)])
def test_resizing_to_sizes_reads_what_the_runtime_reads(
    mode: str, coordinates: str, sizes: tuple[int, int]
) -> None:
    target = ints(1, 1, *sizes)
    assert_reads_agree(
        one(
            "Resize",
            (1, 1, 9, 11),
            None,
            None,
            target,
            opset=19,
            mode=mode,
            coordinate_transformation_mode=coordinates,
        ),
        finite=mode != "nearest",
    )


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scales", [(2.0, 3.0), (0.5, 0.25), (1.5, 0.75)])
def test_nearest_by_scales_reads_what_the_runtime_reads(
    nearest: str, coordinates: str, scales: tuple[float, float]
) -> None:
    assert_reads_agree(
        one(
            "Resize",
            (1, 1, 8, 12),
            None,
            floats(1, 1, *scales),
            opset=13,
            mode="nearest",
            nearest_mode=nearest,
            coordinate_transformation_mode=coordinates,
        )
    )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [(2.0, 3.0), (0.5, 0.25), (1.5, 0.75), (1.2, 2.3)])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_interpolation_by_scales_reads_what_the_runtime_reads(
    mode: str, scales: tuple[float, float], coordinates: str
) -> None:
    assert_reads_agree(
        one(
            "Resize",
            (1, 1, 8, 12),
            None,
            floats(1, 1, *scales),
            opset=13,
            mode=mode,
            coordinate_transformation_mode=coordinates,
        ),
        finite=True,
    )


@pytest.mark.parametrize(
    ("mode", "coordinates", "opaque"),
    [
        ("linear", "half_pixel", False),
        ("cubic", "half_pixel", False),
        ("linear", "asymmetric", False),
        # The runtime moves these filters off the points, and folds their rims back.
        ("cubic", "asymmetric", True),
        ("linear", "align_corners", True),
        ("cubic", "align_corners", True),
    ],
)
def test_antialiased_shrinking_reads_what_the_runtime_reads(
    mode: str, coordinates: str, opaque: bool
) -> None:
    network = assert_reads_agree(
        one(
            "Resize",
            (1, 1, 12, 16),
            None,
            None,
            ints(1, 1, 5, 8),
            opset=18,
            mode=mode,
            coordinate_transformation_mode=coordinates,
            antialias=1,
        ),
        finite=True,
        complete=not opaque,
    )
    assert bool(network.nodes[-1].opaque) == opaque


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resizing_that_keeps_the_aspect_ratio_reads_what_the_runtime_reads(policy: str) -> None:
    assert_reads_agree(
        one(
            "Resize",
            (1, 1, 8, 12),
            None,
            None,
            ints(12, 12),
            opset=18,
            mode="linear",
            axes=[2, 3],
            keep_aspect_ratio_policy=policy,
        ),
        finite=True,
    )


@pytest.mark.parametrize(
    ("mode", "scales"),
    [
        *(("nearest", s) for s in [(2.0, 2.0), (0.5, 0.5), (2.0, 0.5), (1.5, 1.0)]),
        # In linear mode ONNX Runtime multiplies a neighbour by 0 where an axis keeps its size.
        *(("linear", s) for s in [(2.0, 2.0), (0.5, 0.5), (2.0, 0.5), (1.5, 2.5)]),
    ],
)
def test_resizing_before_version_11_reads_what_the_runtime_reads(
    mode: str, scales: tuple[float, float]
) -> None:
    assert_reads_agree(
        one("Resize", (1, 1, 8, 12), floats(1, 1, *scales), opset=10, mode=mode),
        finite=mode != "nearest",
    )


def test_upsampling_reads_what_the_runtime_reads() -> None:
    assert_reads_agree(one("Upsample", (1, 1, 5, 4), floats(1, 1, 2, 3), opset=9, mode="nearest"))
    linear = one("Upsample", (1, 1, 5, 4), floats(1, 1, 2, 3), opset=9, mode="linear")
    assert_reads_agree(linear, finite=True)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_reads_what_the_runtime_reads(mode: str) -> None:
    assert_reads_agree(one("Pad", IMAGE, ints(0, 0, 2, 1, 0, 0, 0, 3), opset=13, mode=mode))
    assert_reads_agree(one("Pad", IMAGE, opset=10, mode=mode, pads=[0, 0, 2, 1, 0, 0, 0, 3]))
    assert_reads_agree(
        one("Pad", IMAGE, ints(2, 1), None, ints(-1), opset=18, mode=mode),
    )


def test_padding_that_wraps_and_padding_that_crops_read_what_the_runtime_reads() -> None:
    assert_reads_agree(one("Pad", IMAGE, ints(0, 0, 2, 1, 0, 0, 3, 0), opset=19, mode="wrap"))
    assert_reads_agree(one("Pad", IMAGE, ints(0, 0, -2, 1, 0, 0, 0, -3), opset=13))


SLICES = {
    "low end": ((1, 2), (7, 9), (2, 3), (1, 1)),
    "negative": ((-8, -5), (-1, 100), (2, -1), (1, 1)),
    "steps": ((1, 0), (9, 100), (2, 3), (3, 2)),
    "one index": ((4,), (5,), (2,), (1,)),
}


@pytest.mark.parametrize("case", SLICES.values(), ids=SLICES)
def test_slices_read_what_the_runtime_reads(case: tuple[tuple[int, ...], ...]) -> None:
    starts, ends, axes, steps = case
    assert_reads_agree(one("Slice", IMAGE, *(ints(*part) for part in case), opset=13))
    if set(steps) == {1}:
        assert_reads_agree(one("Slice", IMAGE, opset=9, starts=starts, ends=ends, axes=axes))


def test_splits_along_positions_read_what_the_runtime_reads() -> None:
    for opset, extra, attributes in [
        (11, [], {"split": [4, 7]}),
        (13, [ints(4, 7)], {}),
        (18, [], {"num_outputs": 2}),
    ]:
        names = [f"c{i}" for i in range(len(extra))]
        node = helper.make_node("Split", ["x", *names], ["a", "b"], axis=3, **attributes)
        proto = model(
            [node],
            {"x": IMAGE},
            dict(zip(names, extra, strict=True)),
            outputs=["a", "b"],
            opset=opset,
        )
        assert_reads_agree(proto)


CHAINS: dict[str, tuple[list[tuple[Any, ...]], dict[str, np.ndarray], tuple[int, ...]]] = {
    "reshape to tokens, multiply, back": (
        [
            ("Reshape", ["x", "to"], "a", {}),
            ("Transpose", ["a"], "b", {"perm": [0, 2, 1]}),
            ("MatMul", ["b", "w"], "c", {}),
            ("Transpose", ["c"], "d", {"perm": [0, 2, 1]}),
            ("Reshape", ["d", "back"], "e", {}),
            ("Conv", ["e", "k"], "y", {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        ],
        {
            "to": ints(0, 0, -1),
            "back": ints(0, 3, 6, 5),
            "w": weights(2, 3),
            "k": weights(1, 3, 3, 3),
        },
        (1, 2, 6, 5),
    ),
    "pixel shuffle spelled out": (
        [
            ("Conv", ["x", "k"], "a", {"pads": [1, 1, 1, 1]}),
            ("Reshape", ["a", "to"], "b", {}),
            ("Transpose", ["b"], "c", {"perm": [0, 1, 4, 2, 5, 3]}),
            ("Reshape", ["c", "back"], "y", {}),
        ],
        {"k": weights(8, 2, 3, 3), "to": ints(1, 2, 2, 2, 4, 5), "back": ints(1, 2, 8, 10)},
        (1, 2, 4, 5),
    ),
    "depth to space and back": (
        [
            ("Conv", ["x", "k"], "a", {"pads": [1, 1, 1, 1]}),
            ("DepthToSpace", ["a"], "b", {"blocksize": 2, "mode": "CRD"}),
            ("SpaceToDepth", ["b"], "c", {"blocksize": 2}),
            ("DepthToSpace", ["c"], "y", {"blocksize": 2}),
        ],
        {"k": weights(8, 2, 3, 3)},
        (1, 2, 4, 6),
    ),
    "squeeze and excitation": (
        [
            ("ReduceMean", ["x"], "a", {"axes": [2, 3], "keepdims": 0}),
            ("Gemm", ["a", "w", "v"], "b", {"transB": 1}),
            ("Sigmoid", ["b"], "c", {}),
            ("Unsqueeze", ["c", "at"], "d", {}),
            ("Mul", ["x", "d"], "y", {}),
        ],
        {"w": weights(2, 2), "v": weights(2), "at": ints(2, 3)},
        (1, 2, 4, 5),
    ),
    "strip pooling": (
        [
            ("Conv", ["x", "k"], "a", {"pads": [1, 1, 1, 1]}),
            ("ReduceMean", ["a"], "b", {"axes": [-1]}),
            ("Expand", ["b", "to"], "c", {}),
            ("Conv", ["c", "one"], "y", {}),
        ],
        {
            "k": weights(2, 2, 3, 3),
            "to": ints(1, 1, 1, 7),
            "one": weights(1, 2, 1, 1),
        },
        (1, 2, 6, 7),
    ),
    "branches of a cross": (
        [
            ("Conv", ["x", "k"], "a", {"pads": [0, 2, 0, 2]}),
            ("Conv", ["x", "l"], "b", {"pads": [2, 0, 2, 0]}),
            ("Concat", ["a", "b"], "c", {"axis": 1}),
            ("Conv", ["c", "one"], "y", {}),
        ],
        {
            "k": weights(1, 2, 1, 5),
            "l": weights(1, 2, 5, 1),
            "one": weights(1, 2, 1, 1),
        },
        (1, 2, 7, 8),
    ),
    "channels last": (
        [
            ("Transpose", ["x"], "a", {"perm": [0, 3, 1, 2]}),
            ("Conv", ["a", "k"], "b", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
            ("Transpose", ["b"], "y", {"perm": [0, 2, 3, 1]}),
        ],
        {"k": weights(3, 2, 3, 3)},
        (1, 8, 9, 2),
    ),
    "resizing, channels last": (
        [
            ("Resize", ["x", "", "by"], "a", {"mode": "linear"}),
            ("Transpose", ["a"], "b", {"perm": [0, 3, 1, 2]}),
            ("Conv", ["b", "k"], "y", {"strides": [2, 2]}),
        ],
        {"by": floats(1, 2, 2, 1), "k": weights(3, 2, 3, 3)},
        (1, 4, 5, 2),
    ),
    "softmax over channels before version 13 and over positions after": (
        [("Conv", ["x", "k"], "a", {}), ("Softmax", ["a"], "y", {"axis": -1})],
        {"k": weights(2, 2, 3, 3)},
        (1, 2, 6, 7),
    ),
    "layer norm over channels, channels last": (
        [
            ("Transpose", ["x"], "a", {"perm": [0, 2, 3, 1]}),
            ("LayerNormalization", ["a", "s", "b"], "c", {}),
            ("Transpose", ["c"], "d", {"perm": [0, 3, 1, 2]}),
            ("Conv", ["d", "k"], "y", {"group": 2, "pads": [3, 3, 3, 3]}),
        ],
        {"s": weights(2), "b": weights(2), "k": weights(2, 1, 7, 7)},
        (1, 2, 9, 8),
    ),
    "instance norm": (
        [("Conv", ["x", "k"], "a", {}), ("InstanceNormalization", ["a", "s", "b"], "y", {})],
        {"k": weights(2, 2, 3, 3), "s": weights(2), "b": weights(2)},
        (1, 2, 5, 6),
    ),
    "attention between positions": (
        [
            ("Conv", ["x", "k"], "a", {"strides": [2, 2]}),
            ("Reshape", ["a", "to"], "b", {}),
            ("Transpose", ["b"], "c", {"perm": [0, 2, 1]}),
            ("MatMul", ["c", "b"], "d", {}),
            ("Softmax", ["d"], "e", {"axis": -1}),
            ("MatMul", ["e", "c"], "f", {}),
            ("Transpose", ["f"], "g", {"perm": [0, 2, 1]}),
            ("Reshape", ["g", "back"], "y", {}),
        ],
        {"k": weights(2, 2, 2, 2), "to": ints(0, 0, -1), "back": ints(1, 2, 3, 3)},
        (1, 2, 6, 6),
    ),
    "a product with the constant on the left": (
        [
            ("Reshape", ["x", "to"], "a", {}),
            ("MatMul", ["w", "a"], "b", {}),
            ("Reshape", ["b", "back"], "c", {}),
            ("Conv", ["c", "k"], "y", {}),
        ],
        {
            "to": ints(0, 0, -1),
            "w": weights(3, 2),
            "back": ints(1, 3, 5, 6),
            "k": weights(1, 3, 3, 2),
        },
        (1, 2, 5, 6),
    ),
    "channel shuffle by gathering": (
        [("Gather", ["x", "order"], "a", {"axis": 1}), ("Conv", ["a", "k"], "y", {"group": 2})],
        {"order": ints(2, 0, 3, 1), "k": weights(2, 2, 3, 3)},
        (1, 4, 5, 6),
    ),
    "one row, gathered": (
        [("Gather", ["x", "row"], "a", {"axis": 2}), ("Conv", ["a", "k"], "y", {})],
        {"row": np.asarray(-2, np.int64), "k": weights(2, 2, 3)},
        (1, 2, 5, 9),
    ),
    "tiled": (
        [("Tile", ["x", "times"], "a", {}), ("Conv", ["a", "k"], "y", {})],
        {"times": ints(1, 1, 2, 1), "k": weights(1, 2, 3, 3)},
        (1, 2, 4, 5),
    ),
    "einsum over channels": (
        [("Einsum", ["x", "w"], "a", {"equation": "bchw,cd->bdhw"}), ("Conv", ["a", "k"], "y", {})],
        {"w": weights(2, 3), "k": weights(1, 3, 2, 3)},
        (1, 2, 5, 6),
    ),
    "norm over everything but the batch": (
        [
            ("Conv", ["x", "k"], "a", {}),
            ("Flatten", ["a"], "b", {}),
            ("LpNormalization", ["b"], "y", {}),
        ],
        {"k": weights(2, 2, 3, 3)},
        (1, 2, 4, 5),
    ),
    "batch norm, clip, slope": (
        [
            ("Conv", ["x", "k"], "a", {}),
            ("BatchNormalization", ["a", "s", "s", "s", "s"], "b", {}),
            ("Clip", ["b", "lo", "hi"], "c", {}),
            ("PRelu", ["a", "slope"], "d", {}),
            ("Add", ["c", "d"], "y", {}),
        ],
        {
            "k": weights(2, 2, 3, 3),
            "s": weights(2),
            "lo": np.float32(-1e9),
            "hi": np.float32(1e9),
            "slope": weights(2, 1, 1),
        },
        (1, 2, 5, 6),
    ),
}


@pytest.mark.parametrize("case", CHAINS.values(), ids=CHAINS)
def test_chains_of_nodes_read_what_the_runtime_reads(case: Any) -> None:
    steps, constants, shape = case
    nodes = [helper.make_node(op, i, [o], name=o, **more) for op, i, o, more in steps]
    assert_reads_agree(model(nodes, {"x": shape}, constants))


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_before_version_13_mixes_all_dimensions_from_its_axis_on(
    op: str, axis: int
) -> None:
    assert_reads_agree(one(op, (1, 2, 4, 3), opset=11, axis=axis))
    assert_reads_agree(one(op, (1, 2, 4, 3), opset=13, axis=axis))


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2], [1], [-1, 1], None])
def test_reductions_read_what_the_runtime_reads(op: str, keep: int, axes: list[int] | None) -> None:
    old = {} if axes is None else {"axes": axes}
    assert_reads_agree(one(op, (1, 2, 4, 5), opset=11, keepdims=keep, **old))
    new = [] if axes is None else [ints(*axes)]
    assert_reads_agree(one(op, (1, 2, 4, 5), *new, opset=18, keepdims=keep))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrences_read_their_past_their_future_or_both(
    op: str, gates: int, direction: str
) -> None:
    ways = 2 if direction == "bidirectional" else 1
    conv = helper.make_node("Conv", ["x", "k"], ["a"], pads=[1, 1])
    turn = helper.make_node("Transpose", ["a"], ["b"], perm=[2, 0, 1])
    cell = helper.make_node(
        op, ["b", "w", "r"], ["c", "h"], name="cell", hidden_size=2, direction=direction
    )
    constants = {
        "k": weights(3, 2, 3),
        "w": weights(ways, gates * 2, 3) / 8,
        "r": weights(ways, gates * 2, 2) / 8,
    }
    network = assert_reads_agree(
        model([conv, turn, cell], {"x": (1, 2, 9)}, constants, outputs=["c", "h"])
    )
    assert network.node("cell").macs == 9 * ways * gates * 2 * (3 + 2)


@pytest.mark.parametrize("reverse", [0, 1])
def test_a_running_sum_reads_its_past(reverse: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"]),
        helper.make_node("CumSum", ["a", "axis"], ["y"], reverse=reverse),
    ]
    constants = {"k": weights(1, 2, 3), "axis": np.asarray(2, np.int64)}
    assert_reads_agree(model(nodes, {"x": (1, 2, 8)}, constants))


def test_two_inputs_are_joined_where_they_broadcast() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "z"], ["y"]),
    ]
    proto = model(nodes, {"x": (1, 2, 5, 6), "z": (1, 3, 1, 6)}, {"k": weights(3, 2, 3, 3)})
    assert_reads_agree(proto)


def test_a_table_looked_up_by_the_input_adds_a_dimension() -> None:
    proto = one("Gather", (1, 7), weights(10, 4))
    node = proto.graph.node[0]
    node.input[:] = ["c0", "x"]
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    network = read_onnx(proto)
    assert network.nodes[-1].kind == "lookup"
    assert network.nodes[-1].output.shape == (1, 7, 4)
    assert network.param_count == 40


def test_quantized_convolutions_count_as_convolutions() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        helper.make_node("Conv", ["d", "v"], ["y"], name="conv"),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(0),
        "w": np.ones((3, 2, 3, 3), np.uint8),
    }
    network = read_onnx(model(nodes, {"x": (1, 2, 8, 8)}, constants, opset=13))
    assert [node.kind for node in network.nodes] == ["elementwise", "elementwise", "conv"]
    assert network.node("conv").macs == 3 * 2 * 9 * 36
    assert network.param_count == 3 * 2 * 9
    assert network.nodes[0].output.itemsize == 1


def test_attention_in_one_node_reads_all_positions() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        helper.make_node("Attention", ["b", "b", "b"], ["y"], q_num_heads=2, kv_num_heads=2),
    ]
    network = assert_reads_agree(
        model(nodes, {"x": (1, 2, 7)}, {"k": weights(4, 2, 3) / 8}, opset=23)
    )
    assert network.macs == 4 * 2 * 3 * 5 + 2 * 5 * 5 * 4


def test_nearest_resizing_is_followed_or_opaque_where_a_tie_rounds_either_way() -> None:
    rng = np.random.default_rng(3)
    opaque = 0
    for _ in range(150):
        length, size = int(rng.integers(2, 40)), int(rng.integers(1, 80))
        coordinates = rng.choice(["half_pixel", "asymmetric", "align_corners"])
        nearest = rng.choice(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
        proto = one(
            "Resize",
            (1, 1, length),
            None,
            None,
            ints(1, 1, size),
            opset=19,
            mode="nearest",
            nearest_mode=str(nearest),
            coordinate_transformation_mode=str(coordinates),
        )
        ramp = np.arange(length, dtype=np.float32).reshape(1, 1, length)
        (found,) = session(proto).run(None, {"x": ramp})
        node = read_onnx(proto).nodes[-1]
        if node.opaque:
            opaque += 1
            continue
        moves = node.moves[0].get("t")
        read = [output if moves is None else moves.at(output).first for output in range(size)]
        assert read == found.reshape(-1).astype(int).tolist(), (length, size, node.op)
    assert opaque < 10


def test_an_offset_made_from_the_input_is_read_whole() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["b"], axes=[0, 2, 3], keepdims=0),
        helper.make_node("Conv", ["x", "k", "b"], ["y"], name="again"),
    ]
    proto = model(nodes, {"x": (1, 2, 6, 6)}, {"k": weights(3, 2, 3, 3)}, opset=13)
    report = atrous.inspect(proto)
    assert report["again"].is_global
    assert report.footprint().taps == 36


def _drawn_window(rng: random.Random) -> tuple[onnx.ModelProto, int]:
    """A window of any kind as files have them, and how many positions it is given."""
    op = rng.choice(["Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"])
    n, k, s, d = rng.randint(2, 12), rng.randint(1, 5), rng.randint(1, 4), rng.randint(1, 3)
    opset = rng.choice([8, 10, 12, 17, 19, 22])
    attributes: dict[str, Any] = {"strides": [s]}
    auto = rng.choice(["NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
    widest = k - 1 if "Pool" in op else 3
    if auto == "NOTSET":
        attributes["pads"] = [rng.randint(0, widest), rng.randint(0, widest)]
    else:
        attributes["auto_pad"] = auto
    if "Conv" in op or opset >= (10 if op == "MaxPool" else 19):
        attributes["dilations"] = [d]
    weight = () if "Pool" in op else (weights(*((2, 3) if op == "ConvTranspose" else (3, 2)), k),)
    if "Pool" in op:
        attributes["kernel_shape"] = [k]
        if opset >= (18 if op == "LpPool" else 10):
            attributes["ceil_mode"] = rng.randint(0, 1)
    elif op == "ConvTranspose":
        if rng.random() < 0.5 and max(s, d) > 1:
            attributes["output_padding"] = [rng.randint(0, max(s, d) - 1)]
        if rng.random() < 0.3:
            attributes["output_shape"] = [rng.randint(1, n * s + 3)]
    return one(op, (1, 2, n), *weight, opset=opset, **attributes), n


@pytest.mark.parametrize("seed", range(4))
def test_windows_of_any_kind_read_what_the_runtime_reads(seed: int) -> None:
    rng = random.Random(seed)
    compared = 0
    for _ in range(60):
        proto, n = _drawn_window(rng)
        try:
            made = session(proto).run(None, {"x": np.ones((1, 2, n), np.float32)})[0]
            runs = made.size > 0
        except Exception:
            runs = False
        try:
            network = read_onnx(proto)
        except atrous.AtrousError:
            continue
        if runs:
            assert network.tensor(network.outputs[0]).shape == made.shape
            assert_reads_agree(proto)
            compared += 1
    assert compared > 40


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "size"), [(2, 2, 1, 9), (3, 3, 1, 2), (1, 2, 0, 12)]
)
def test_a_partial_window_that_starts_in_the_padding_is_left_out_and_noted(
    kernel: int, stride: int, pads: int, size: int
) -> None:
    proto = one(
        "MaxPool",
        (1, 1, size, size),
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[pads] * 4,
        ceil_mode=1,
    )
    network = assert_reads_agree(proto)
    assert ["inference says" in note and note.startswith("node: ") for note in network.notes] == [1]


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_output_padding_does_not_widen_what_is_padded_the_same(auto: str) -> None:
    weight = weights(2, 1, 2, 2)
    proto = one(
        "ConvTranspose", (1, 2, 3, 3), weight, strides=[2, 2], auto_pad=auto, output_padding=[1, 1]
    )
    network = assert_reads_agree(proto)
    assert network.tensor(network.outputs[0]).shape == (1, 1, 6, 6)


def test_a_pool_narrower_than_its_stride_is_cropped_as_the_runtime_crops_it() -> None:
    proto = one("LpPool", (1, 1, 9), kernel_shape=[1], strides=[3], auto_pad="SAME_UPPER")
    network = assert_reads_agree(proto)
    assert atrous.inspect(network).outputs[0].field[0].start == 1
    assert "as ONNX Runtime has it" in network.notes[0]


def test_a_transposed_convolution_that_declares_another_kernel_than_its_weight_is_refused() -> None:
    proto = one("ConvTranspose", (1, 2, 5), weights(2, 3, 3), kernel_shape=[4])
    with pytest.raises(atrous.ReadError, match=r"kernel_shape says \(4,\) and the weight has \(3,"):
        read_onnx(proto)


@pytest.mark.parametrize(("scale", "opset"), [(0.7, 11), (0.7, 19), (1.25, 10), (1.25, 13)])
@pytest.mark.parametrize("size", [3, 10])
def test_scales_make_the_sizes_that_the_runtime_makes(scale: float, opset: int, size: int) -> None:
    given = [floats(1, 1, 1, scale)]
    attributes: dict[str, Any] = {"mode": "nearest"}
    if opset > 10:
        given.insert(0, EMPTY)
        attributes |= {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    assert_reads_agree(one("Resize", (1, 1, 1, size), *given, opset=opset, **attributes))


@pytest.mark.parametrize("opset", [10, 13])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_what_constant_padding_is_filled_with_is_kept(value: float, opset: int) -> None:
    pads = [0, 0, 1, 1, 0, 0, 1, 1]
    proto = one("Pad", IMAGE, pads=pads, value=value, opset=opset)
    if opset > 10:
        proto = one("Pad", IMAGE, ints(*pads), np.asarray(value, np.float32), opset=opset)
    assert assert_reads_agree(proto).nodes[-1].op.value == value


def test_only_a_padding_of_zeros_becomes_that_of_a_convolution() -> None:
    for value, folds in ((0.0, True), (1.0, False)):
        nodes = [
            helper.make_node("Pad", ["x", "pads", "value"], ["p"], name="/layer/Pad"),
            helper.make_node("Conv", ["p", "layer.conv.weight"], ["y"], name="/layer/conv/Conv"),
        ]
        given = {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "value": np.asarray(value, np.float32)}
        proto = model(nodes, {"x": IMAGE}, {**given, "layer.conv.weight": weights(2, 2, 3, 3)})
        assert (len(folded(read_onnx(proto), around=True).nodes) == 1) == folds


def test_a_padding_value_that_is_computed_is_read() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Pad", ["x", "pads", "m"], ["y"]),
    ]
    network = read_onnx(model(nodes, {"x": IMAGE}, {"pads": ints(0, 0, 1, 0, 0, 0, 0, 0)}))
    assert not network.nodes[-1].opaque
    assert network.nodes[-1].inputs == ("x", network.nodes[0].output.name)


@pytest.mark.parametrize(("op", "shape"), [("SpaceToDepth", (1, 2, 9, 8)), ("DepthToSpace", IMAGE)])
def test_blocks_that_do_not_divide_are_one_error(op: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(atrous.ReadError, match="does not divide into blocks of 2"):
        read_onnx(one(op, shape, blocksize=2))
