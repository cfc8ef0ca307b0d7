"""Files that a fuzzer damaged, one of each kind: a refusal that names the file, or a report."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from atrous.analysis import inspect_network
from atrous.errors import ReadError, UnsupportedError
from atrous.readers.onnx.reader import read_onnx
from tests.onnx_probe import ints, model, one

IMAGE = (1, 2, 9, 11)


@pytest.mark.parametrize("name", [b"node", b"perm", b"made_up"])
def test_a_name_that_is_no_text_is_refused_wherever_it_stands(name: bytes, tmp_path) -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["made_up"], name="node", perm=[0, 1, 3, 2])]
    whole = model(nodes, {"x": IMAGE}, {}, outputs=["made_up"]).SerializeToString()
    assert name in whole
    path = tmp_path / "net.onnx"
    path.write_bytes(whole.replace(name, b"\xff" * len(name)))
    with pytest.raises(ReadError, match=r"net\.onnx: .*no text in UTF-8"):
        read_onnx(path)


def test_what_nobody_reads_need_not_be_text(tmp_path) -> None:
    proto = one("Relu", IMAGE)
    proto.producer_name = proto.doc_string = proto.graph.doc_string = "somebody"
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString().replace(b"somebody", b"\xff" * 8))
    assert read_onnx(path).nodes


@pytest.mark.parametrize("kind", [0, -2, 99])
def test_numbers_of_no_known_type_have_a_shape_and_no_values(kind: int) -> None:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": IMAGE}, {})
    proto.graph.initializer.append(TensorProto(name="w", dims=[11], raw_data=b"\0" * 44))
    proto.graph.initializer[0].data_type = kind
    assert read_onnx(proto).nodes[-1].output.shape == IMAGE
    proto = one("Reshape", IMAGE, ints(2, 99))
    proto.graph.initializer[0].data_type = kind
    assert read_onnx(proto).nodes[-1].opaque


def test_numbers_that_onnx_does_not_load_are_refused() -> None:
    proto = one("Reshape", IMAGE, ints(2, 99))
    proto.graph.initializer[0].segment.begin = 1
    with pytest.raises(ReadError, match="the tensor 'c0' cannot be read"):
        read_onnx(proto)


def _with_more_outputs(node: onnx.NodeProto) -> onnx.NodeProto:
    node.output.append("more")
    return node


def test_an_output_that_its_operator_does_not_have_is_refused_in_graphs_and_branches() -> None:
    node = _with_more_outputs(helper.make_node("Relu", ["x"], ["y"], name="node"))
    with pytest.raises(ReadError, match="node: its output 'more' is not one that it has"):
        read_onnx(model([node], {"x": IMAGE}, {}, outputs=["more"]))
    shape = helper.make_tensor_value_info("more", TensorProto.FLOAT, IMAGE)
    branch = helper.make_graph([node], "branch", [], [shape])
    choose = helper.make_node(
        "If", ["yes"], ["z"], name="if", then_branch=branch, else_branch=branch
    )
    yes = {"yes": np.asarray(True)}
    with pytest.raises(ReadError, match="its output 'more' is not one that it has"):
        read_onnx(model([choose], {"x": IMAGE}, yes, outputs=["z"]))


def test_resampling_without_a_simple_scale_is_listed_once() -> None:
    node = helper.make_node(
        "Resize", ["x", "", "", "c"], ["y"], coordinate_transformation_mode="asymmetric"
    )
    began = time.process_time()
    read_onnx(model([node], {"x": IMAGE}, {"c": ints(1, 2, 65_536, 22)}))
    assert time.process_time() - began < 5


def test_paths_to_more_positions_than_can_be_held_are_refused() -> None:
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    report = inspect_network(read_onnx(model([node], {"x": (1, 1, 1 << 16, 1 << 16)}, {})))
    with pytest.raises(UnsupportedError, match="too many to be counted"):
        report.footprint()


def test_an_antialias_filter_over_very_many_positions_is_not_made() -> None:
    node = helper.make_node("Resize", ["x", "", "", "c"], ["y"], mode="linear", antialias=1)
    proto = model([node], {"x": (1, 1, 1 << 25, 2)}, {"c": ints(1, 1, 5, 2)}, opset=18)
    assert "antialias filter over 33,554,432 positions" in read_onnx(proto).nodes[0].opaque
    shape = proto.graph.input[0].type.tensor_type.shape
    shape.dim[0].dim_value, shape.dim[2].dim_value = 1 << 31, 12
    assert read_onnx(proto).nodes[0].opaque


def test_a_shape_in_complex_numbers_is_refused() -> None:
    with pytest.raises(ReadError, match="complex numbers"):
        read_onnx(one("Unsqueeze", IMAGE, np.asarray([1 + 2j], np.complex64), opset=17))
