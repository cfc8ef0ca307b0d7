"""`atrous inspect --tiles`: how an image is cut, by size or by memory."""

import json

import pytest

import atrous as package
from tests.command import assert_refuses, atrous

STACK = "stack:k3s2x8 k3d4x8"


def test_tiles_of_a_size_and_within_memory():
    shown = atrous("inspect", STACK, "-i", "1,3,1024,1024", "--tiles", "256").stdout
    assert "1x3x1024x1024 in 16 tiles" in shown
    assert "halo        9 px before, 8 behind; origins multiples of 2" in shown
    result = atrous("inspect", STACK, "-i", "1,3,1024,1024", "--tiles", "4MiB", "--json")
    data = json.loads(result.stdout)
    assert (data["schema"], data["memory_bytes"] <= 4 << 20) == ("atrous.tiles/1", True)
    plan = package.plan_tiles(STACK, (1, 3, 1024, 1024), memory="4MiB")
    assert data == json.loads(json.dumps(plan.to_dict()))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tiles", "many"], "--tiles many is neither a size of tiles"),
        (["--tiles", "64", "--layer", "conv1"], "--tiles shows the tiles alone"),
        (["--tiles", "1,2,3"], "one for each of h, w"),
        (["--tiles", "64", "--statistics", "all"], "--statistics all is none of 'exact'"),
        (["--statistics", "exact"], "--statistics is for --tiles"),
    ],
)
def test_what_is_no_size_is_one_line(arguments, says):
    assert_refuses("inspect", STACK, *arguments, says=says)


def test_a_network_that_needs_statistics_is_told_what_gathering_them_takes():
    arguments = ("inspect", "zoo:deeplabv3plus_resnet50", "-i", "1,3,4096,4096", "--tiles", "1024")
    assert_refuses(*arguments, says="lets all positions see one another along h")
    said = atrous(*arguments).stderr
    told = said.rpartition("With --statistics exact: ")[2].rstrip(".\n").split(", ")
    shown = atrous(*arguments, "--statistics", "exact").stdout
    assert f"in {told[0]}" in shown
    assert f"sweeps      {told[1].split()[0]}, to gather the statistics of" in shown
    assert f"more work   {told[2].split()[0]}, since" in shown
    assert f"memory      {told[3]}, " in shown
    assert "not exact" in atrous(*arguments, "--statistics", "tile").stdout
