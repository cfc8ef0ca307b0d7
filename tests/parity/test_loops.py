"""Loops and scans whose turns are known, against ONNX Runtime; those that data decide are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import atrous
from tests.onnx_probe import ints, model, session, weights
from tests.parity.test_places import assert_no_read_is_left_out

STEPS = 6
CONV = helper.make_node("Conv", ["x", "w"], ["u"], pads=[1, 1], name="conv")


def named(name: str, kind: int = TensorProto.FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def scanned(back: int = 0, out: int = 0) -> onnx.ModelProto:
    """A running sum along time, and twice each frame; frames are laid in the last dimension."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s", "frame"], ["sum"]),
            helper.make_node("Add", ["frame", "frame"], ["twice"]),
            helper.make_node("Identity", ["sum"], ["told"]),
        ],
        "body",
        [named("s", shape=[1, 4]), named("frame", shape=[1, 4])],
        [named(n, shape=[1, 4]) for n in ("sum", "told", "twice")],
    )
    scan = helper.make_node(
        "Scan",
        ["zero", "u"],
        ["last", "y", "z"],
        name="scan",
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[2],
        scan_input_directions=[back],
        scan_output_axes=[2, 2],
        scan_output_directions=[out, 0],
    )
    constants = {"w": weights(4, 4, 3), "zero": np.zeros((1, 4), np.float32)}
    return model([CONV, scan], {"x": (1, 4, STEPS)}, constants, outputs=("y",))


def looped(turns: np.ndarray | None, going: np.ndarray | None) -> onnx.ModelProto:
    """Each turn convolves and adds; it goes on while the turn is below 3."""
    body = helper.make_graph(
        [
            helper.make_node("Conv", ["state", "w"], ["c"], pads=[1, 1], name="again"),
            helper.make_node("Less", ["i", "three"], ["on"]),
        ],
        "body",
        [named("i", TensorProto.INT64, []), named("cond", TensorProto.BOOL, []), named("state")],
        [named("on", TensorProto.BOOL, []), named("c")],
    )
    inputs = ["" if turns is None else "turns", "" if going is None else "going", "u"]
    loop = helper.make_node("Loop", inputs, ["y"], name="loop", body=body)
    constants = {"w": weights(4, 4, 3) / 10, "three": np.asarray(3, np.int64)}
    if turns is not None:
        constants["turns"] = turns
    if going is not None:
        constants["going"] = going
    return model([CONV, loop], {"x": (1, 4, 12)}, constants)


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("out", [0, 1])
def test_a_scan_is_followed_turn_by_turn(back: int, out: int) -> None:
    proto = scanned(back, out)
    assert_no_read_is_left_out(proto)
    both = scanned(back, out)
    both.graph.output.append(onnx.ValueInfoProto(name="z"))
    both.graph.output.append(onnx.ValueInfoProto(name="last"))
    made = session(both).run(None, {"x": np.ones((1, 4, STEPS), np.float32)})
    network = atrous.read(both)
    shapes = [network.tensor(name).shape for name in network.outputs]
    assert shapes == [array.shape for array in made]
    # Each turn takes its frame, and the pieces of y are laid in the order asked for.
    taken = [node.op.start for node in network.nodes if node.kind == "slice"]
    assert taken == [*range(STEPS)][:: -1 if back else 1]
    order = [node.inputs[0] for node in network.nodes if node.kind == "reshape"][:STEPS]
    laid = [node.output.name for node in network.nodes if node.output.name in order]
    assert order == laid[:: -1 if out else 1]


@pytest.mark.parametrize(
    ("turns", "going", "count"),
    [(2, None, 2), (9, True, 4), (2, True, 2), (None, True, 4), (5, False, 0), (5, None, 5)],
)
def test_a_loop_runs_as_often_as_it_says(turns: Any, going: Any, count: int) -> None:
    proto = looped(
        None if turns is None else np.asarray(turns, np.int64),
        None if going is None else np.asarray(going, bool),
    )
    report = atrous.inspect(proto)
    assert report.complete, report.opaque
    assert report.outputs[0].field[0].size == 3 + 2 * count
    assert report.macs == (1 + count) * 12 * 4 * 4 * 3
    assert_no_read_is_left_out(proto)


def test_a_loop_whose_turns_data_decide_is_named() -> None:
    proto = looped(None, None)
    node = next(node for node in proto.graph.node if node.op_type == "Loop")
    node.input[0] = "many"
    many = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["many"], to=TensorProto.INT64),
    ]
    nodes = [*many, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    report = atrous.inspect(proto)
    assert not report.complete
    assert "what Loop runs is decided by data" in report.opaque[0]


def test_loops_that_turn_very_often_are_named_after_as_many_copies_as_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("atrous.readers.onnx.reader.MOST_COPIES", 1 << 8)
    report = atrous.inspect(looped(np.asarray(1 << 40, np.int64), None))
    assert "what Loop runs is more than is followed" in report.opaque[0]
    inner = looped(np.asarray(1 << 40, np.int64), None).graph.node[1]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["cond"], ["on"]),
            helper.make_node("Loop", ["turns", "", "u"], ["v"], body=inner.attribute[0].g),
        ],
        "outer",
        [named("n", TensorProto.INT64, []), named("cond", TensorProto.BOOL, []), named("old")],
        [named("on", TensorProto.BOOL, []), named("v")],
    )
    outer = helper.make_node("Loop", ["turns", "", "u"], ["y"], name="outer", body=body)
    constants = {"w": weights(4, 4, 3), "three": ints(3)[0], "turns": ints(1 << 40)[0]}
    constants = {name: np.asarray(array) for name, array in constants.items()}
    report = atrous.inspect(model([CONV, outer], {"x": (1, 4, 12)}, constants))
    assert not report.complete
