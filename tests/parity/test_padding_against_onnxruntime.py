"""SAME_UPPER, SAME_LOWER and VALID against ONNX Runtime's own Conv, one NaN at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")
helper = pytest.importorskip("onnx").helper

from onnx import TensorProto  # noqa: E402 - onnx may be missing

from atrous.geometry import Dialect, Local, Reads, Window, pad  # noqa: E402

DIALECTS: list[tuple[str, Dialect]] = [
    ("SAME_UPPER", "same_upper"),
    ("SAME_LOWER", "same_lower"),
    ("VALID", "valid"),
]


def who_reads(auto_pad: str, length: int, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """For each output, which inputs turn it NaN; the probes are the batch."""
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        auto_pad=auto_pad,
        kernel_shape=[kernel],
        strides=[stride],
        dilations=[dilation],
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [length, 1, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, kernel], np.ones(kernel, np.float32))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    probes = np.ones((length, 1, length), np.float32)
    probes[np.arange(length), 0, np.arange(length)] = np.nan
    return np.isnan(session.run(None, {"x": probes})[0][:, 0]).T


@pytest.mark.parametrize(("auto_pad", "dialect"), DIALECTS)
def test_automatic_padding_is_that_of_onnxruntime(auto_pad: str, dialect: Dialect) -> None:
    tried = 0
    # ONNX Runtime refuses SAME with dilation; there the laws of the dialects stand alone.
    dilations = (1, 2, 3) if dialect == "valid" else (1,)
    sizes = (5, 8, 9, 11), (1, 2, 3, 4, 5), (1, 2, 3, 5)
    for length, kernel, stride, dilation in product(*sizes, dilations):
        lo, hi = pad(dialect, kernel, stride, dilation, length)
        window = Window(kernel, stride, dilation, lo, hi)
        if dialect == "valid" and window.extent > length:
            continue
        if dialect != "valid" and kernel <= stride - 3:
            continue  # there ONNX Runtime crops, and TensorFlow does not
        found = who_reads(auto_pad, length, kernel, stride, dilation)
        moved = Local(Reads.window(window), length, window.output_length(length))
        says = np.zeros((moved.outputs, length), bool)
        for output in range(moved.outputs):
            says[output, list(moved.at(output))] = True
        np.testing.assert_array_equal(found, says, err_msg=f"{window} of {length}")
        tried += 1
    assert tried > 60
