"""Files as ONNX Runtime's own quantizers write them: the fields and costs of the float network."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import atrous
from tests.command import atrous as run
from tests.onnx_probe import ints, model, one, session, weights

quantization = pytest.importorskip("onnxruntime.quantization")
SHAPE = (1, 3, 12, 14)


def network() -> onnx.ModelProto:
    """Convolutions, a join, pools, a resampling, a concatenation, matrices, a recurrence."""
    nodes = [
        helper.make_node("Conv", ["x", "k1"], ["a"], pads=[1] * 4, name="stem"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k2"], ["c"], pads=[2] * 4, dilations=[2, 2], name="wide"),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Sigmoid", ["e"], ["f"]),
        helper.make_node("Mul", ["e", "f"], ["g"]),
        helper.make_node("Concat", ["e", "g"], ["h"], axis=1),
        helper.make_node("Conv", ["h", "k3"], ["i"], name="head"),
        helper.make_node("GlobalAveragePool", ["i"], ["j"]),
        helper.make_node("Flatten", ["j"], ["l"]),
        helper.make_node("MatMul", ["l", "m"], ["n"]),
        helper.make_node("Gemm", ["n", "o", "p"], ["y"], transB=1),
    ]
    constants = {
        "k1": weights(8, 3, 3, 3),
        "k2": weights(8, 8, 3, 3),
        "k3": weights(4, 16, 1, 1),
        "m": weights(4, 6),
        "o": weights(5, 6),
        "p": weights(5),
    }
    return model(nodes, {"x": SHAPE}, constants, outputs=("i", "y"), opset=13)


class Reader:
    """Two samples to calibrate on."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.samples: Iterator[dict[str, np.ndarray]] = iter(
            {"x": rng.uniform(0, 1, SHAPE).astype(np.float32)} for _ in range(2)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


def quantized(kind: str, folder: Path) -> Path:
    logging.disable(logging.WARNING)
    plain, made = folder / "plain.onnx", folder / f"{kind}.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(network()), plain)
    if kind == "dynamic":
        quantization.quantize_dynamic(plain, made, op_types_to_quantize=["Conv", "MatMul", "Gemm"])
    else:
        form = getattr(quantization.QuantFormat, "QDQ" if kind == "QDQ" else "QOperator")
        quantization.quantize_static(
            plain, made, Reader(), quant_format=form, per_channel=kind == "per channel"
        )
    return made


@pytest.mark.parametrize("kind", ["dynamic", "operators", "per channel", "QDQ"])
def test_a_quantized_network_sees_and_costs_what_the_float_one_does(
    kind: str, tmp_path: Path
) -> None:
    path = quantized(kind, tmp_path)
    session(onnx.load(path))
    ours, plain = atrous.inspect(path), atrous.inspect(network())
    assert ours.complete, ours.opaque
    assert ours.macs == plain.macs
    assert ours.integer_macs == (0 if kind == "QDQ" else plain.macs)
    assert ours.params == plain.params
    for here, there in zip(ours.outputs, plain.outputs, strict=True):
        assert (here.output_shape, here.field) == (there.output_shape, there.field)
    assert plain.integer_macs == 0
    # The range of a dynamically quantized map is that of all its elements.
    assert ours.outputs[0].is_global == (kind == "dynamic")


def test_a_zero_point_of_the_whole_map_is_read_whole_and_named() -> None:
    weight = np.random.default_rng(0).integers(-100, 100, (8, 3, 3, 3)).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="range"),
        helper.make_node("ConvInteger", ["q", "w", "z", "o"], ["c"], pads=[1] * 4, name="conv"),
        helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    proto = model(nodes, {"x": (1, 3, 16, 16)}, {"w": weight, "o": np.asarray(0, np.int8)})
    report = atrous.inspect(proto)
    assert report.complete
    assert (report.macs, report.integer_macs) == (55_296, 55_296)
    assert report.outputs[0].field[0].size == 3
    assert report.outputs[0].is_global
    assert "range" in report.outputs[0].globals


def test_reports_say_how_much_is_integer(tmp_path: Path) -> None:
    path = quantized("operators", tmp_path)
    assert "; all of them integer" in run("inspect", str(path)).stdout
    assert '"integer_macs": 0' in run("inspect", "stack:k3", "--json").stdout
    assert "integer" not in run("inspect", "stack:k3").stdout


def recurrent(op: str, gates: int, direction: str = "forward") -> onnx.ModelProto:
    """Ten steps of eight channels, and states of five that are inputs of their own."""
    ways = 2 if direction == "bidirectional" else 1
    states = ["h0", "c0"] if op == "LSTM" else ["h0"]
    node = helper.make_node(
        op, ["x", "W", "R", "", "", *states], ["Y", "Yh"], hidden_size=5, direction=direction
    )
    constants = {"W": weights(ways, gates * 5, 8) / 8, "R": weights(ways, gates * 5, 5) / 8}
    inputs = {"x": (10, 1, 8), **dict.fromkeys(states, (ways, 1, 5))}
    return model([node], inputs, constants, outputs=("Y", "Yh"))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_states_that_are_inputs_leave_the_reads_of_x_as_they_are(
    op: str, gates: int, direction: str
) -> None:
    proto = recurrent(op, gates, direction)
    report = atrous.inspect(proto)
    ways = 2 if direction == "bidirectional" else 1
    assert report.complete
    assert report.macs == 10 * ways * gates * 5 * (8 + 5)
    runner = session(proto)
    rng = np.random.default_rng(0)
    feed = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in report.network.inputs}
    base = runner.run(None, feed)
    for step in range(10):
        x = feed["x"].copy()
        x[step] += 1
        moved = runner.run(None, {**feed, "x": x})
        changed = [now != before for now, before in zip(moved, base, strict=True)]
        for output, at in [(0, (t,)) for t in range(10)] + [(1, None)]:
            mask = report.footprint(report.outputs[output].name, at).mask
            seen = changed[output][at[0]] if at else changed[output]
            assert bool(mask[step]) == bool(seen.any())


def test_a_state_computed_from_the_input_brings_what_it_reads() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("MatMul", ["m", "to"], ["h0"]),
        helper.make_node("GRU", ["x", "W", "R", "", "", "h0"], ["Y"], hidden_size=5),
    ]
    constants = {
        "axes": ints(0),
        "to": weights(8, 5),
        "W": weights(1, 15, 8),
        "R": weights(1, 15, 5),
    }
    report = atrous.inspect(model(nodes, {"x": (10, 1, 8)}, constants, outputs=("Y",), opset=18))
    assert report.complete
    assert report.footprint(at=(0,)).mask.all()


def test_an_empty_part_adds_nothing() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1] * 4),
        helper.make_node("Slice", ["a", "four", "end", "one"], ["none"]),
        helper.make_node("Relu", ["none"], ["still"]),
        helper.make_node("Concat", ["a", "still"], ["c"], axis=1),
        helper.make_node("Split", ["c", "sizes"], ["d", "nothing"], axis=1),
        helper.make_node("Concat", ["nothing", "d"], ["e"], axis=1),
        helper.make_node("Conv", ["e", "l"], ["y"]),
    ]
    constants = {
        "k": weights(4, 3, 3, 3),
        "l": weights(2, 4, 3, 3),
        "four": ints(4),
        "end": ints(2**63 - 1),
        "one": ints(1),
        "sizes": ints(4, 0),
    }
    proto = model(nodes, {"x": (1, 3, 9, 9)}, constants)
    report = atrous.inspect(proto)
    assert report.complete, report.opaque
    assert report.outputs[0].field[0].size == 5
    assert session(proto).run(None, {"x": np.ones((1, 3, 9, 9), np.float32)})[0].shape == (
        1,
        2,
        7,
        7,
    )


def test_an_output_that_the_file_says_is_empty_is_made_all_the_same() -> None:
    proto = one("Relu", (1, 2, 5))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [0, 2, 5]))
    assert atrous.read(proto).nodes[-1].output.shape == (1, 2, 5)


def test_weights_of_a_fused_product_may_stand_in_another_order() -> None:
    rng = np.random.default_rng(0)
    for flags in range(16):
        names = ("transA", "transB", "transBatchA", "transBatchB")
        given = {name: flags >> i & 1 for i, name in enumerate(names)}
        a, b = (2, 3, 4), (2, 4, 5)
        shapes = []
        for side, shape in (("A", a), ("B", b)):
            batch, rows, columns = shape
            inner = (columns, rows) if given[f"trans{side}"] else (rows, columns)
            first = (inner[0], batch, inner[1]) if given[f"transBatch{side}"] else (batch, *inner)
            shapes.append(first)
        node = helper.make_node("FusedMatMul", ["x", "b"], ["y"], domain="com.microsoft", **given)
        constants = {"b": rng.normal(size=shapes[1]).astype(np.float32)}
        proto = model([node], {"x": shapes[0]}, constants, domains=["com.microsoft"])
        made = session(proto).run(None, {"x": np.ones(shapes[0], np.float32)})[0]
        network = atrous.read(proto)
        assert network.tensor(network.outputs[0]).shape == made.shape
        assert network.macs == 2 * 3 * 4 * 5


def test_a_recurrence_quantized_step_by_step_reads_and_costs_what_it_did(tmp_path: Path) -> None:
    logging.disable(logging.WARNING)
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y", "h"], hidden_size=5)
    constants = {"W": weights(1, 20, 8) / 8, "R": weights(1, 20, 5) / 8}
    plain = model([node], {"x": (10, 1, 8)}, constants, outputs=("y", "h"))
    onnx.save(plain, tmp_path / "plain.onnx")
    quantization.quantize_dynamic(tmp_path / "plain.onnx", tmp_path / "made.onnx")
    made = onnx.load(tmp_path / "made.onnx")
    assert "DynamicQuantizeLSTM" in {node.op_type for node in made.graph.node}
    ours, theirs = atrous.inspect(made), atrous.inspect(plain)
    assert ours.complete
    assert (ours.macs, ours.integer_macs) == (theirs.macs, theirs.macs)
    assert ours.params == theirs.params
    assert [out.output_shape for out in ours.outputs] == [o.output_shape for o in theirs.outputs]
    mask = ours.footprint(ours.outputs[0].name, 4).mask
    assert (mask.reshape(-1) == (np.arange(10) <= 4)).all()


def test_a_state_of_another_shape_than_the_recurrence_has_is_refused() -> None:
    proto = recurrent("GRU", 3)
    with pytest.raises(
        atrous.ReadError, match=r"a state of \(1, 2, 5\), which must be \(1, 1, 5\)"
    ):
        atrous.read(proto, {"x": (10, 1, 8), "h0": (1, 2, 5)})
