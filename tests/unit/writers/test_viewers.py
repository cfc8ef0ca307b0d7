"""What viewers are given: node data by their own ids, and copies of files that compute the same."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

import atrous
from atrous.errors import ReadError
from atrous.writers.viewers.model_explorer import QUANTITIES
from tests.command import assert_refuses
from tests.command import atrous as command
from tests.onnx_probe import model, weights


def network(*, functions=(), domains=(), more=(), outputs=("y",)):
    """Three convolutions, the last one dilated, and what is `more`."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Conv", ["b", "w1"], ["y"], "third", dilations=[3, 3], pads=[3] * 4),
        *more,
    ]
    held = {"w0": weights(4, 2, 3, 3), "w1": weights(4, 4, 3, 3)}
    return model(
        nodes, {"x": (1, 2, 33, 33)}, held, functions=functions, domains=domains, outputs=outputs
    )


def metadata(node):
    return {entry.key: entry.value for entry in node.metadata_props}


def run(path, x):
    return onnxruntime.InferenceSession(str(path)).run(None, {"x": x})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(network(), path)
    return path


def test_a_copy_for_netron_says_of_each_node_what_the_report_says(file, tmp_path):
    files = atrous.annotate(file, tmp_path / "noted.onnx")
    assert files == (tmp_path / "noted.onnx",)
    copy = onnx.load(files[0])
    report = atrous.inspect(file)
    for node in copy.graph.node:
        said, layer = metadata(node), report[node.name]
        assert said["atrous.receptive_field"] == f"{layer.field[0].size} x {layer.field[1].size}"
        assert said["atrous.output_stride"] == "2 x 2"
        assert said["atrous.macs"] == str(layer.macs)
        assert said["atrous.activation_bytes"] == str(layer.activation_bytes)
    third = metadata(copy.graph.node[2])
    assert third["atrous.receptive_field"] == "15 x 15"
    assert third["atrous.read"] == "9/15 x 9/15"
    assert third["atrous.largest_hole"] == "3 x 3"
    assert "9 of the 15" in third["atrous.finding.gridding"]


def test_a_copy_computes_the_same_bits_and_is_valid(file, tmp_path):
    [copy] = atrous.annotate(file, tmp_path / "noted.onnx")
    typed = onnx.shape_inference.infer_shapes(onnx.load(copy), strict_mode=True)
    onnx.checker.check_model(typed, full_check=True)
    x = np.random.default_rng(0).normal(size=(1, 2, 33, 33)).astype(np.float32)
    for ours, theirs in zip(run(copy, x), run(file, x), strict=True):
        assert np.array_equal(ours, theirs)
    before, after = onnx.load(file), onnx.load(copy)
    for node in after.graph.node:
        del node.metadata_props[:]
    assert before.SerializeToString() == after.SerializeToString()


def test_metadata_of_others_stays_and_that_of_an_earlier_report_is_replaced(tmp_path):
    made = network()
    made.graph.node[0].metadata_props.add(key="theirs", value="kept")
    made.graph.node[0].metadata_props.add(key="atrous.macs", value="old")
    atrous.annotate(made, tmp_path / "once.onnx")
    atrous.annotate(tmp_path / "once.onnx", tmp_path / "twice.onnx")
    once, twice = (onnx.load(tmp_path / name) for name in ("once.onnx", "twice.onnx"))
    assert metadata(made.graph.node[0])["atrous.macs"] == "old"
    assert metadata(once.graph.node[0])["theirs"] == "kept"
    assert metadata(once.graph.node[0])["atrous.macs"] != "old"
    assert once.graph == twice.graph


def test_node_data_has_the_numbers_of_the_report_by_the_names_of_nodes(file, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    files = atrous.annotate(file, folder)
    assert [path.name for path in files] == [f"net.{name}.json" for name in QUANTITIES]
    found = {}
    for path, quantity in zip(files, QUANTITIES, strict=True):
        data = json.loads(path.read_text())
        assert set(data) == {"results", "gradient"}
        assert [stop["stop"] for stop in data["gradient"]] == [0, 0.5, 1]
        found[quantity] = {name: one["value"] for name, one in data["results"].items()}
    report = atrous.inspect(file)
    assert found["receptive_field"] == {"first": 3, "second": 3, "third": 15}
    assert found["output_stride"] == dict.fromkeys(("first", "second", "third"), 2.0)
    assert found["unread_percent"] == {"first": 0, "second": 0, "third": 40}
    assert found["macs"] == {layer.name: layer.macs for layer in report.layers}
    assert found["activation_bytes"] == {layer.name: 4 * 4 * 17 * 17 for layer in report.layers}


def test_nodes_that_are_not_known_calls_and_shared_names_get_no_number(tmp_path):
    called = helper.make_function(
        "own", "twice", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    more = [
        helper.make_node("twice", ["y"], ["c"], "call", domain="own"),
        helper.make_node("Mystery", ["c"], ["d"], "strange", domain="other"),
        helper.make_node("Relu", ["y"], ["e"], "shared"),
        helper.make_node("Sigmoid", ["y"], ["f"], "shared"),
        helper.make_node("Tanh", ["y"], ["g"]),
        helper.make_node("Split", ["y"], ["h", "i"], "halves", axis=2),
    ]
    made = network(
        functions=[called],
        domains=("own", "other"),
        more=more,
        outputs=("d", "e", "f", "g", "h", "i"),
    )
    files = atrous.annotate(made, tmp_path)
    results = [json.loads(path.read_text())["results"] for path in files]
    assert all(list(found)[:3] == ["first", "second", "third"] for found in results)
    assert all(not {"call", "shared", ""} & found.keys() for found in results)
    assert all("strange" not in found for found in results)
    [copy] = atrous.annotate(made, tmp_path / "noted.onnx")
    nodes = onnx.load(copy).graph.node
    assert metadata(nodes[3]) == {}
    assert metadata(nodes[4])["atrous.not_known"].startswith("what is read through strange")
    assert metadata(nodes[4])["atrous.macs"] == "not known"
    # By its output a node is found whatever it is called.
    assert [metadata(node)["atrous.receptive_field"] for node in nodes[5:8]] == ["15 x 15"] * 3
    # Two results see different places: what is said of a node would be of one of them.
    assert set(metadata(nodes[8])) == {"atrous.macs", "atrous.params"}


def test_node_data_of_an_exported_program_is_by_the_names_of_its_graph(tmp_path):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.AvgPool2d(2)
    )
    program = torch.export.export(module.eval(), (torch.zeros(1, 2, 33, 33),))
    files = atrous.annotate(program, tmp_path)
    data = json.loads(files[0].read_text())["results"]
    assert data == {"conv2d": {"value": 3}, "relu": {"value": 3}, "avg_pool2d": {"value": 5}}
    assert {node.name for node in program.graph_module.graph.nodes} > data.keys()


def test_external_data_stays_where_it_is_and_goes_along_to_another_folder(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert atrous.annotate(path, tmp_path / "beside.onnx") == (tmp_path / "beside.onnx",)
    other = tmp_path / "other"
    other.mkdir()
    assert atrous.annotate(path, other / "n.onnx") == (other / "n.onnx", other / "w.bin")
    x = np.ones((1, 2, 33, 33), np.float32)
    for copy in (tmp_path / "beside.onnx", other / "n.onnx"):
        assert np.array_equal(run(copy, x)[0], run(path, x)[0])


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("net.onnx", "is the source itself"),
        ("link.onnx", "is the source itself"),
        ("nowhere/copy.onnx", "there is no folder"),
        ("copy.json", "is no folder and no .onnx file"),
        ("nowhere", "is no folder and no .onnx file"),
    ],
)
def test_a_target_that_cannot_be_is_refused_and_the_source_is_left_as_it_was(file, target, says):
    (file.parent / "link.onnx").symlink_to(file)
    before = file.read_bytes()
    with pytest.raises(ReadError, match=says):
        atrous.annotate(file, file.parent / target)
    assert_refuses("inspect", "net.onnx", "--annotate", target, says=says, cwd=file.parent)
    assert file.read_bytes() == before


@pytest.mark.parametrize("source", ["zoo:resnet18", "stack:k3 k3", torch.nn.ReLU()])
def test_a_source_that_no_viewer_shows_is_refused(source, tmp_path):
    with pytest.raises(ReadError, match="viewers show the nodes of an ONNX file"):
        atrous.annotate(source, tmp_path)


def test_the_command_says_what_it_wrote_and_how_many_nodes_have_notes(file):
    done = command("inspect", "net.onnx", "--annotate", "noted.onnx", cwd=file.parent)
    assert done.returncode == 0, done.stderr
    assert "wrote noted.onnx" in done.stderr
    assert done.stderr.endswith("3 of 3 nodes have notes\n")
    assert "receptive field  15x15" in done.stdout
