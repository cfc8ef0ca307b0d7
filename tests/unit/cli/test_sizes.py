"""The command `atrous sizes`: lines, JSON, refusals."""

import json

import pytest

from tests.command import assert_refuses, atrous


def test_json_has_the_rule_of_each_axis():
    result = atrous("sizes", "stack:maxk2s2valid maxk2s2valid", "-i", "1,1,30", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    data = json.loads(result.stdout)
    assert (data["schema"], data["shape"]) == ("atrous.sizes/1", [30])
    (axis,) = data["axes"]
    assert (axis["axis"], axis["period"], axis["proved"]) == ("t", 4, True)
    assert axis["trials"][3]["outputs"] == [1]
    assert axis["trials"][5]["dropped"] == ["max2"]


def test_at_least_so_many_sizes_are_read():
    result = atrous("sizes", "stack:k3s2", "-i", "1,1,16", "--at-least", "40", "--json")
    assert len(json.loads(result.stdout)["axes"][0]["trials"]) >= 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["zoo:unett"], "near: unet"),
        (["nothing.onnx"], "there is no such file"),
        (["zoo:unet", "-i", "1,1,a,b"], "is no shape"),
        (["zoo:unet", "--at-least", "-1"], "--at-least"),
        ([], "SOURCE"),
        (["zoo:unet", "--rate", "16k"], "--rate 16k is along time, and the axes here are h, w"),
        (["stack:k3", "-i", "1,1,9", "--pixel", "1um"], "--pixel 1um is along space"),
    ],
)
def test_what_cannot_be_sized_is_one_line_and_exit_code_2(arguments, says):
    assert_refuses("sizes", *arguments, says=says)


WAV2VEC2 = "stack:k10s5valid " + "k3s2valid " * 4 + "k2s2valid k2s2valid"


def test_every_length_is_shown_in_ms_as_well():
    result = atrous("sizes", WAV2VEC2, "-i", "1,1,16000", "--rate", "16k")
    assert (result.returncode, result.stderr) == (0, "")
    said = " ".join(result.stdout.split())
    for part in (
        "input sizes along t; a position is 0.0625 ms",
        "runs at every size from 400 (25 ms) up",
        "drops nothing 320 k + 80, from 400 (25 ms) up",
        "repeats every 320 positions (20 ms), from 400 (25 ms) up",
        "pad by 80 (5 ms), to 16080 (1005 ms)",
        "or crop by 240 (15 ms), to 15760 (985 ms)",
    ):
        assert part in said, said


def test_lengths_have_the_size_of_a_pixel_along_each_axis():
    source = "stack:maxk2s2valid maxk2s2valid"
    arguments = ("sizes", source, "-i", "1,1,30,30", "--pixel", "1um,4um")
    said = " ".join(atrous(*arguments).stdout.split())
    assert "a position is 1x4 um" in said
    assert "multiples of 4 (4 um by 16 um), from 4 (4 um by 16 um) up" in said
    assert "pad by 2x2 (2x8 um), to 32x32 (32x128 um)" in said
    h, w = json.loads(atrous(*arguments, "--json").stdout)["axes"]
    assert (h["least"], h["pad"], h["crop"]) == (4, 2, 2)
    lengths = {"length": 30, "period": 4, "least": 4, "pad": 2, "crop": 2}
    assert h["scaled"] == {"unit": "um", **lengths}
    assert w["scaled"] == {"unit": "um", **{name: 4 * n for name, n in lengths.items()}}


def test_what_holds_along_both_axes_of_an_oblong_is_said_once():
    def said(*arguments):
        return atrous("sizes", *arguments).stdout.splitlines()

    oblong = said("stack:maxk2s2valid maxk2s2valid", "-i", "1,1,32,40")
    assert oblong[:-1] == said("stack:maxk2s2valid maxk2s2valid", "-i", "1,1,32,32")[:-1]
    assert oblong[-1].split()[0] == "32x40"
