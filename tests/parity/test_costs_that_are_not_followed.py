"""What is not followed is counted where shapes tell, and said to be left out elsewhere."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.requirements import parse_rules


def made(nodes, inputs, output, weights=(), opset=17):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, t, s) for n, s, t in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def quantized():
    """A convolution as dynamic quantization writes it."""
    node = helper.make_node
    weight = np.ones((8, 3, 3, 3), np.int8)
    return made(
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("ConvInteger", ["q", "w", "zero"], ["y"], pads=[1, 1, 1, 1]),
            node("Cast", ["y"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["f", "scale"], ["out"]),
        ],
        [("x", (1, 3, 16, 16), TensorProto.FLOAT)],
        "out",
        [("w", weight)],
    )


def test_a_quantized_convolution_is_counted_and_breaks_an_upper_limit():
    report = atrous.inspect(quantized())
    assert report.macs == 8 * 16 * 16 * 27
    assert report.uncounted == {}
    assert report.params == weights_in(quantized())
    assert not check_report(report, parse_rules("macs", "<=1"))


def weights_in(model: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(tensor).size for tensor in model.graph.initializer)


def test_a_recurrence_that_is_not_followed_meets_no_upper_limit():
    node = helper.make_node
    model = made(
        [
            node("ReduceMean", ["x"], ["m"], keepdims=0),
            node("Mul", ["m", "r"], ["s"]),
            node("LSTM", ["x", "w", "s"], ["y"], hidden_size=5),
        ],
        [("x", (10, 1, 8), TensorProto.FLOAT)],
        "y",
        [
            ("w", np.ones((1, 20, 8), np.float32)),
            ("r", np.ones((1, 20, 5), np.float32)),
        ],
    )
    report = atrous.inspect(model)
    assert not report.complete
    assert "macs" in report.uncounted
    assert not check_report(report, parse_rules("macs", "<=1T"))
    assert report.params == weights_in(model)


def test_a_tensor_whose_size_nobody_knows_is_no_scalar():
    node = helper.make_node
    model = made(
        [node("NonZero", ["x"], ["places"]), node("Cast", ["places"], ["y"], to=1)],
        [("x", (1, 3, 8, 8), TensorProto.FLOAT)],
        "y",
    )
    report = atrous.inspect(model)
    assert "memory" in report.uncounted
    assert not check_report(report, parse_rules("memory", "<=1TiB"))
    assert "scalar" not in str(report)
    assert "of unknown shape" in str(report)


class Flattened(nn.Module):
    """A window along rows that lie end to end, which is not followed."""

    def __init__(self):
        super().__init__()
        self.before, self.along = nn.Conv2d(8, 4, 1), nn.Conv1d(4, 8, 3, padding=1)

    def forward(self, x):
        return self.along(self.before(x).flatten(2)).reshape(x.shape)


def test_products_that_are_not_followed_have_the_macs_that_pytorch_counts():
    model = Flattened().eval()
    report = atrous.inspect(model, (1, 8, 8, 8))
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(torch.randn(1, 8, 8, 8))
    assert not report.complete
    assert any(layer.macs and layer.opaque for layer in report.layers)
    assert report.macs == counted.get_total_flops() // 2
    assert report.uncounted == {}


@pytest.mark.parametrize("library", ["torch", "custom"])
def test_an_op_of_another_library_is_not_counted(library):
    node = helper.make_node("Warp", ["x"], ["y"], domain=library)
    model = made([node], [("x", (1, 3, 8, 8), TensorProto.FLOAT)], "y")
    model.opset_import.append(helper.make_opsetid(library, 1))
    report = atrous.inspect(model)
    assert set(report.uncounted) == {"macs", "memory"}
