"""Each operator of ONNX as PyTorch's calls, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from atrous.errors import AtrousError, ReadError, UnsupportedError
from atrous.runners.rebuilt.agreement import rebuilt_file
from atrous.runners.rebuilt.call import REBUILT
from atrous.runners.rebuilt.fitted import end_at, shape_at

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def message(op, shape, *stored, opset=18, outputs=1, given=None, **attributes):
    """A model of one node that reads `x` and stored arrays, None for what is left out."""
    names = ["x", *(f"c{i}" if one is not None else "" for i, one in enumerate(stored))]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, name="the_node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", given or TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name=name) for name in made if name],
        [numpy_helper.from_array(one, f"c{i}") for i, one in enumerate(stored) if one is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


X = (2, 4, 12)
ALONE = (
    *("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Mish", "Neg", "Relu", "Round"),
    *("Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "Identity", "Elu", "Celu", "Selu"),
    *("HardSigmoid", "ThresholdedRelu", "LeakyRelu", "GlobalAveragePool", "GlobalMaxPool"),
    *("Softmax", "LogSoftmax", "Flatten", "Transpose"),
)
CASES = {
    **{
        op: (op, X)
        for op in ALONE
    },
    "Add": ("Add", X, floats(4, 1)),
    "Sub of a number": ("Sub", X, np.float32(0.5)),
    "Mul": ("Mul", X, floats(12)),
    "Div by ones": ("Div", X, np.full((1,), 3, np.float32)),
    "Pow": ("Pow", X, np.float32(2)),
    "Max with a number": ("Max", X, np.float32(0.2)),
    "Min of three": ("Min", X, floats(4, 1), np.float32(0.1)),
    "Mean": ("Mean", X, floats(4, 1)),
    "Clip": ("Clip", X, np.float32(-0.5), np.float32(0.5)),
    "Clip above": ("Clip", X, None, np.float32(0.5)),
    "PRelu by channel": ("PRelu", X, floats(4, 1)),
    "PRelu of one": ("PRelu", X, floats(1)),
    "CumSum": ("CumSum", X, ints(2)),
    "Conv": ("Conv", X, floats(6, 2, 3), floats(6), {"group": 2, "pads": [2, 1], "strides": [2]}),
    "Conv, dilated": ("Conv", X, floats(6, 4, 3), {"dilations": [3], "pads": [3, 3]}),
    "Conv, same": ("Conv", X, floats(6, 4, 4), {"auto_pad": "SAME_UPPER", "strides": [3]}),
    "Conv of two": ("Conv", (1, 3, 8, 9), floats(4, 3, 3, 2), {"pads": [1, 0, 1, 1]}),
    "ConvTranspose": (
        "ConvTranspose", X, floats(4, 3, 5), floats(6),
        {"group": 2, "strides": [3], "pads": [1, 1], "output_padding": [2]},
    ),
    "ConvTranspose, other sides": (
        "ConvTranspose", X, floats(4, 3, 5), {"strides": [2], "pads": [0, 3], "output_padding": [1]}
    ),
    "ConvTranspose, same": (
        "ConvTranspose", X, floats(4, 3, 4), {"strides": [2], "auto_pad": "SAME_UPPER"}
    ),
    "MaxPool": ("MaxPool", X, {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "MaxPool, other sides": ("MaxPool", X, {"kernel_shape": [3], "pads": [2, 0]}),
    "MaxPool, up": ("MaxPool", X, {"kernel_shape": [5], "strides": [3], "ceil_mode": 1}),
    "AveragePool": ("AveragePool", X, {"kernel_shape": [4], "pads": [2, 2]}),
    "AveragePool, other sides": ("AveragePool", X, {"kernel_shape": [4], "pads": [2, 1]}),
    "AveragePool, pads counted": (
        "AveragePool", X, {"kernel_shape": [4], "pads": [2, 1], "count_include_pad": 1}
    ),
    "Pad": ("Pad", X, ints(0, 1, 2, 0, 0, 3), np.float32(0.5)),
    "Pad, cropping": ("Pad", X, ints(0, 0, -2, 0, 0, 3)),
    "Pad, reflect": ("Pad", X, ints(0, 0, 2, 0, 0, 3), {"mode": "reflect"}),
    "Pad, edge, of the middle": ("Pad", X, ints(0, 2, 0, 0, 1, 0), {"mode": "edge"}),
    "Pad, by axes": ("Pad", X, ints(1, 2), None, ints(-1)),
    "Pad of two, edge": ("Pad", (1, 2, 5, 6), ints(0, 0, 1, 2, 0, 0, 2, 1), {"mode": "edge"}),
    "Resize, nearest": (
        "Resize", X, None, np.array([1, 1, 2], np.float32),
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "Resize, linear": ("Resize", X, None, np.array([1, 1, 1.5], np.float32), {"mode": "linear"}),
    "Resize to a size": ("Resize", X, None, None, ints(2, 4, 36)),
    "Resize, channels last": (
        "Resize", (1, 12, 3), None, np.array([1, 2, 1], np.float32), {"mode": "linear"}
    ),
    "Resize, cubic": (
        "Resize", (1, 2, 6, 6), None, np.array([1, 1, 2, 2], np.float32), {"mode": "cubic"}
    ),
    "DepthToSpace": ("DepthToSpace", (1, 8, 3, 4), {"blocksize": 2}),
    "DepthToSpace, columns": ("DepthToSpace", (1, 8, 3, 4), {"blocksize": 2, "mode": "CRD"}),
    "SpaceToDepth": ("SpaceToDepth", (1, 2, 4, 6), {"blocksize": 2}),
    "MatMul": ("MatMul", X, floats(12, 5)),
    "MatMul of a vector": ("MatMul", X, floats(12)),
    "Gemm": ("Gemm", (3, 5), floats(4, 5), floats(4), {"transB": 1}),
    "Gemm, scaled": ("Gemm", (3, 5), floats(5, 4), floats(4), {"alpha": 0.5, "beta": 2.0}),
    "Gemm, turned": ("Gemm", (5, 3), floats(5, 4), {"transA": 1}),
    "Einsum": ("Einsum", X, floats(12, 5), {"equation": "bct,td->bdc"}),
    "BatchNormalization": (
        "BatchNormalization", X, floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.5
    ),
    "InstanceNormalization": ("InstanceNormalization", X, floats(4), floats(4)),
    "GroupNormalization": ("GroupNormalization", X, floats(2), floats(2), {"num_groups": 2}),
    "GroupNormalization, by channel": (
        "GroupNormalization", X, floats(4), floats(4), {"num_groups": 2, "opset": 21}
    ),
    "LayerNormalization": ("LayerNormalization", X, floats(12), floats(12)),
    "LayerNormalization of two": ("LayerNormalization", X, floats(4, 12), {"axis": 1}),
    "LpNormalization": ("LpNormalization", X, {"axis": 1}),
    "Softmax before 13": ("Softmax", X, {"axis": 1, "opset": 11}),
    "ReduceMean": ("ReduceMean", X, ints(1)),
    "ReduceMean before 18": ("ReduceMean", X, {"axes": [1], "keepdims": 0, "opset": 17}),
    "ReduceSum": ("ReduceSum", X, ints(-1, 0), {"keepdims": 0}),
    "ReduceL2": ("ReduceL2", X, ints(1)),
    "ReduceLogSumExp": ("ReduceLogSumExp", X, ints(1)),
    "ReduceMax": ("ReduceMax", X, ints(2)),
    "ArgMax": ("ArgMax", X, {"axis": 1, "keepdims": 0}),
    "Reshape": ("Reshape", X, ints(0, 2, -1)),
    "Squeeze": ("Squeeze", (1, 4, 1, 3), ints(2)),
    "Squeeze of all": ("Squeeze", (1, 4, 1, 3)),
    "Unsqueeze": ("Unsqueeze", X, ints(0, -1)),
    "Expand": ("Expand", (1, 4, 1), ints(3, 1, 5)),
    "Tile": ("Tile", X, ints(1, 2, 3)),
    "Slice": ("Slice", X, ints(1, -9), ints(3, 2**62), ints(1, 2), ints(1, 2)),
    "Slice, turned": ("Slice", X, ints(-1), ints(-(2**62)), ints(2), ints(-1)),
    "Split": ("Split", X, ints(1, 3), {"axis": 1, "outputs": 2}),
    "Split into many": ("Split", X, {"axis": 2, "num_outputs": 5, "outputs": 5}),
    "Concat": ("Concat", X, floats(2, 1, 12), {"axis": 1}),
    "Gather": ("Gather", X, ints(2, 0, 2), {"axis": 1}),
    "Gather of one": ("Gather", X, np.int64(-1), {"axis": 1}),
    "Gather in rows": ("Gather", X, np.array([[0, 1], [1, 2]]), {"axis": 2}),
    "GatherElements": ("GatherElements", (2, 3), np.array([[0, 2], [1, 1]]), {"axis": 1}),
    "Trilu": ("Trilu", (4, 5), np.int64(1), {"upper": 0}),
    "DFT": ("DFT", (2, 12, 1), {"onesided": 1, "axis": 1, "opset": 17}),
    "DFT, inverse": ("DFT", (2, 12, 2), {"inverse": 1, "axis": 1, "opset": 17}),
    "STFT": ("STFT", (2, 40, 1), np.int64(4), floats(16)),
    "Col2Im": ("Col2Im", (1, 6, 11), ints(1, 11), ints(1, 3), {"pads": [0, 1, 0, 1]}),
    "Slice, backwards": ("Slice", X, ints(-3), ints(1), ints(2), ints(-2)),
    "Where": ("Where", X, {"order": (1, 0, 2), "stored": (floats(12) > 0, np.float32(0))}),
    "Cast": ("Cast", X, {"to": TensorProto.INT32}),
    "LSTM": ("LSTM", (9, 2, 4), floats(1, 12, 4), floats(1, 12, 3), floats(1, 24),
             {"hidden_size": 3}),
    "LSTM, both ways": (
        "LSTM", (9, 2, 4), floats(2, 12, 4), floats(2, 12, 3), floats(2, 24), None,
        floats(2, 2, 3), floats(2, 2, 3),
        {"hidden_size": 3, "direction": "bidirectional", "outputs": 3},
    ),
    "GRU, backwards": (
        "GRU", (9, 2, 4), floats(1, 9, 4), floats(1, 9, 3), floats(1, 18),
        {"hidden_size": 3, "linear_before_reset": 1, "direction": "reverse"},
    ),
    "RNN": ("RNN", (9, 2, 4), floats(1, 3, 4), floats(1, 3, 3),
            {"hidden_size": 3, "activations": ["Relu"]}),
}  # fmt: skip


def made_from(op, shape, *rest):
    attributes = dict(rest[-1]) if rest and isinstance(rest[-1], dict) else {}
    stored = rest[:-1] if attributes else rest
    order, held = attributes.pop("order", None), attributes.pop("stored", None)
    model = message(op, shape, *(held or stored), **attributes)
    if order is not None:
        names = list(model.graph.node[0].input)
        model.graph.node[0].input[:] = [names[i] for i in order]
    return model


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_what_onnx_runtime_makes_of_it(name):
    # Raises where the two differ.
    found = rebuilt_file(made_from(*CASES[name]))
    assert found.shapes == (CASES[name][1],)


def test_every_form_is_tried_or_follows_sizes_or_goes_number_by_number():
    tried = {case[0] for case in CASES.values()}
    alone = {"Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "IsNaN", "Log", "Not"}
    alone |= {"Reciprocal", "Sinh", "Sqrt", "Tan", "Dropout", "And", "Or", "Xor", "Equal"}
    alone |= {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Sum", "CastLike", "Gelu"}
    sized = {"ConstantOfShape", "Range"}
    older = {"Upsample", "RMSNormalization"}
    reduced = {"ReduceMin", "ReduceL1", "ReduceSumSquare", "ReduceLogSum", "ArgMin"}
    assert set(REBUILT) - tried == alone | sized | older | reduced


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (("Det", (3, 3)), "the_node: Det has no PyTorch form that streams"),
        (("GRU", (9, 2, 4), floats(1, 9, 4), floats(1, 9, 3), {"hidden_size": 3}),
         "the_node: resets what its new gate reads"),
        (("CumSum", X, ints(2), {"reverse": 1}), "the_node: sums backwards"),
        (("MaxPool", X, {"kernel_shape": [3], "outputs": 2}), "the_node: gives the places"),
        (("Reshape", X, ints(7, -1)), "the_node: Reshape does not run"),
        (("Slice", X, ints(0), ints(1, 2)), "the_node: Slice has starts"),
        (("Transpose", X, {"perm": [0, 0, 1]}), r"the_node: \(0, 0, 1\) is no order"),
        (("Conv", X, floats(6, 3, 3)), "the_node: Conv does not run"),
        (("Tile", X, ints(1, 1 << 20, 1 << 20)), "the_node: makes .* numbers, more than"),
        (("Expand", X, ints(1 << 20, 1, 1)), "the_node: "),
        (("Resize", X, None, np.array([1, 1, 2], np.float32),
          {"coordinate_transformation_mode": "tf_crop_and_resize"}), "the_node: "),
    ],
)  # fmt: skip
def test_what_does_not_run_names_its_node(case, words):
    with pytest.raises((ReadError, UnsupportedError), match=words) as refused:
        rebuilt_file(made_from(*case))
    assert isinstance(refused.value, AtrousError)


def test_a_node_that_gives_other_numbers_is_named(monkeypatch):
    monkeypatch.setitem(dict.__getitem__(REBUILT, "Relu").__globals__["_ALONE"], "Relu", torch.abs)
    with pytest.raises(UnsupportedError, match="the_node: PyTorch makes of it other numbers than"):
        rebuilt_file(message("Relu", X))


def test_sizes_that_a_file_holds_go_along():
    assert shape_at((1, 2, 24, 2), (1, 2, 48), (1, 2, 50)) == (1, 2, 25, 2)
    assert shape_at((1, 2, 24, 2), (1, 2, 48), (1, 2, 49)) is None
    assert shape_at((48, 2), (1, 48, 2), (1, 50, 2)) == (50, 2)
    assert end_at(48, 48, 60) == 60
    assert end_at(40, 48, 60) == 52
