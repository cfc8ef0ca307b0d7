"""The command `atrous design`: the front, one design whole, JSON, a picture, refusals."""

import json

import pytest

from tests.command import assert_refuses, atrous

SMALL = ("--input", "1,4,64", "--channels", "4", "--depth", "1:4")


def test_the_table_says_what_was_searched():
    result = atrous("design", "--receptive-field", "27", *SMALL)
    assert (result.returncode, result.stderr) == (0, "")
    assert "k3d9x4 k3d3x4 k3x4" in result.stdout.replace("\n", " ")
    assert "1.7e7 schedules, all of them: 1 to 4 layers" in " ".join(result.stdout.split())


def test_one_design_is_shown_whole_with_its_code_and_as_json():
    options = ("design", "--receptive-field", "27", *SMALL, "--code", "1")
    shown = atrous(*options).stdout
    assert "nn.Conv1d(4, 4, 3, dilation=9, padding=9)," in shown
    data = json.loads(atrous(*options, "--json").stdout)
    assert (data["schema"], data["stack"]) == ("atrous.design/1", "k3d9x4 k3d3x4 k3x4")


def test_the_front_is_drawn(tmp_path):
    target = tmp_path / "front.svg"
    result = atrous("design", "--receptive-field", "20:40", *SMALL, "--plot", str(target))
    assert result.returncode == 0
    assert "<svg" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--receptive-field", "999"), "the largest is 81"),
        (("--receptive-field", "9", "--macs", "lots"), "--macs 'lots'; give a number"),
        (("--receptive-field", "9", "--kernel", "3x5"), "--kernel '3x5'; give whole numbers"),
        (("--receptive-field", "9", "--minimise", "heat"), "none of macs"),
        (("--receptive-field", "9", "--code", "7"), "there is 1 design; give 1 to 1"),
        (("--receptive-field", "9", "--plot", "front.gif"), "ending .png or .svg"),
    ],
)
def test_what_cannot_be_is_one_line(options, message):
    assert_refuses("design", *SMALL, *options, says=message)
