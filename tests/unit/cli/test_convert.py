"""The commands `atrous convert` and `atrous audit`: what they print, write and refuse."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import atrous as library
from tests.command import atrous, atrous_process

STACK = "stack:k3s2x8 k3s2x8 k3d2x8"


def two_layers(path, stride=2, dilation=1):
    """A file with two convolutions and a pool behind them."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "w1"),
        numpy_helper.from_array(rng.normal(size=(4, 4, 3, 3)).astype(np.float32), "w2"),
    ]
    pads = [dilation] * 4
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first", strides=[stride] * 2, pads=[1] * 4),
        helper.make_node("Conv", ["a", "w2"], ["y"], "second", dilations=[dilation] * 2, pads=pads),
    ]
    size = 16 if stride == 2 else 32
    graph = helper.make_graph(
        nodes,
        "two layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, size, size])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_convert_prints_the_verdict_the_price_and_the_diff():
    result = atrous("convert", STACK, "--output-stride", "2", "--input", "1,3,65,65")
    assert (result.returncode, result.stderr) == (0, "")
    expected = library.convert(STACK, 2, input=(1, 3, 65, 65))
    assert result.stdout == str(expected) + "\n"
    lines = result.stdout.splitlines()
    assert lines[0] == "exact: the same positions are read, borders included"
    assert lines.index("+++ output stride 2") == lines.index("--- output stride 4") + 1


def test_convert_prints_json_under_its_schema():
    result = atrous("convert", STACK, "-s", "2,4", "--input", "1,3,65,65", "--json")
    data = json.loads(result.stdout)
    assert data["schema"] == "atrous.conversion/1"
    assert data["certificate"]["schema"] == "atrous.certificate/1"
    assert data["output_stride"] == [2, 4]
    assert data["certificate"]["outputs"][0]["factor"] == ["2", "1"]


def test_an_onnx_file_is_converted_written_and_audited(tmp_path):
    source, target = two_layers(tmp_path / "net.onnx"), tmp_path / "dense.onnx"
    result = atrous_process("convert", str(source), "-s", "1", "-o", str(target))
    assert result.returncode == 0
    assert re.fullmatch(r"wrote \S+dense\.onnx, [\d.]+ kB\n", result.stderr)
    assert result.stdout.startswith("exact")
    made = onnx.load(target)
    onnx.checker.check_model(made, full_check=True)
    before = onnx.load(source)
    assert [t.raw_data for t in made.graph.initializer] == [
        t.raw_data for t in before.graph.initializer
    ]
    result = atrous_process("audit", str(source), str(target))
    assert result.returncode == 0
    assert "exact" in result.stdout.splitlines()[0]
    assert "float32" in result.stdout


def test_a_wrong_file_is_broken_with_exit_code_1(tmp_path):
    source = two_layers(tmp_path / "net.onnx")
    wrong = two_layers(tmp_path / "wrong.onnx", stride=1, dilation=1)
    result = atrous("audit", str(source), str(wrong))
    assert result.returncode == 1
    assert "broken" in result.stdout.splitlines()[0]
    assert "second: rate 1, padding 1; a stride of 2 was removed before it" in " ".join(
        result.stdout.split()
    )


def test_a_users_function_is_converted_and_written_as_an_exported_program(tmp_path):
    code = (
        "import torch\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    layers = torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Conv2d(4, 4, 3, 1, 1)\n"
        "    return torch.nn.Sequential(*layers), (1, 3, 16, 16)\n"
        "def wrong():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 1, 1),\n"
        "                               torch.nn.Conv2d(4, 4, 3, 1, 1))\n"
    )
    (tmp_path / "models.py").write_text(code)
    result = atrous("convert", "models.py:net", "-s", "1", "-o", "dense.pt2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"wrote dense\.pt2, [\d.]+ kB\n", result.stderr)
    import torch

    made = torch.export.load(tmp_path / "dense.pt2")
    assert made.module()(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 16, 16)
    result = atrous("audit", "models.py:net", "models.py:wrong", cwd=tmp_path)
    assert result.returncode == 1
    assert "it should have rate 2, padding 2" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([STACK, "-s", "x"], "--output-stride 'x' is no stride"),
        ([STACK, "-s", "0"], "output stride 0 is no whole number of at least 1"),
        ([STACK, "-s", "2,2,2"], "has 3 values for 2 spatial axes (h, w)"),
        ([STACK, "-s", "3"], "conv2: an output stride of 3 lies between 2 and 4 along h"),
        ([STACK, "-s", "6"], "an output stride of 6 is no multiple of 4"),
        (["stack:k3 k3", "-s", "8"], "there is no dilation to trade for stride"),
        (["stack:k1 k1", "-s", "2"], "no layer has a window along h"),
        (["zoo:resnet18", "-s", "8"], "avgpool: it mixes all positions"),
        (["zoo:unet", "-s", "4"], "up4: it spreads each position over 2"),
        (["zoo:resnet18", "-s", "8", "--outputs", "layer9"], "no layer is named 'layer9'"),
        (["zoo:resnet18", "-s", "8", "--outputs", ","], "--outputs is empty"),
        ([STACK, "-s", "2", "--heads", "grow"], "heads is 'grow': use 'scale' or 'keep'"),
        ([STACK, "-s", "2", "--tail", "cut"], "tail is 'cut': use 'crop' or 'keep'"),
        ([STACK, "-s", "2", "-o", "x.onnx"], "has no weights, so there is nothing to write"),
        (["nothing.onnx", "-s", "2"], "there is no such file"),
        (["timm:resnet18x", "-s", "2"], "timm"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(arguments, says):
    result = atrous("convert", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("dense.pb", "is written as a .onnx file; name one, such as dense.onnx"),
        ("missing/dense.onnx", "there is no folder missing"),
        ("folder.onnx", "is a folder; name a file in it"),
        (".", "is a folder; name a file in it"),
        ("", "is a folder; name a file in it"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path, target, says):
    two_layers(tmp_path / "net.onnx")
    (tmp_path / "folder.onnx").mkdir()
    result = atrous("convert", "net.onnx", "-s", "1", "-o", target, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_refused_conversion_leaves_the_old_file(tmp_path):
    two_layers(tmp_path / "net.onnx")
    (tmp_path / "dense.onnx").write_bytes(b"kept")
    result = atrous("convert", "net.onnx", "-s", "3", "-o", "dense.onnx", cwd=tmp_path)
    assert result.returncode == 2
    assert (tmp_path / "dense.onnx").read_bytes() == b"kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense.onnx", "net.onnx"]


def test_an_audit_of_other_inputs_or_outputs_is_refused():
    result = atrous("audit", "stack:k3s2 k3", "zoo:deeplabv3_resnet50", "-i", "1,64,64,64")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "atrous: the reference has 1 outputs and the candidate 2; name those to compare.\n"
    )
