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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["513", "--rates", ""], "--rates '' is no whole number"),
        (["513", "--rates", "6;12"], "--rates '6;12'"),
        (["five"], "SIZE 'five' is no whole number"),
        (["0"], "size 0"),
        (["513", "--kernel", "1"], "a kernel of 1 has no rate"),
        (["513x513", "--kernel", "3x3x3"], "do not go together"),
        ([], "SIZE"),
    ],
)
def test_what_is_no_size_is_one_line_and_exit_code_2(arguments, says):
    assert_refuses("rates", *arguments, says=says)
