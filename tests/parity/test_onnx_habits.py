"""Files as other exporters write them: the same network comes out whatever its spelling."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import atrous
from tests.onnx_probe import assert_reads_agree, ints, model, weights

KERNELS = {"k1": weights(4, 3, 3, 3), "k2": weights(4, 4, 3, 3), "k3": weights(4, 4, 1, 1)}
NORM = {
    name: np.full(4, value, np.float32)
    for name, value in {"gamma": 1.5, "beta": 0.1, "mean": 0.2, "var": 0.9}.items()
}


def _node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=output, **attributes)


def _tail(x: str) -> list[onnx.NodeProto]:
    """A residual block behind the stem: what every spelling shares."""
    return [
        _node("Relu", x, "r"),
        _node("Conv", "r k2", "c2", pads=[2, 2, 2, 2], dilations=[2, 2]),
        _node("Conv", "r k3", "c3"),
        _node("Add", "c2 c3", "y"),
    ]


def _plain(fused: bool) -> onnx.ModelProto:
    """PyTorch's habit: explicit pads, a norm after the convolution or folded into it."""
    stem = [_node("Conv", "x k1", "c1", strides=[2, 2], pads=[0, 0, 1, 1])]
    if not fused:
        stem.append(_node("BatchNormalization", "c1 gamma beta mean var", "n1"))
    constants = {**KERNELS, **({} if fused else NORM)}
    return model([*stem, *_tail("c1" if fused else "n1")], {"x": (1, 3, 12, 14)}, constants)


def _auto_pad() -> onnx.ModelProto:
    """TensorFlow's SAME, kept as an attribute."""
    stem = [
        _node("Conv", "x k1", "c1", strides=[2, 2], auto_pad="SAME_UPPER"),
        _node("BatchNormalization", "c1 gamma beta mean var", "n1"),
    ]
    return model([*stem, *_tail("n1")], {"x": (1, 3, 12, 14)}, {**KERNELS, **NORM})


def _pad_nodes() -> onnx.ModelProto:
    """SAME spelled as a Pad node before a VALID convolution."""
    stem = [
        _node("Pad", "x pads", "p"),
        _node("Conv", "p k1", "c1", strides=[2, 2], auto_pad="VALID"),
        _node("BatchNormalization", "c1 gamma beta mean var", "n1"),
    ]
    constants = {**KERNELS, **NORM, "pads": ints(0, 0, 0, 0, 0, 0, 1, 1)}
    return model([*stem, *_tail("n1")], {"x": (1, 3, 12, 14)}, constants)


def _channels_last() -> onnx.ModelProto:
    """tf2onnx's habit: NHWC at the edges, a Transpose round every convolution, norms as Mul-Add."""
    nodes = [
        _node("Transpose", "x", "t1", perm=[0, 3, 1, 2]),
        _node("Conv", "t1 k1", "c1", strides=[2, 2], auto_pad="SAME_UPPER"),
        _node("Transpose", "c1", "t2", perm=[0, 2, 3, 1]),
        _node("Mul", "t2 gamma", "m"),
        _node("Add", "m beta", "b"),
        _node("Relu", "b", "r"),
        _node("Transpose", "r", "t3", perm=[0, 3, 1, 2]),
        _node("Conv", "t3 k2", "c2", pads=[2, 2, 2, 2], dilations=[2, 2]),
        _node("Transpose", "c2", "t4", perm=[0, 2, 3, 1]),
        _node("Transpose", "r", "t5", perm=[0, 3, 1, 2]),
        _node("Conv", "t5 k3", "c3"),
        _node("Transpose", "c3", "t6", perm=[0, 2, 3, 1]),
        _node("Add", "t4 t6", "y"),
    ]
    return model(
        nodes,
        {"x": (1, 12, 14, 3)},
        {**KERNELS, "gamma": NORM["gamma"], "beta": NORM["beta"]},
    )


SPELLINGS = {
    "norms unfused": lambda: _plain(fused=False),
    "norms fused": lambda: _plain(fused=True),
    "auto_pad": _auto_pad,
    "Pad nodes": _pad_nodes,
    "channels last": _channels_last,
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_reads_what_onnx_runtime_reads(name: str) -> None:
    assert_reads_agree(SPELLINGS[name]())


def test_every_spelling_has_the_same_field_products_and_footprint() -> None:
    reports = {name: atrous.inspect(make()) for name, make in SPELLINGS.items()}
    first = reports["norms unfused"]
    for name, report in reports.items():
        assert report.complete, (name, report.opaque)
        assert report.outputs[0].field == first.outputs[0].field, name
        assert report.macs == first.macs, name
        assert (report.footprint().counts == first.footprint().counts).all(), name
    assert first.outputs[0].field[0].size == 11
    assert first.params == 4 * 27 + 4 * 36 + 16 + 8


@pytest.mark.parametrize("axis", [1, 2])
def test_pieces_kept_in_a_sequence_are_followed(axis: int) -> None:
    nodes = [
        _node("Conv", "x k", "c", pads=[1, 1, 1, 1]),
        _node("SplitToSequence", "c sizes", "parts", axis=axis),
        _node("SequenceAt", "parts one", "b"),
        _node("SequenceAt", "parts zero", "a"),
        _node("Concat", "b a", "y", axis=1) if axis == 1 else _node("Relu", "b", "y"),
    ]
    constants = {
        "k": weights(4, 2, 3, 3),
        "sizes": ints(1, 3) if axis == 1 else ints(2, 4),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
    }
    assert_reads_agree(model(nodes, {"x": (1, 2, 6, 5)}, constants))


def test_a_sequence_whose_piece_depends_on_data_is_named() -> None:
    nodes = [
        _node("SplitToSequence", "x", "parts", axis=1),
        _node("ArgMax", "x", "i", axis=1, keepdims=0),
        _node("SequenceAt", "parts i", "y"),
    ]
    report = atrous.inspect(model(nodes, {"x": (1, 2)}, {}))
    assert not report.complete
