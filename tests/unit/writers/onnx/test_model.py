"""Writing plans into ONNX files: what is kept, what is refused and how, saving, running."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from atrous.conversion.plan import Plan
from atrous.errors import MissingDependencyError, ReadError, RunError, UnknownNameError
from atrous.readers.onnx.reader import read_onnx
from atrous.refusal import Refusal
from atrous.runners.onnx import OnnxRunner, random_inputs
from atrous.writers.onnx.model import Rewritten, rewrite_onnx, rewritten
from atrous.writers.onnx.save import WriteError, save_onnx
from tests.onnx_conversion import assert_same_values, model, planned, written
from tests.onnx_probe import ints


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(x: str, w: str, y: str, name: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, w], [y], name=name, **attributes)


def two(**options: Any) -> onnx.ModelProto:
    """Two convolutions of stride 2, with all that a file can say about itself."""
    first = conv("x", "w0", "a", "first", strides=[2, 2], pads=[1] * 4, kernel_shape=[3, 3])
    first.doc_string = "the first"
    entry = first.metadata_props.add()
    entry.key, entry.value = "scope", "stem"
    second = conv("a", "w1", "b", "second", auto_pad="SAME_UPPER", strides=[2, 2])
    last = conv("b", "w1", "y", "last", pads=[1] * 4)
    held = {"w0": normal(4, 3, 3, 3), "w1": normal(4, 4, 3, 3, seed=1)}
    return model([first, second, last], {"x": (1, 3, 32, 32)}, held, **options)


def attributes(proto: onnx.ModelProto, name: str) -> dict[str, Any]:
    (node,) = [node for node in proto.graph.node if node.name == name]
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def refused(source: Any, plan: Plan) -> str:
    made = rewrite_onnx(source, plan)
    assert isinstance(made, Refusal)
    assert made.rule == "onnx"
    return str(made)


# What is kept


def test_only_the_windows_and_the_stated_shapes_change():
    proto = two()
    made = written(proto, planned(proto, 2)).model
    assert attributes(made, "first") == attributes(proto, "first")
    assert attributes(made, "second") == {"strides": [1, 1], "pads": [0, 0, 2, 2]}
    assert attributes(made, "last") == {"pads": [2] * 4, "dilations": [2, 2]}
    sizes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*made.graph.value_info, *made.graph.output)
    }
    assert sizes == {"a": [1, 4, 16, 16], "b": [1, 4, 16, 16], "y": [1, 4, 16, 16]}
    for node, old in zip(made.graph.node, proto.graph.node, strict=True):
        del node.attribute[:], old.attribute[:]
    for graph in (made.graph, proto.graph):
        del graph.value_info[:], graph.output[:]
    assert made == proto


def test_the_source_is_not_changed():
    proto = two()
    before = proto.SerializeToString(deterministic=True)
    written(proto, planned(proto, 2))
    assert proto.SerializeToString(deterministic=True) == before


def test_a_constant_that_others_read_stays_as_it_is_for_them():
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Pad", ["x", "p"], ["early"], name="early"),
        helper.make_node("Pad", ["a", "p"], ["late"], name="late"),
        conv("early", "w", "z", "side"),
        conv("late", "v", "y", "second"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "p": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    proto = model(nodes, {"x": (1, 3, 16, 16)}, held, outputs=("z", "y"))
    made = written(proto, planned(proto, 1)).model
    pads = {n.name: n.input[1] for n in made.graph.node if n.op_type == "Pad"}
    assert pads == {"early": "p", "late": "p_dense"}
    arrays = {t.name: numpy_helper.to_array(t).tolist() for t in made.graph.initializer}
    assert arrays["p"] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert arrays["p_dense"] == [0, 0, 2, 2, 0, 0, 2, 2]


def test_new_names_avoid_those_that_are_taken():
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Pad", ["a", "p"], ["p_dense"], name="late"),
        conv("p_dense", "v", "y", "second"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "p": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    proto = model(nodes, {"x": (1, 3, 16, 16)}, held)
    made = written(proto, planned(proto, 1)).model
    assert [t.name for t in made.graph.initializer] == ["w", "v", "p_dense_2"]


def test_constants_of_old_files_are_nodes_because_initialisers_would_be_inputs():
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node(
            "AveragePool", ["a"], ["b"], name="pool", kernel_shape=[3, 3], strides=[2, 2]
        ),
        conv("b", "v", "y", "second"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3)}
    inputs = {"x": (1, 3, 32, 32), "w": (4, 3, 3, 3), "v": (4, 4, 3, 3)}
    proto = model(nodes, inputs, held, opset=8, ir=3)
    plan = planned(proto, 1)
    made = written(proto, plan)
    assert [n.op_type for n in made.model.graph.node] == ["Conv", "Constant", "Conv", "Conv"]
    assert_same_values(proto, made, plan)


def test_functions_are_replaced_by_what_they_do_and_all_else_is_kept():
    body = [
        helper.make_node("MaxPool", ["p"], ["t"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["t"], ["q"], name="relu"),
    ]
    made_by = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Halve", ["p"], ["q"], body, made_by)
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Halve", ["a"], ["b"], name="one", domain="local"),
        helper.make_node("Halve", ["b"], ["c"], name="two", domain="local"),
        conv("c", "v", "y", "second"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3)}
    proto = model(nodes, {"x": (1, 3, 64, 64)}, held, functions=[function])
    plan = planned(proto, 2)
    made = written(proto, plan)
    assert not made.model.functions
    assert made.model.metadata_props == proto.metadata_props
    assert made.model.graph.doc_string == "a graph"
    assert made.model.producer_name == "a test"
    assert made.model.graph.initializer[:2] == proto.graph.initializer
    assert_same_values(proto, made, plan)


def test_a_branch_that_a_constant_decides_is_written_in_its_place():
    def branch(name: str, kernel: int) -> onnx.GraphProto:
        node = helper.make_node(
            "MaxPool", ["a"], [name], name=name, kernel_shape=[kernel] * 2, strides=[2, 2]
        )
        return helper.make_graph([node], name, [], [onnx.ValueInfoProto(name=name)])

    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node(
            "If",
            ["yes"],
            ["b"],
            name="if",
            then_branch=branch("then", 2),
            else_branch=branch("else", 4),
        ),
        conv("b", "v", "y", "second"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "yes": np.asarray(True)}
    proto = model(nodes, {"x": (1, 3, 33, 33)}, held)
    plan = planned(proto, 1)
    made = rewritten(proto, plan)
    assert isinstance(made, Rewritten), str(made)
    assert_same_values(proto, made, plan)


def test_a_shape_put_together_from_numbers_and_sizes_gets_other_numbers():
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Shape", ["a"], ["shape"], name="shape"),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], name="batch"),
        helper.make_node("Concat", ["batch", "rest"], ["target"], name="target", axis=0),
        helper.make_node("Reshape", ["a", "target"], ["r"], name="apart"),
        helper.make_node("Transpose", ["r"], ["t"], name="turn", perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "back"], ["b"], name="together"),
        conv("b", "v", "y", "second"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "zero": ints(0)}
    held |= {"rest": ints(2, 2, 8, 8), "back": ints(0, 4, 8, 8)}
    proto = model(nodes, {"x": ["n", 3, 16, 16]}, held)
    plan = planned(proto, 1, (1, 3, 16, 16))
    made = written(proto, plan)
    assert_same_values(proto, made, plan, shapes={"x": (2, 3, 16, 16)})
    stated = {v.name: v.type.tensor_type.shape.dim for v in made.model.graph.value_info}
    assert stated["a"][0].dim_param == "n"
    assert stated["a"][2].dim_value == 16


def computed_pads(shape: Sequence[int | str]) -> onnx.ModelProto:
    """Pads by 1, worked out from the size of the map as exporters of TF-style padding do."""
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Shape", ["a"], ["shape"], name="shape"),
        helper.make_node("Gather", ["shape", "places"], ["sizes"], name="sizes"),
        helper.make_node("Sub", ["sizes", "less"], ["more"], name="more"),
        helper.make_node("Concat", ["low", "more"], ["pads"], name="pads", axis=0),
        helper.make_node("Pad", ["a", "pads"], ["b"], name="pad"),
        conv("b", "v", "y", "last"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "places": ints(2, 3)}
    held |= {"less": ints(15, 15), "low": ints(0, 0, 1, 1, 0, 0)}
    return model(nodes, {"x": shape}, held)


def test_numbers_computed_from_sizes_that_do_not_follow_are_written_out():
    proto = computed_pads(("n", 3, 32, 32))
    plan = planned(proto, 1, (1, 3, 32, 32))
    made = written(proto, plan)
    assert_same_values(proto, made, plan, shapes={"x": (2, 3, 32, 32)})


def test_numbers_computed_from_open_sizes_that_do_not_follow_are_refused():
    proto = computed_pads((1, 3, "h", "w"))
    assert refused(proto, planned(proto, 1, (1, 3, 32, 32))) == (
        "pad: it would make 1x4x51x51 in the rewritten file, and the plan says 1x4x36x36: its size "
        "is computed in a way that does not follow; give the file static shapes, for example with "
        "python -m onnxruntime.tools.make_dynamic_shape_fixed."
    )


# Outputs


def test_outputs_that_the_plan_stops_before_are_left_out():
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        conv("a", "v", "b", "second", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Flatten", ["b"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "g"], ["y"], name="head"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "g": normal(4 * 8 * 8, 5)}
    proto = model(nodes, {"x": (1, 3, 32, 32)}, held, outputs=("y", "a"))
    network = read_onnx(proto)
    plan = planned(proto, 2, outputs=(network.node("second").output.name,))
    made = written(proto, plan)
    assert [o.name for o in made.model.graph.output] == ["a", "b"]
    assert [n.name for n in made.model.graph.node] == ["first", "second"]
    assert [t.name for t in made.model.graph.initializer] == ["w", "v"]
    assert made.notes == (
        "left out, because the conversion stops before: y",
        "new outputs: b",
    )


# Sizes and places


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_a_split_map_is_split_in_the_same_places(opset):
    node = helper.make_node("Split", ["a"], ["b", "c"], name="mid", axis=3)
    if opset >= 13:
        node.input.append("parts")
    else:
        node.attribute.append(helper.make_attribute("split", [4, 12]))
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        node,
        conv("b", "v", "y", "left"),
        conv("c", "v", "z", "right"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3), "parts": ints(4, 12)}
    proto = model(nodes, {"x": (1, 3, 32, 32)}, held, outputs=("y", "z"), opset=opset)
    plan = planned(proto, 1)
    assert_same_values(proto, written(proto, plan), plan)


@pytest.mark.parametrize("index", [[3, 5, 7, 9], [-6, -5, -4]])
def test_gathered_rows_are_the_same_rows(index):
    node = helper.make_node("Gather", ["a", "i"], ["b"], name="mid", axis=2)
    proto = behind(node, (1, 3, 32, 32), i=ints(*index))
    plan = planned(proto, 1)
    assert_same_values(proto, written(proto, plan), plan)


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 17])
def test_scales_say_the_size_that_the_plan_has(opset):
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4, kernel_shape=[3, 3]),
        conv("a", "v", "b", "second", strides=[2, 2], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Resize", ["b", "scales"], ["u"], name="up", mode="nearest"),
        helper.make_node("Add", ["a", "u"], ["y"], name="join"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3)}
    held |= {"scales": np.asarray([1, 1, 2, 2], np.float32), "roi": np.zeros(0, np.float32)}
    up = nodes[2]
    up.op_type = "Upsample" if opset < 10 else "Resize"
    if opset < 9:
        del up.input[1]
        up.attribute.append(helper.make_attribute("scales", [1.0, 1.0, 2.0, 2.0]))
    elif opset >= 11:
        up.input.insert(1, "roi")
        up.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        up.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    proto = model(nodes, {"x": (1, 3, 32, 32)}, held, opset=opset)
    plan = planned(proto, 2)
    made = written(proto, plan).model
    (x,) = random_inputs(made, {})
    found = OnnxRunner(made).run([x], ["b", "u"])
    assert found["u"].shape == (1, 4, 16, 16)
    assert (found["u"] == found["b"]).all()


def test_a_float16_average_stays_float16():
    node = helper.make_node(
        "AveragePool", ["a"], ["b"], name="mid", kernel_shape=[3, 3], strides=[2, 2]
    )
    proto = behind(node, (1, 3, 32, 32))
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    for item in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        item.type.tensor_type.elem_type = TensorProto.FLOAT16
    made = written(proto, planned(proto, 1)).model
    assert {t.data_type for t in made.graph.initializer} == {TensorProto.FLOAT16}


def test_symbols_of_sizes_that_change_are_other_symbols():
    node = helper.make_node(
        "MaxPool", ["a"], ["b"], name="mid", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
    )
    proto = behind(node, ("n", 3, "h", "w"))
    for dim, name in zip(proto.graph.output[0].type.tensor_type.shape.dim, "nchw", strict=True):
        if name != "c":
            dim.dim_param = f"{name}_out"
    made = written(proto, planned(proto, 2, (1, 3, 32, 32))).model
    dims = made.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["n_out", 4, "h_out_dense", "w_out_dense"]


# What cannot be said


def test_a_plan_of_another_network_is_refused():
    plan = planned(two(), 2)
    other = two()
    other.graph.node[1].attribute[0].CopyFrom(helper.make_attribute("auto_pad", "SAME_LOWER"))
    assert refused(other, plan) == "second: the file has another layer there than the plan."
    other = two()
    other.graph.input[0].name = other.graph.node[0].input[0] = "image"
    assert refused(other, plan) == "x: the file has no such input."


def test_a_plan_at_another_size_than_the_file_states_is_refused():
    proto = two()
    plan = planned(proto, 2, (1, 3, 64, 64))
    assert refused(proto, plan) == (
        "x: the file says 1x3x32x32 and the plan was made at 1x3x64x64; leave the input out, or "
        "change the file's shapes first."
    )


def test_auto_pad_of_an_open_size_is_refused():
    proto = two()
    for dim, name in ((2, "h"), (3, "w")):
        proto.graph.input[0].type.tensor_type.shape.dim[dim].dim_param = name
    plan = planned(proto, 1, (1, 3, 32, 32))
    assert refused(proto, plan) == (
        "second: auto_pad with a stride pads by other numbers at every size, and the file leaves h "
        "open; give the file static shapes, for example with python -m "
        "onnxruntime.tools.make_dynamic_shape_fixed."
    )


def behind(node: onnx.NodeProto, shape: Sequence[int | str], opset: int = 17, **held: Any) -> Any:
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        node,
        conv("b", "v", "y", "last"),
    ]
    weights = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3)}
    return model(nodes, {"x": shape}, {**weights, **held}, opset=opset)


OPEN = (1, 3, "h", "w")


FIX = "give the file static shapes"


@pytest.mark.parametrize(
    ("kind", "said", "held", "reason"),
    [
        (
            "MaxPool",
            {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
            {},
            ("it counts a partial window (ceil_mode), which takes other padding at every size, and "
            f"the file leaves h open; {FIX}, for example with python -m "
            "onnxruntime.tools.make_dynamic_shape_fixed."),
        ),
        (
            "Pad",
            {"mode": "reflect"},
            {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)},
            ("each of 2 phases is padded by reflect on its own, and the file leaves that size "
            f"open; {FIX}."),
        ),
        (
            "Slice",
            {},
            {"s": ints(1), "e": ints(-1), "d": ints(2)},
            f"it counts 1:-1 from the end, and the file leaves that size open; {FIX}.",
        ),
        (
            "Gather",
            {"axis": 2},
            {"i": ints(-4, -3, -2)},
            f"it counts index -4 from the end, and the file leaves that size open; {FIX}.",
        ),
    ],
    ids=["MaxPool", "Pad", "Slice", "Gather"],
)  # fmt: skip
def test_what_holds_at_one_size_only_is_refused_where_sizes_are_open(kind, said, held, reason):
    node = helper.make_node(kind, ["a", *held], ["b"], name="mid", **said)
    proto = behind(node, OPEN, **held)
    plan = planned(proto, 1, (1, 3, 32, 32))
    assert refused(proto, plan) == f"mid: {reason}"


def test_a_dilated_maximum_raises_the_operator_set_to_10():
    node = helper.make_node(
        "MaxPool", ["a"], ["b"], name="mid", kernel_shape=[3, 3], strides=[2, 2]
    )
    proto = behind(node, (1, 3, 32, 32), 9)
    made = rewrite_onnx(proto, planned(proto, 1))
    assert isinstance(made, onnx.ModelProto)
    assert made.opset_import[0].version >= 10
    assert proto.opset_import[0].version == 9


def test_maps_that_fit_at_one_size_only_are_refused_where_sizes_are_open():
    nodes = [
        conv("x", "w", "a", "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("MaxPool", ["a"], ["b"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("a", "v", "c", "short", strides=[2, 2], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Add", ["b", "c"], ["y"], name="join"),
    ]
    held = {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3)}
    proto = model(nodes, {"x": OPEN}, held)
    message = refused(proto, planned(proto, 1, (1, 3, 32, 32)))
    assert message.startswith(
        "with padding that holds at every size its maps do not fit; give the file static shapes"
    )
    assert "join" in message


def test_two_nodes_that_make_one_name_in_two_branches_are_refused():
    def branch() -> onnx.GraphProto:
        node = helper.make_node(
            "MaxPool", ["a"], ["m"], name="m", kernel_shape=[2, 2], strides=[2, 2]
        )
        return helper.make_graph([node], "branch", [], [onnx.ValueInfoProto(name="m")])

    node = helper.make_node(
        "If", ["yes"], ["b"], name="if", then_branch=branch(), else_branch=branch()
    )
    proto = behind(node, (1, 3, 32, 32), yes=np.asarray(True))
    assert refused(proto, planned(proto, 1)) == (
        "m: two nodes make 'm' in the file; rename its values."
    )


def test_a_file_that_does_not_read_back_as_planned_is_not_given_out():
    proto = two()
    plan = planned(proto, 2)
    first = replace(plan, changes=plan.changes[:1])
    assert refused(proto, first).startswith("last: the rewritten file reads as Conv(")
    last = replace(plan, changes=plan.changes[1:])
    assert refused(proto, last).startswith("second: it would make 1x4x8x8 in the rewritten file")


def test_what_is_no_onnx_file_is_an_error(tmp_path):
    with pytest.raises(ReadError, match="there is no such file"):
        rewrite_onnx(tmp_path / "none.onnx", planned(two(), 2))


# Saving


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def external(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(
        two(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def test_a_saved_model_is_the_model(tmp_path):
    path = tmp_path / "new.onnx"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_onnx(two(), path)
    assert onnx.load(path) == two()
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["new.onnx"]


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (KeyboardInterrupt, KeyboardInterrupt, ""),
        (
            OSError(28, "No space left on device"),
            WriteError,
            "new.onnx: cannot be written: No space left on device.",
        ),
    ],
)
def test_an_interrupted_save_leaves_what_was_there(error, raised, message, tmp_path, monkeypatch):
    path = tmp_path / "new.onnx"
    path.write_bytes(b"old")

    def stop(_file: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(raised) as caught:
        save_onnx(two(), path)
    assert str(caught.value) == message
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["new.onnx"]


def test_folders_are_not_written_over_and_not_made(tmp_path):
    with pytest.raises(WriteError, match=r"is a folder; give the name of the file to write\."):
        save_onnx(two(), tmp_path)
    with pytest.raises(
        WriteError, match=r"new\.onnx: there is no folder '.*none'; make it first\."
    ):
        save_onnx(two(), tmp_path / "none" / "new.onnx")


def test_external_data_goes_along_and_is_read_there(tmp_path):
    path = external(tmp_path / "old")
    plan = planned(path, 2)
    made = written_by_path(path, plan)
    (tmp_path / "new").mkdir()
    target = tmp_path / "new" / "dense.onnx"
    save_onnx(made, target, source=path)
    assert names(tmp_path / "new") == ["dense.onnx", "weights.bin"]
    onnx.checker.check_model(target, full_check=True)
    x = random_inputs(target, {})
    (new,) = OnnxRunner(target).run(x, ["y"]).values()
    (old,) = OnnxRunner(path).run(x, ["y"]).values()
    assert np.allclose(new[..., ::2, ::2], old, atol=1e-4)
    save_onnx(made, target, source=path)


def written_by_path(path: Path, plan: Plan) -> onnx.ModelProto:
    made = rewrite_onnx(path, plan)
    assert isinstance(made, onnx.ModelProto), str(made)
    return made


def test_external_data_beside_the_target_is_shared(tmp_path):
    path = external(tmp_path / "old")
    save_onnx(written_by_path(path, planned(path, 2)), path.with_name("dense.onnx"), source=path)
    assert names(path.parent) == ["dense.onnx", "model.onnx", "weights.bin"]
    onnx.checker.check_model(path.with_name("dense.onnx"), full_check=True)


def test_data_of_others_is_not_written_over(tmp_path):
    path = external(tmp_path / "old")
    model_ = onnx.load(path, load_external_data=False)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "weights.bin").write_bytes(b"another")
    with pytest.raises(WriteError) as caught:
        save_onnx(model_, tmp_path / "new" / "dense.onnx", source=path)
    assert str(caught.value) == (
        "dense.onnx: its weights go to 'weights.bin', and another file of that name is there "
        "already; write to another folder, or move that file."
    )
    assert names(tmp_path / "new") == ["weights.bin"]
    with pytest.raises(WriteError, match="is where its own weights are kept; choose another name"):
        save_onnx(model_, tmp_path / "new" / "weights.bin", source=path)
    with pytest.raises(WriteError, match="nothing says beside which file"):
        save_onnx(model_, tmp_path / "dense.onnx")
    (path.parent / "weights.bin").unlink()
    with pytest.raises(WriteError, match="which is not beside the model"):
        save_onnx(model_, tmp_path / "dense.onnx", source=path)


def test_a_model_beyond_2_gib_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("atrous.writers.onnx.save._LARGEST_FILE", 1000)
    with pytest.raises(
        WriteError, match=r"would be 1,\d+ bytes long and an ONNX file ends at 2 GiB"
    ):
        save_onnx(two(), tmp_path / "big.onnx")


# Running


def test_any_value_can_be_asked_for():
    proto = two()
    runner = OnnxRunner(proto)
    (x,) = random_inputs(proto, {})
    found = runner.run([x], ["b", "x", "y", "b"])
    assert list(found) == ["b", "x", "y"]
    assert found["b"].shape == (1, 4, 8, 8)
    assert found["x"] is x
    assert runner.outputs == ("y",)


def test_wrong_names_and_inputs_are_errors():
    runner = OnnxRunner(two())
    with pytest.raises(UnknownNameError, match="no value is named 'c'"):
        runner.run(random_inputs(two(), {}), ["c"])
    with pytest.raises(RunError, match="got 0 inputs, and the model has 1: x"):
        runner.run([], ["y"])
    with pytest.raises(RunError, match="ONNX Runtime stopped: "):
        runner.run([normal(1, 5, 8, 8)], ["y"])
    bad = two()
    bad.graph.node[0].op_type = "Nothing"
    with pytest.raises(RunError, match="ONNX Runtime does not load it: "):
        OnnxRunner(bad).run([normal(1, 3, 32, 32)], ["y"])


def test_running_without_onnxruntime_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'atrous\[onnxruntime\]'"):
        OnnxRunner(two())


def test_random_inputs_have_the_types_and_sizes_of_the_file():
    items = [
        helper.make_tensor_value_info("f", TensorProto.FLOAT16, [2, 3]),
        helper.make_tensor_value_info("u", TensorProto.UINT8, ["n", 3]),
        helper.make_tensor_value_info("i", TensorProto.INT64, [4]),
        helper.make_tensor_value_info("b", TensorProto.BOOL, [5]),
    ]
    graph = helper.make_graph([], "g", items, items[:1])
    proto = helper.make_model(graph)
    made = random_inputs(proto, {"u": (7, 3)}, seed=3)
    assert [(a.dtype.name, a.shape) for a in made] == [
        ("float16", (2, 3)),
        ("uint8", (7, 3)),
        ("int64", (4,)),
        ("bool", (5,)),
    ]
    assert set(made[2].tolist()) <= {0, 1}
    again = random_inputs(proto, {"u": (7, 3)}, seed=3)
    assert all((a == b).all() for a, b in zip(made, again, strict=True))
    with pytest.raises(ReadError, match="'u' has the open shape nx3; give its sizes"):
        random_inputs(proto, {})
