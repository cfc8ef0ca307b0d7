"""The command `atrous effective`: lines, JSON, pictures, refusals."""

import json

import pytest

from atrous import effective as atrous_effective
from tests.command import assert_refuses, atrous

CODE = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2, dilation=2)]
    return nn.Sequential(*layers), (1, 3, 16, 16)
"""


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "models.py"
    path.write_text(CODE)
    return f"{path}:small"


def test_a_module_is_measured_and_the_same_seed_says_the_same(code):
    result = atrous("effective", code, "--samples", "2", "--seed", "3")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "effective field of 2 at (8, 8), Sequential"
    assert lines[1] == "whole field      7x7 positions (h, w)"
    assert "2 random inputs, the model's own weights, seed 3" in " ".join(result.stdout.split())
    assert atrous("effective", code, "--samples", "2", "--seed", "3").stdout == result.stdout


def test_json_has_all_that_is_said(code):
    data = json.loads(atrous("effective", code, "--layer", "0", "--at", "0,5", "--json").stdout)
    assert (data["schema"], data["layer"], data["at"]) == ("atrous.effective/1", "0", [0, 5])
    assert data["field"] == {"origin": [0, 4], "size": [2, 3]}
    assert (data["samples"], data["weights"], data["inputs"]) == (8, "given", "random")


def test_images_are_what_it_is_measured_on(code, tmp_path):
    from PIL import Image

    for name in ("one.png", "two.png"):
        Image.new("RGB", (20, 20), (90, 120, 30)).save(tmp_path / name)
    given = ["--image", str(tmp_path / "one.png"), "--image", str(tmp_path / "two.png")]
    result = atrous("effective", code, *given)
    assert result.returncode == 0, result.stderr
    assert "2 images" in result.stdout
    assert_refuses("effective", code, "--image", "none.png", says="there is no such file")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_written(tmp_path, ending):
    path = tmp_path / f"field.{ending}"
    result = atrous("effective", "stack:k3 k3d2", "-i", "1,1,16,16", "--plot", str(path))
    assert result.returncode == 0, result.stderr
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<svg")


def test_a_stack_along_time_has_its_paths_counted_in_ms():
    result = atrous("effective", "stack:k400s320valid k3", "-i", "1,1,16000", "--rate", "16k")
    assert "1040 positions (t); 65 ms" in result.stdout
    assert "roots of path counts" in result.stdout
    said = " ".join(result.stdout.split())
    data = json.loads(
        atrous(
            "effective", "stack:k400s320valid k3", "-i", "1,1,16000", "--rate", "16k", "--json"
        ).stdout
    )
    (scaled,) = data["scaled"]
    assert (scaled["unit"], scaled["field"]) == ("ms", 65.0)
    (paths,), (spread,) = data["paths"]["size"], data["spreads"]
    assert scaled["paths"] == paths / 16
    assert scaled["half"] == spread["half"] / 16
    assert f"{paths} ({paths / 16:.3g} ms) holds 95% of all paths" in said
    assert f"positions ({spread['half'] / 16:.3g} ms) of {spread['mean']:.4g} (" in said


def test_each_axis_has_its_own_pixel():
    arguments = ["stack:k3 k3d2", "-i", "1,1,16,16", "--pixel", "1um,4um"]
    said = " ".join(atrous("effective", *arguments).stdout.split())
    assert "7x7 positions (h, w); 7x28 um" in said
    found = atrous_effective("stack:k3 k3d2", (1, 1, 16, 16), pixel="1um,4um")
    subtitle = found.plot().to_dict()["title"]["subtitle"]
    assert subtitle.endswith("the whole field (7x28 um)")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stack:k3", "-i", "1,1,9,9", "--weights", "random"], "paths are counted without weights"),
        (["stack:k3", "-i", "1,1,9,9", "--weights", "best"], "no kind of weights is named 'best'"),
        (["stack:k3", "-i", "1,1,9,9", "--share", "2"], "--share 2.0 is not above 0"),
        (["stack:k3", "-i", "1,1,9,9", "--seed", "-1"], "--seed -1"),
        (["stack:k3", "-i", "1,1,9,9", "--plot", "field.pdf"], "the ending .png or .svg"),
        (["stack:k3", "-i", "1,1,9,9", "--plot", "none/field.png"], "there is no folder"),
        (["stack:k3", "-i", "1,1,9,9", "--at", "99,0"], "is not in an output of"),
        (["stack:k3", "-i", "1,1,9,9", "--rate", "16k"], "--rate 16k is along time"),
        (["nothing.onnx"], "there is no such file"),
        ([], "SOURCE"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(arguments, says):
    assert_refuses("effective", *arguments, says=says)
