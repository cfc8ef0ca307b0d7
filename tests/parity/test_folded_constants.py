"""What the reader folds is what ONNX Runtime makes, at versions where ops changed their form."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import atrous
from atrous.readers.onnx.constants import Folder
from atrous.readers.onnx.reader import read_onnx
from atrous.readers.onnx.values import Const
from tests.onnx_probe import assert_reads_agree, ints, model

ONE = np.asarray(1, np.int64)
LIST = ints(2, 8, 5, 6)
GRID = np.arange(12, dtype=np.int64).reshape(3, 4)
REALS = np.asarray([0.5, 1.5, 2.0, 4.0], np.float32)

CASES: dict[str, tuple[str, list[np.ndarray], dict[str, Any], int, int]] = {
    "unsqueeze by attribute": ("Unsqueeze", [ONE], {"axes": [0]}, 9, 1),
    "unsqueeze by input": ("Unsqueeze", [ONE, ints(0)], {}, 13, 1),
    "squeeze by attribute": ("Squeeze", [ints(3)], {"axes": [0]}, 11, 1),
    "squeeze by input": ("Squeeze", [ints(3), ints(0)], {}, 17, 1),
    "slice by attribute": ("Slice", [LIST], {"starts": [1], "ends": [3], "axes": [0]}, 9, 1),
    "slice backwards": ("Slice", [LIST, ints(-1), ints(-9), ints(0), ints(-2)], {}, 12, 1),
    "split by attribute": ("Split", [LIST], {"split": [1, 3], "axis": 0}, 12, 2),
    "split by input": ("Split", [LIST, ints(1, 3)], {"axis": 0}, 17, 2),
    "sum by attribute": ("ReduceSum", [GRID], {"axes": [1], "keepdims": 0}, 12, 1),
    "sum by input": ("ReduceSum", [GRID, ints(1)], {"keepdims": 0}, 13, 1),
    "product by attribute": ("ReduceProd", [LIST], {"axes": [0], "keepdims": 1}, 17, 1),
    "product by input": ("ReduceProd", [LIST, ints(0)], {"keepdims": 1}, 18, 1),
    "largest by attribute": ("ReduceMax", [LIST], {"axes": [0]}, 17, 1),
    "smallest of all": ("ReduceMin", [GRID], {"keepdims": 0}, 13, 1),
    "mean": ("ReduceMean", [REALS], {"axes": [0]}, 13, 1),
    "power": ("Pow", [LIST, ints(2)], {}, 17, 1),
    "power of reals": ("Pow", [REALS, REALS[:1]], {}, 12, 1),
    "logarithm": ("Log", [REALS], {}, 13, 1),
    "clip by attribute": ("Clip", [REALS], {"min": 1.0, "max": 3.0}, 10, 1),
    "clip by input": ("Clip", [LIST, ONE * 3, ONE * 6], {}, 13, 1),
    "pad by attribute": ("Pad", [REALS], {"pads": [1, 2], "value": 3.0}, 10, 1),
    "pad by input": ("Pad", [LIST, ints(1, 2), ONE * 7], {}, 13, 1),
    "largest two": ("TopK", [LIST, ints(2)], {"axis": 0}, 11, 2),
    "product of matrices": ("MatMul", [GRID.astype(np.int64), GRID.T], {}, 13, 1),
    "remainder": ("Mod", [LIST, ints(3)], {}, 13, 1),
    "division": ("Div", [LIST - 6, ints(4)], {}, 13, 1),
    "rounding": ("Round", [REALS], {}, 11, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_constants_fold_to_what_the_runtime_makes(name: str) -> None:
    op, given, attributes, opset, made = CASES[name]
    inputs = {f"i{i}": array for i, array in enumerate(given)}
    outputs = [f"o{i}" for i in range(made)]
    node = helper.make_node(op, list(inputs), outputs, **attributes)
    consts = [
        Const(k, v.shape, helper.np_dtype_to_tensor_dtype(v.dtype), (), lambda v=v: v)
        for k, v in inputs.items()
    ]
    folded = Folder({"": opset}).fold(node, consts)
    graph = helper.make_graph(
        [node],
        "made",
        [],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, key) for key, array in inputs.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    runner = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for ours, theirs in zip(folded, runner.run(None, {}), strict=True):
        assert ours is not None
        assert ours.array is not None
        assert ours.array.dtype == theirs.dtype
        np.testing.assert_allclose(ours.array, theirs, rtol=1e-6)


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17])
def test_a_shape_that_is_put_together_is_followed_at_every_version(opset: int) -> None:
    unsqueeze = (
        helper.make_node("Unsqueeze", ["g"], ["u"], axes=[0])
        if opset < 13
        else helper.make_node("Unsqueeze", ["g", "zero"], ["u"])
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "i"], ["g"]),
        unsqueeze,
        helper.make_node("Concat", ["u", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    constants = {"i": np.asarray(0, np.int64), "zero": ints(0), "rest": ints(-1)}
    network = assert_reads_agree(model(nodes, {"x": (2, 3, 2, 2)}, constants, opset=opset))
    assert network.tensor(network.outputs[0]).shape == (2, 12)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Pow", ["huge", "huge"], ["to"])],
        [helper.make_node("Pad", ["two", "huge"], ["to"])],
        [helper.make_node("OneHot", ["two", "depth", "two"], ["to"])],
        [helper.make_node("EyeLike", ["table"], ["to"])],
    ],
)
def test_what_would_blow_up_when_folded_is_refused_or_opaque(nodes: list[Any]) -> None:
    constants = {
        "huge": ints(1 << 40, 1 << 40),
        "two": ints(0, 1),
        "depth": np.asarray(1 << 40, np.int64),
        "table": np.zeros((4096, 4096), np.int64),
    }
    proto = model(
        [*nodes, helper.make_node("Reshape", ["x", "to"], ["y"])], {"x": (1, 2, 8)}, constants
    )
    with contextlib.suppress(atrous.AtrousError):
        assert any(node.opaque for node in read_onnx(proto).nodes)
