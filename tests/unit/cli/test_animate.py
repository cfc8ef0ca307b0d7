"""`--animate`: pictures that play, of schemes and of one network's output."""

from xml.etree import ElementTree

import pytest

import atrous as library
from tests.command import assert_refuses, atrous


def test_the_usual_schemes_play_side_by_side(tmp_path):
    path = tmp_path / "schemes.svg"
    done = atrous("compare", "--depth", "2", "--animate", str(path))
    assert done.returncode == 0, done.stderr
    assert "1x3x24x24" in done.stdout
    text = path.read_text()
    ElementTree.fromstring(text)
    for name in ("plain", "strided", "dilated, rate 2"):
        assert f">{name}</text>" in text


def test_what_the_output_of_a_network_reads_plays(tmp_path):
    path = tmp_path / "one.svg"
    done = atrous("inspect", "stack:k3d2 k3d2", "-i", "1,1,30", "--animate", str(path))
    assert done.returncode == 0, done.stderr
    assert path.read_text().count('class="f') == 30


def test_the_frames_are_the_footprints_of_a_row(tmp_path):
    foot = library.inspect("stack:k3s2 k3d2", (1, 1, 40, 40)).footprint(at=(3, 4))
    beside = foot.moved()
    assert [one.at for one in beside] == [(3, column) for column in range(20)]
    again = library.inspect("stack:k3s2 k3d2", (1, 1, 40, 40)).footprint(at=(3, 7))
    assert (beside[7].mask == again.mask).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "--animate", "x.gif"], "give it the ending .svg"),
        (["compare", "--animate", "nowhere/x.svg"], "no folder nowhere"),
        (["compare", "-i", "1,3,512,512", "--animate", "x.svg"], "too fine"),
        (["inspect", "zoo:resnet18", "--animate", "x.svg"], "no positions to go over"),
        (["inspect", "zoo:resnet18", "--layer", "conv1", "--animate", "x.svg"], "too fine"),
    ],
)
def test_what_cannot_be_animated_is_one_line_and_writes_nothing(arguments, says, tmp_path):
    assert_refuses(*arguments, says=says, cwd=tmp_path)
    assert not list(tmp_path.iterdir())
