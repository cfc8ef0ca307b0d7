"""The commands `atrous convert` and `atrous audit`: what they print, write and refuse."""

from __future__ import annotations

import io
import json
import re
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import atrous as library
from atrous.cli.output import size_text, working
from atrous.progress import listening, step
from tests.command import atrous

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
    result = atrous("convert", str(source), "-s", "1", "-o", str(target))
    assert result.returncode == 0
    assert re.fullmatch(r"wrote \S+dense\.onnx, [\d.]+ kB\n", result.stderr)
    assert result.stdout.startswith("exact")
    made = onnx.load(target)
    onnx.checker.check_model(made, full_check=True)
    before = onnx.load(source)
    assert [t.raw_data for t in made.graph.initializer] == [
        t.raw_data for t in before.graph.initializer
    ]
    result = atrous("audit", str(source), str(target))
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
        ([STACK, "-s", "0"], "--output-stride 0 is no whole number of at least 1"),
        ([STACK, "-s", "2,2,2"], "has 3 values for 2 spatial axes (h, w)"),
        ([STACK, "-s", "3"], "conv2: --output-stride 3 lies between 2 and 4 along h"),
        ([STACK, "-s", "6"], "--output-stride 6 is no multiple of 4"),
        (["stack:k3 k3", "-s", "8"], "there is no dilation to trade for stride"),
        (["stack:k1 k1", "-s", "2"], "no layer has a window along h"),
        (["zoo:resnet18", "-s", "8"], "avgpool: it mixes all positions"),
        (["zoo:unet", "-s", "4"], "up4: it spreads each position over 2"),
        (["zoo:resnet18", "-s", "8", "--outputs", "layer9"], "no layer is named 'layer9'"),
        (["zoo:resnet18", "-s", "8", "--outputs", ","], "--outputs is empty"),
        ([STACK, "-s", "2", "--heads", "grow"], "--heads is grow: use scale or keep"),
        ([STACK, "-s", "2", "--tail", "cut"], "--tail is cut: use crop or keep"),
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
        ("", "--output is empty; name a file, such as converted.onnx"),
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
        "atrous: the reference has 1 output and the candidate 2; name those to compare.\n"
    )


def kilobytes(path):
    """The size of a file as it is told."""
    return f"{path.stat().st_size / 1000:.1f} kB"


def test_the_source_is_not_overwritten_unless_that_is_asked_for(tmp_path):
    source = two_layers(tmp_path / "net.onnx")
    (tmp_path / "link.onnx").symlink_to("net.onnx")
    (tmp_path / "folder").mkdir()
    before = source.read_bytes()
    for target in ("net.onnx", "./net.onnx", "link.onnx", "folder/../net.onnx", str(source)):
        result = atrous("convert", "net.onnx", "-s", "1", "-o", target, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == (
            f"atrous: --output {target} is the source itself, which would be lost; name another "
            "file, or give --overwrite as well.\n"
        )
        assert source.read_bytes() == before
    result = atrous("convert", "net.onnx", "-s", "1", "-o", "net.onnx", "--overwrite", cwd=tmp_path)
    assert result.returncode == 0
    assert "wrote net.onnx" in result.stderr
    assert source.read_bytes() != before
    # Any other file that is there is replaced, as before.
    (tmp_path / "other.onnx").write_bytes(b"old")
    result = atrous("convert", "net.onnx", "-s", "1", "-o", "other.onnx", cwd=tmp_path)
    assert result.returncode == 0
    assert (tmp_path / "other.onnx").read_bytes() != b"old"


def test_every_file_that_is_written_is_named_and_json_stays_alone(tmp_path):
    two_layers(tmp_path / "net.onnx")
    onnx.save(
        onnx.load(tmp_path / "net.onnx"),
        tmp_path / "big.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (tmp_path / "to").mkdir()
    options = "-s", "1", "-o", "to/dense.onnx", "--json", "--html", "page.html"
    result = atrous("convert", "big.onnx", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["schema"] == "atrous.conversion/1"
    assert "wrote" not in result.stdout
    lines = result.stderr.splitlines()
    assert all(line.startswith("wrote ") for line in lines)
    named = {line.split()[1].rstrip(",") for line in lines}
    assert named == {"to/dense.onnx", "to/weights.bin", "page.html"}
    size = (tmp_path / "to" / "weights.bin").stat().st_size
    assert f"wrote to/weights.bin, {size_text(size)}" in lines


def test_a_picture_and_a_page_are_named_as_well(tmp_path):
    options = "--html", "page.html", "--graph", "net.svg"
    result = atrous("inspect", "stack:k3 k3", "-i", "1,1,9,9", *options, cwd=tmp_path)
    assert result.returncode == 0
    assert [line.split(",")[0] for line in result.stderr.splitlines()] == [
        "wrote net.svg",
        "wrote page.html",
    ]


DECODER = """
import torch
from torch import nn

class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.act = nn.ReLU(inplace=True)
        self.up, self.end = nn.Upsample(scale_factor=2), nn.Conv2d(4, 2, 1)
    def forward(self, x):
        a = self.act(self.one(x))
        b = self.act(self.two(a))
        return self.end(a + self.up(b))

def net():
    torch.manual_seed(0)
    return Decoder(), (1, 3, 32, 32)
"""


def test_the_part_of_a_model_is_written_though_what_lies_behind_it_no_longer_runs(tmp_path):
    (tmp_path / "decoder.py").write_text(DECODER)
    arguments = "convert", "decoder.py:net", "-s", "2", "--outputs", "two"
    result = atrous(*arguments, "-o", "part.pt2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("wrote part.pt2, ")
    import torch

    program = torch.export.load(tmp_path / "part.pt2")
    # What lies behind the part is not in it.
    assert {name.split(".")[0] for name in program.state_dict} == {"one", "two"}
    names: dict = {}
    exec(DECODER, names)
    model = names["net"]()[0].eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        want = model.two(model.act(model.one(x)))
        got = program.module()(x)
    assert got.shape == (1, 4, 16, 16)
    assert torch.allclose(got[..., ::2, ::2], want, atol=1e-5)


def test_a_run_of_a_layer_that_runs_twice_is_a_part_and_what_is_no_module_is_refused(tmp_path):
    (tmp_path / "decoder.py").write_text(DECODER)
    import torch

    names: dict = {}
    exec(DECODER, names)
    model = names["net"]()[0].eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        first = model.act(model.one(x))
        second = model.act(model.two(first))
    arguments = "convert", "decoder.py:net", "-o", "part.pt2", "--outputs"
    parts = {"act": (2, first), "act@1": (4, second), "act,up": (4, first)}
    for name, (count, want) in parts.items():
        stride = "2" if name == "act" else "4"
        result = atrous(*arguments, name, "-s", stride, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        program = torch.export.load(tmp_path / "part.pt2")
        assert len(program.state_dict) == count
        made = program.module()(x)
        assert torch.allclose(made[0] if "," in name else made, want, atol=1e-5)
    (tmp_path / "part.pt2").unlink()
    # A sum is made by no module of its own.
    result = atrous(*arguments, "add", "-s", "4", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "atrous: part.pt2 cannot be written: add: it is no module, and a part is written up to "
        "modules; name the one that it is in.\n"
    )
    assert not (tmp_path / "part.pt2").exists()


def test_a_classifier_with_another_pool_is_broken_with_exit_code_1():
    names = "timm:resnet10t", "timm:resnet10t?global_pool=max"
    result = atrous("audit", *names, "-i", "1,3,64,64")
    assert result.returncode == 1, result.stderr
    assert "broken" in result.stdout.splitlines()[0]
    assert "it pools by max in the candidate, and by average in the reference" in " ".join(
        result.stdout.split()
    )
    same = atrous("audit", names[0], names[0], "-i", "1,3,64,64", "--json")
    assert same.returncode == 0
    data = json.loads(same.stdout)
    assert (data["verdict"], data["state"], data["agrees"]) == ("exact", "measured", True)
    assert data["measured_at"] == [[64, 64], [65, 65]]
    assert data["not_run"] == []


def pooled(path, sizes, seed=0):
    """A file with a convolution, three pools and a convolution, at sizes that may be open."""
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(rng.normal(size=(8, n, 3, 3)).astype(np.float32), name)
        for n, name in ((3, "w1"), (8, "w2"))
    ]
    nodes = [helper.make_node("Conv", ["x", "w1"], ["p0"], "c1", pads=[1] * 4)]
    for i in range(3):
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes.append(helper.make_node("MaxPool", [f"p{i}"], [f"p{i + 1}"], f"pool{i}", **pool))
    nodes.append(helper.make_node("Conv", ["p3", "w2"], ["y"], "c2", pads=[1] * 4))
    after = [size // 8 if isinstance(size, int) else None for size in sizes]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, *after])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_a_file_of_one_size_is_judged_at_that_size(tmp_path):
    pooled(tmp_path / "fixed.onnx", (50, 155))
    options = "-s", "4", "--input", "1,3,50,155", "-o", "dense.onnx", "--json"
    result = atrous("convert", "fixed.onnx", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["certificate"]
    assert (found["verdict"], found["state"]) == ("exact", "measured")
    assert found["measured_at"] == [[50, 155]]
    # What ONNX Runtime makes of both says the same.
    import onnxruntime

    x = np.random.default_rng(1).normal(size=(1, 3, 50, 155)).astype(np.float32)
    one, two = (
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for name in ("fixed.onnx", "dense.onnx")
    )
    assert np.abs(two[..., ::2, ::2] - one).max() < 1e-4
    shape = "-i", "1,3,50,155"
    audited = atrous("audit", "fixed.onnx", "dense.onnx", *shape, "--json", cwd=tmp_path)
    assert json.loads(audited.stdout)["measured_at"] == [[50, 155]]


def test_a_file_whose_sizes_are_open_is_judged_at_a_second_one(tmp_path):
    for name, seed in (("open", 0), ("same", 0), ("other", 1)):
        pooled(tmp_path / f"{name}.onnx", ("h", 155), seed)
    shape = "-i", "1,3,48,155", "--json"
    found = json.loads(atrous("audit", "open.onnx", "same.onnx", *shape, cwd=tmp_path).stdout)
    assert (found["verdict"], found["state"]) == ("exact", "measured")
    assert found["precision"] == "float32"
    first, second = found["measured_at"]
    assert first == [48, 155]
    assert second[1] == 155
    # Every pool meets an odd map where it met an even one.
    assert [second[0] // 2**i % 2 for i in range(3)] == [1, 1, 1]
    result = atrous("audit", "open.onnx", "other.onnx", *shape, cwd=tmp_path)
    assert (result.returncode, json.loads(result.stdout)["verdict"]) == (1, "broken")


def test_a_page_says_what_was_not_run(tmp_path):
    options = "-s", "2", "-i", "1,3,65,65", "--html", "page.html"
    result = atrous("convert", STACK, *options, cwd=tmp_path)
    assert result.returncode == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "not run: a network as data has no weights" in words
    assert "the same positions are read" in words


def test_what_is_being_done_is_told_step_by_step():
    names: dict = {}
    exec(DECODER, names)
    model, shape = names["net"]()
    steps: list[str] = []
    with listening(steps.append):
        library.convert(model, 2, input=shape, outputs="two")
    assert steps[:4] == [
        "reading the model",
        "planning the conversion",
        "rewriting the model",
        "reading the result",
    ]
    assert "running both in float64 at 1x3x32x32, drawn weights" in steps
    # Where the join behind the part does not fit, the part is run all the same.
    assert "running both in float64 at 1x3x33x33, drawn weights" in steps


def test_the_spinner_names_the_step(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    with working("converting net"):
        step("running both in float64")
        time.sleep(0.4)
    assert "converting net: running both in float64" in stream.getvalue()
