"""Space to depth around a convolution over phases in the batch, as tf2onnx writes it."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import atrous


def _dilated(size: int, rate: int, mode: str, swap_first: bool):
    """A dilated convolution of one channel; `swap_first` as tf2onnx writes it, else once after."""
    node = helper.make_node
    swap = [1, 0, 2, 3]
    before = ["b", "c"] if swap_first else ["a", "c"]
    nodes = [node("Pad", ["x", "p"], ["a"])]
    if swap_first:
        nodes.append(node("Transpose", ["a"], ["b"], perm=swap))
    nodes += [
        node("SpaceToDepth", before[:1], ["c"], blocksize=rate),
        node("Transpose", ["c"], ["d"], perm=swap),
        node("Conv", ["d", "w"], ["e"]),
        node("Transpose", ["e"], ["f"], perm=swap),
        node("DepthToSpace", ["f"], ["y"], blocksize=rate, mode=mode),
    ]
    pads = np.array([0, 0, rate, rate, 0, 0, rate, rate])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, size, size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(pads, "p"),
            numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("swap_first", [True, False])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("rate", [2, 4])
def test_phases_in_the_batch_are_not_mixed(rate: int, mode: str, swap_first: bool) -> None:
    size = 32
    model = _dilated(size, rate, mode, swap_first)
    run = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = []
    for row in range(size):
        x = np.zeros((1, 1, size, size), np.float32)
        x[0, 0, row] = 1
        if run.run(None, {"x": x})[0][0, 0, size // 2, size // 2]:
            rows.append(row)
    field = atrous.inspect(model)
    assert field.complete
    assert field.outputs[0].field[0].size == rows[-1] - rows[0] + 1 == 2 * rate + 1
