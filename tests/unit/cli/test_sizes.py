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
    ],
)
def test_what_cannot_be_sized_is_one_line_and_exit_code_2(arguments, says):
    assert_refuses("sizes", *arguments, says=says)
