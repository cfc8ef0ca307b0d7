"""What a file leaves open, given by shape, by name or not at all; inputs whose value decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import atrous
from tests.command import assert_refuses
from tests.command import atrous as run
from tests.onnx_probe import ints, model, one, weights

KERNEL = weights(4, 3, 3, 3)


def conv(*shape: int | str) -> onnx.ModelProto:
    return one("Conv", shape, KERNEL)


def two(x: tuple[Any, ...], z: tuple[Any, ...]) -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "z"], ["y"])], {"x": x, "z": z}, {})


def shapes(proto: onnx.ModelProto, input: Any = None) -> list[tuple[int, ...]]:
    return [tensor.shape for tensor in atrous.read(proto, input).inputs]


def detector() -> onnx.ModelProto:
    """Samples, a state, and a rate that decides which of two convolutions runs."""
    narrow = helper.make_graph(
        [helper.make_node("Conv", ["x", "k3"], ["a"], pads=[1, 1])], "a", [], [_named("a")]
    )
    wide = helper.make_graph(
        [helper.make_node("Conv", ["x", "k5"], ["b"], pads=[2, 2])], "b", [], [_named("b")]
    )
    nodes = [
        helper.make_node("Equal", ["sr", "rate"], ["fast"]),
        helper.make_node("If", ["fast"], ["c"], then_branch=wide, else_branch=narrow),
        helper.make_node("Add", ["c", "state"], ["y"]),
    ]
    constants = {
        "rate": np.asarray(16000, np.int64),
        "k3": weights(1, 1, 3),
        "k5": weights(1, 1, 5),
    }
    proto = model(nodes, {"x": ("batch", 1, "n"), "state": ("batch", 1, 1)}, constants)
    proto.graph.input.append(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
    return proto


def _named(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)


def test_a_dimension_of_minus_one_is_open() -> None:
    assert shapes(conv(-1, 3, -1, -1), (1, 3, 32, 32)) == [(1, 3, 32, 32)]
    with pytest.raises(atrous.ReadError, match=r"the open shape \(\?, 3, \?, \?\)"):
        atrous.read(conv(-1, 3, -1, -1))
    proto = conv(1, 3, 8, 8)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [-1, 4, -1, -1]))
    assert atrous.read(proto).nodes[-1].output.shape == (1, 4, 6, 6)


@pytest.mark.parametrize("batch", ["batch", "N", -1])
def test_a_batch_that_alone_is_open_is_one_with_a_note(batch: str | int) -> None:
    network = atrous.read(conv(batch, 3, 32, 32))
    assert network.inputs[0].shape == (1, 3, 32, 32)
    of = "its batch" if batch == -1 else batch
    assert network.notes == (f"x: the file leaves {of} open, read at 1",)


def test_a_length_that_alone_is_open_is_no_batch() -> None:
    with pytest.raises(atrous.ReadError, match="or only what is open: --input n=512"):
        atrous.read(one("Relu", ("n",)))


def test_only_what_is_open_is_given_by_its_name() -> None:
    proto = conv("batch", 3, "height", "width")
    assert shapes(proto, {"height": 9, "width": 8}) == [(1, 3, 9, 8)]
    assert shapes(proto, {"batch": 2, "height": 9, "width": 8}) == [(2, 3, 9, 8)]
    with pytest.raises(atrous.ReadError, match="only what is open: --input width=512"):
        atrous.read(proto, {"height": 9})
    with pytest.raises(atrous.ReadError, match=r"no input 'depth'.*open dimensions: batch, height"):
        atrous.read(proto, {"depth": 9})
    with pytest.raises(atrous.ReadError, match="height is 0"):
        atrous.read(proto, {"height": 0})
    with pytest.raises(atrous.ReadError, match="give one number for it"):
        atrous.read(proto, {"height": (9, 9)})


def test_names_of_open_dimensions_are_told_apart_however_long() -> None:
    names = [f"p2o.DynamicDimension.{i}" for i in range(3)]
    with pytest.raises(atrous.ReadError, match=rf"\({names[0]}, 3, {names[1]}, {names[2]}\)"):
        atrous.read(conv(names[0], 3, *names[1:]))
    assert shapes(conv(names[0], 3, *names[1:]), {names[1]: 8, names[2]: 9}) == [(1, 3, 8, 9)]


def test_inputs_that_share_open_dimensions_need_one_shape() -> None:
    ids = ("batch", "sequence")
    assert shapes(two(ids, ids), (2, 7)) == [(2, 7), (2, 7)]
    assert shapes(two(ids, ids), {"x": (2, 7)}) == [(2, 7), (2, 7)]
    assert shapes(two(ids, ids), {"sequence": 7}) == [(1, 7), (1, 7)]
    assert shapes(two(("batch", 4, "n"), ("batch", 4, 1)), (2, 4, 9)) == [(2, 4, 9), (2, 4, 1)]


def test_inputs_whose_shape_the_file_fixes_need_none() -> None:
    proto = two(("b", 1, "n"), ("b", 1, "m"))
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    assert shapes(proto, ((1, 1, 8), (1, 1, 8))) == [(1, 1, 8), (1, 1, 8), ()]
    assert shapes(proto, {"x": (1, 1, 8), "z": (1, 1, 8), "s": ()})[2] == ()
    with pytest.raises(atrous.ReadError, match="'s' is a scalar and was given 1"):
        atrous.read(proto, {"x": (1, 1, 8), "z": (1, 1, 8), "s": (1,)})
    with pytest.raises(atrous.ReadError, match=r"name it, for example --input x=1,1,8"):
        atrous.read(proto, (1, 1, 8))
    with pytest.raises(atrous.ReadError, match=r"'z' has the open shape.*--input z=1,1,512"):
        atrous.read(proto, {"x": (1, 1, 8)})


def test_a_name_of_an_input_and_of_a_dimension_is_not_guessed() -> None:
    proto = two(("n", 4), ("n", 4))
    proto.graph.input.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, ["k"]))
    with pytest.raises(atrous.ReadError, match="'n' is an input and an open dimension"):
        atrous.read(proto, {"n": 3})
    assert shapes(proto, {"n": (3,), "x": (2, 4)}) == [(2, 4), (2, 4), (3,)]


def test_a_value_decides_which_branch_runs() -> None:
    proto = detector()
    for rate, kernel in ((16000, 5), (8000, 3)):
        network = atrous.read(proto, {"n": 16}, values={"sr": rate})
        assert [tensor.name for tensor in network.inputs] == ["x", "state"]
        assert atrous.inspect(network).outputs[0].field[0].size == kernel
        report = atrous.inspect(proto, {"n": 16}, values={"sr": rate})
        assert report.outputs[0].field[0].size == kernel


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rate": 3}, "no input 'rate' to give a value; its inputs: x, state, sr"),
        ({"sr": 0.5}, "cannot be 0.5"),
        ({"sr": [1, 2]}, "was given 2 numbers"),
        ({"x": [[1, 2]]}, "was given 2 numbers"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(atrous.ReadError, match=said):
        atrous.read(detector(), {"n": 16}, values=values)


def test_a_number_fills_an_input_of_a_fixed_shape() -> None:
    node = helper.make_node("Resize", ["x", "", "", "size"], ["y"], mode="linear")
    proto = model([node], {"x": (1, 1, 4, 4)}, {})
    proto.graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, [4]))
    network = atrous.read(proto, values={"size": [1, 1, 8, 12]})
    assert network.tensor(network.outputs[0]).shape == (1, 1, 8, 12)
    node = helper.make_node("Tile", ["x", "times"], ["y"])
    proto = model([node], {"x": (1, 1, 4)}, {"one": ints(1)})
    proto.graph.input.append(helper.make_tensor_value_info("times", TensorProto.INT64, [3]))
    network = atrous.read(proto, values={"times": 2})
    assert network.tensor(network.outputs[0]).shape == (2, 2, 8)


def test_values_are_for_files_alone() -> None:
    with pytest.raises(atrous.ReadError, match="gives numbers to inputs of an ONNX file"):
        atrous.read("stack:k3", values={"x": 1})
    with pytest.raises(atrous.ReadError, match="give its shape alone"):
        atrous.read("stack:k3", {"x": (1, 64, 8, 8)})


def test_the_command_takes_names_and_values(tmp_path: Path) -> None:
    path = tmp_path / "vad.onnx"
    onnx.save(detector(), path)
    given = ["--input", "x=1,1,16", "--input", "sr=", "--input", "state=1,1,1"]
    done = run("inspect", str(path), *given, "--value", "sr=16000")
    assert "receptive field  5 (t)" in done.stdout
    rule = ["--receptive-field", "==5"]
    assert run("check", str(path), "--input", "n=16", "--value", "sr=16000", *rule).returncode == 0
    assert run("check", str(path), "--input", "n=16", "--value", "sr=8000", *rule).returncode == 1
    assert_refuses("inspect", str(path), "--input", "n=16", "--value", "rate=1", says="no input")
