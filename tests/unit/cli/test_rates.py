"""The command `atrous rates`, and the pyramid in `atrous inspect`: lines, JSON, refusals."""

import json

import pytest

from tests.command import assert_refuses, atrous


def test_the_table_says_what_each_rate_has_inside():
    result = atrous("rates", "520", "--rates", "12,24,36")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "a map of 33x33: 520x520 at output stride 16"
    assert lines[6].split() == ["36", "3x3", "11%", "1.00", "0%", "100%"]
    assert "rate 36          3x3 in name, and a 1x1 here" in result.stdout
    assert "in proportion    6, 12, 18" in result.stdout


def test_json_has_the_shares_exactly():
    result = atrous("rates", "512x1024", "--output-stride", "8x16", "--rates", "6,6x12", "--json")
    data = json.loads(result.stdout)
    assert (data["schema"], data["map"]) == ("atrous.rates/1", [64, 64])
    assert [b["rate"] for b in data["branches"]] == [[6, 6], [6, 12]]
    assert data["branches"][1]["exact"]["full"] == "65/128"
    assert data["branches"][1]["full"] == 65 / 128


def test_a_branch_of_a_pyramid_shows_it_and_other_layers_do_not():
    source = ["inspect", "zoo:deeplabv3_resnet50", "-i", "1,3,129,129"]
    shown = atrous(*source, "--layer", "classifier.0.convs.2.0").stdout
    assert "branches that read backbone.layer4.2.relu@2, a map of 17x17" in shown
    assert "rate 24          3x3 in name, and a 1x1 here" in shown
    data = json.loads(atrous(*source, "--layer", "classifier.0.convs.2.0", "--json").stdout)
    assert data["pyramid"]["scaled"] == [3, 6, 9]
    assert "branches that read" not in atrous(*source, "--layer", "backbone.conv1").stdout
    assert "rates 12, 24, 36 on a map of 17x17" in atrous(*source).stdout


def test_rates_are_lengths_of_the_input_as_well():
    """A rate of 6 at output stride 16 and 0.5 um a pixel: 6 x 8 um."""
    said = " ".join(atrous("rates", "513", "--pixel", "0.5um").stdout.split())
    for part in (
        "a position of the map is 8x8 um",
        "rate rate um kernel",
        "6 48 3x3 77%",
        "up to 16 (128 um) some position has all taps inside",
        "up to 32 (256 um) some position more than one",
        "25 of 37x37 positions of the map (2%), over 296x296 um, with gaps of up to 5 (40 um)",
    ):
        assert part in said, said
    data = json.loads(atrous("rates", "513", "--pixel", "0.5um,1um", "--json").stdout)
    assert [one["length"] for one in data["steps"]] == [33 * 8, 33 * 16]
    assert [one["length"] for one in data["branches"][0]["steps"]] == [48, 96]


def test_rates_along_time_are_in_ms():
    arguments = ["--output-stride", "4", "--kernel", "2", "--rates", "1,2,4", "--rate", "16k"]
    said = " ".join(atrous("rates", "16000,", *arguments).stdout.split())
    assert "a map of 4000: 16000 at output stride 4; a position of the map is 0.25 ms" in said
    assert "4 1 2 above 99.9%" in said
    assert "DeepLab" not in said


def test_pyramids_of_a_network_have_its_scales():
    source = ["inspect", "zoo:deeplabv3_resnet50", "-i", "1,3,129,129", "--pixel", "2um"]
    assert "rates 12, 24, 36 (192 um, 384 um, 576 um) on a map" in atrous(*source).stdout
    shown = atrous(*source, "--layer", "classifier.0.convs.2.0").stdout
    assert "a map of 17x17; a position of the map is 16x16 um" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["513", "--rates", ""], "--rates '' is no whole number"),
        (["513", "--rates", "6;12"], "--rates '6;12'"),
        (["five"], "SIZE 'five' is no whole number"),
        (["513", "--rate", "12"], "--rate 12 is along time, and the axes here are h, w"),
        (["16000,", "--pixel", "1um"], "--pixel 1um is along space, and the axes here are t"),
        (["0"], "SIZE 0 is no whole number of at least 1"),
        (["513", "--kernel", "1"], "--kernel 1 has no rate"),
        (["513x513", "--kernel", "3x3x3"], "do not go together"),
        ([], "SIZE"),
    ],
)
def test_what_is_no_size_is_one_line_and_exit_code_2(arguments, says):
    assert_refuses("rates", *arguments, says=says)


def test_branches_are_chosen_for_a_map_and_a_trunk():
    result = atrous("rates", "513", "--branches", "3", "--trunk", "26")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "rates 5, 11, 16"
    assert "no hole in the box" in lines[1]
    bare = json.loads(atrous("rates", "513", "--branches", "3", "--json").stdout)
    assert (bare["schema"], bare["rates"], bare["whole"]) == ("atrous.pyramid/1", [1, 2, 3], False)
    assert_refuses("rates", "40", "--branches", "3", says="room for 1 rate")
