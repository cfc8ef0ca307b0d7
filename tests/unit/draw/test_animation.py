"""Moving pictures show, output after output, what the algebra says is read."""

import re
from xml.etree import ElementTree

import pytest
import torch

import atrous
from atrous.draw.animation import animation, footprints_scene, sliding_scene
from atrous.errors import ArgumentError
from atrous.geometry import Window


def read_by_torch(kernel, stride, dilation, padding, size, transposed=False):
    """For each output the inputs that it reads, from gradients; padding left out."""
    x = torch.ones(1, 1, size, requires_grad=True)
    weight = torch.ones(1, 1, kernel)
    if transposed:
        y = torch.nn.functional.conv_transpose1d(x, weight, stride=stride)
    else:
        y = torch.nn.functional.conv1d(x, weight, stride=stride, dilation=dilation, padding=padding)
    found = []
    for at in range(y.shape[-1]):
        [slope] = torch.autograd.grad(y[0, 0, at], x, retain_graph=True)
        found.append(tuple(slope[0, 0].nonzero().flatten().tolist()))
    return found


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding"),
    [(3, 1, 1, 0), (3, 2, 1, 1), (3, 1, 2, 2), (4, 3, 2, 1)],
)
def test_each_frame_reads_what_the_convolution_reads(kernel, stride, dilation, padding):
    window = Window(kernel, stride, dilation, padding, padding)
    scene = sliding_scene([window], [11])
    shown = [tuple(c for _, c in frame.read if 0 <= c < 11) for frame in scene.frames]
    assert shown == read_by_torch(kernel, stride, dilation, padding, 11)


def test_a_transposed_scene_shows_which_inputs_add_to_an_output():
    scene = sliding_scene([Window(3, 2)], [5], transposed=True)
    shown = [tuple(c for _, c in frame.read) for frame in scene.frames]
    assert shown == read_by_torch(3, 2, 1, 0, 5, transposed=True)


def test_two_axes_are_the_product_of_their_axes():
    scene = sliding_scene([Window(3, 2), Window(3, dilation=2)], [7, 9])
    assert scene.output == (3, 5)
    frame = scene.frames[1 * 5 + 2]
    assert frame.at == (1, 2)
    assert set(frame.read) == {(r, c) for r in (2, 3, 4) for c in (2, 4, 6)}


def test_footprints_become_frames():
    report = atrous.inspect("stack:k3d2 k3s2", (1, 1, 10, 10))
    places = [(0, 0), (2, 3)]
    scene = footprints_scene((report.footprint(at=at) for at in places), (5, 5), "both")
    assert [frame.at for frame in scene.frames] == places
    for frame, at in zip(scene.frames, places, strict=True):
        mask = report.footprint(at=at).mask
        assert set(frame.read) == {(int(r), int(c)) for r, c in zip(*mask.nonzero(), strict=True)}


def test_the_picture_is_well_formed_and_loads_nothing():
    svg = animation([sliding_scene([Window(3)], [8], title="<b> & 'k3'")])
    tree = ElementTree.fromstring(svg)
    assert tree.tag.endswith("svg")
    assert "<b>" not in svg
    assert not re.search(
        r"(href|src)=|url\(", svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
    )
    steps = [one for one in tree.iter() if (one.get("class") or "").startswith("f")]
    assert len(steps) == 6
    assert sum("first" in one.get("class") for one in steps) == 1


def test_scenes_of_different_lengths_have_as_many_steps_and_never_too_many():
    scenes = [sliding_scene([Window(1)], [4]), sliding_scene([Window(1)] * 2, [20, 20])]
    assert animation(scenes).count('class="f') == 2 * 72


@pytest.mark.parametrize(
    ("scenes", "says"),
    [
        ([], "nothing to animate"),
        ([sliding_scene([Window(1)] * 2, [200, 200])], "too fine"),
    ],
)
def test_what_cannot_be_drawn_is_said(scenes, says):
    with pytest.raises(ArgumentError, match=says):
        animation(scenes)


def test_three_axes_are_refused():
    with pytest.raises(ArgumentError, match="one or two axes"):
        sliding_scene([Window(1)] * 3, [2, 2, 2])


def test_a_picture_is_as_wide_as_its_title_and_can_be_held():
    title = "transposed, kernel 3, stride 2"
    made = animation([sliding_scene([Window(3, 2)], [4], transposed=True, title=title)], side=10)
    width = float(re.search(r' width="(\d+)"', made)[1])
    assert width >= 10 * 0.45 * len(title)
    assert 'id="held"' in made
    assert ":target .f{animation:none}" in made
