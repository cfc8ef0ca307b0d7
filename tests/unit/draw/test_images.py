"""Footprints as images: every pixel is a position, and says whether it is read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import atrous
from atrous.draw.footprints import opened
from atrous.draw.images import cuts, levels, png
from atrous.errors import ReadError, UnsupportedError


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("stack", "shape"),
    [
        ("k3d2 k3d3", (1, 1, 40, 40)),
        ("k(1,5)d2 k3s2", (1, 1, 31, 44)),
        ("k2d5 k3d2", (1, 1, 50)),
        ("k3d2", (1, 1, 9, 12, 15)),
    ],
)
def test_dark_pixels_are_the_positions_that_are_not_read(stack, shape):
    footprint = atrous.inspect(f"stack:{stack}", shape).footprint()
    names = list(footprint.axes)
    for cut in cuts(footprint):
        drawn = pixels(png(cut.counts))
        mask = footprint.mask
        if cut.through is not None:
            axis, at = cut.through
            mask = mask.take(at, axis=names.index(axis))
        top, left = cut.origin
        inside = mask.reshape(cut.shape)[top : top + drawn.shape[0], left : left + drawn.shape[1]]
        assert ((drawn > 0) == inside).all()
        assert cut.holes == (~inside).sum()


def test_three_axes_are_cut_through_the_middle_of_the_third():
    footprint = atrous.inspect("stack:k3", (1, 1, 9, 12, 15)).footprint()
    assert [cut.through for cut in cuts(footprint)] == [("d", 4), ("h", 6), ("w", 7)]
    assert [cut.axes for cut in cuts(footprint)] == [("h", "w"), ("d", "w"), ("d", "h")]


def test_more_paths_are_never_darker():
    counts = np.array([0, 1, 1, 2, 7, 500, 10**30], dtype=object)
    shades = levels(counts)
    assert shades.tolist() == sorted(shades.tolist())
    assert shades[0] == 0
    assert shades[1] == 1
    assert shades[-1] == 32
    assert levels(np.array([0, 4, 4])).tolist() == [0, 32, 32]


def test_over_a_photo_what_is_read_most_is_seen_best():
    counts = np.array([[0, 1, 10]])
    image = Image.open(io.BytesIO(png(counts, "shade"))).convert("RGBA")
    opaque = [image.getpixel((x, 0))[3] for x in range(3)]
    assert opaque[0] > opaque[1] > opaque[2] == 0


def test_an_empty_footprint_has_no_picture():
    footprint = atrous.inspect("stack:k1d1p(4,4)", (1, 1, 3)).footprint(at=0)
    assert cuts(footprint) == []
    with pytest.raises(UnsupportedError, match="reads no input"):
        footprint.plot()


def test_a_photo_lies_over_two_axes_only(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(UnsupportedError, match="lies over two axes, but the input has 1: t"):
        atrous.inspect("stack:k3", (1, 1, 9)).footprint().plot(path)


def test_what_is_no_image_is_refused_with_its_name(tmp_path):
    for content in (b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40):
        path = tmp_path / "photo.png"
        path.write_bytes(content)
        with pytest.raises(ReadError, match=r"photo\.png is no image"):
            opened(path)
    with pytest.raises(ReadError, match="there is no such file"):
        opened(tmp_path / "absent.png")
    with pytest.raises(ReadError, match="is no image"):
        opened(tmp_path)
    with pytest.raises(ReadError, match="int is no image"):
        opened(3)


def test_an_image_is_measured_before_it_is_decoded(tmp_path):
    path = tmp_path / "huge.png"
    Image.new("1", (9000, 8000)).save(path)
    with pytest.raises(ReadError, match="9000 x 8000 pixels; more than 64,000,000"):
        opened(path)
