"""Images as a model takes them: dimensions by letters, what is read, what is refused."""

import numpy as np
import pytest
import torch

from atrous.errors import ArgumentError, RunError
from atrous.runners.tiled.images import Scaling, as_image


@pytest.mark.parametrize(
    ("shape", "asked", "given"),
    [
        ((1, 3, 8, 9), {"rank": 4}, (1, 3, 8, 9)),
        ((3, 8, 9), {"rank": 4}, (1, 3, 8, 9)),
        ((8, 9), {"rank": 4}, (1, 1, 8, 9)),
        ((8, 9, 3), {"axes": "YXC"}, (1, 3, 8, 9)),
        ((8, 9, 3), {"axes": "yxs", "rank": 4}, (1, 3, 8, 9)),
        ((8, 9), {"axes": "XY"}, (1, 1, 8, 9)),
        ((1, 1, 3, 8, 9), {"axes": "TZCYX", "rank": 4}, (1, 3, 8, 9)),
        ((5, 3, 8, 9), {"axes": "ZCYX", "rank": 5}, (1, 3, 5, 8, 9)),
        ((8, 9, 5), {"axes": "YXC", "channels": (4, 0)}, (1, 2, 8, 9)),
    ],
)
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_a_box_of_an_image_is_what_the_whole_image_has_there(shape, asked, given, kind):
    values = np.random.default_rng(0).standard_normal(shape)
    image = as_image(torch.from_numpy(values) if kind == "tensor" else values, **asked)
    assert image.shape == given
    whole = np.asarray(image[tuple(slice(0, n) for n in given)])
    assert whole.shape == given
    part = (*(slice(0, n) for n in given[:2]), *(slice(1, n - 2) for n in given[2:]))
    np.testing.assert_array_equal(np.asarray(image[part]), whole[part])
    if asked.get("axes") == "YXC":
        picked = values[..., list(asked["channels"])] if "channels" in asked else values
        np.testing.assert_array_equal(whole[0], picked.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "asked", "says"),
    [
        ((2, 3, 4, 8, 9), {"rank": 4}, "5 dimensions, 2x3x4x8x9, and the model takes 4"),
        ((8,), {"rank": 4}, "1 dimensions"),
        ((8, 9), {"axes": "YXC"}, "axes is 'YXC' and the array has 2 dimensions"),
        ((8, 9), {"axes": "YY"}, "one letter for each"),
        ((4, 3, 8, 9), {"axes": "ZCYX", "rank": 4}, "positions along ZYX"),
        ((4, 8, 9), {"axes": "QYX", "rank": 4}, "axis Q of QYX has 4 positions"),
        ((3, 2, 8, 9), {"axes": "CSYX"}, "C and S of CSYX are one dimension"),
        ((3, 8, 9), {"rank": 4, "channels": (0, 3)}, "channels has 3 and there are 3"),
    ],
)
def test_dimensions_that_do_not_fit_are_refused(shape, asked, says):
    with pytest.raises(ArgumentError, match=says):
        as_image(np.zeros(shape), **asked)


def test_what_is_no_array_is_refused():
    with pytest.raises(ArgumentError, match="a list has no `shape`"):
        as_image([[1, 2]])


def test_a_region_that_raises_is_named():
    class Torn:
        shape, dtype = (1, 1, 9, 9), np.dtype("f4")

        def __getitem__(self, key):
            raise OSError("bad sector")

    with pytest.raises(RunError, match=r"\[0:1, 0:1, 2:5, 0:9\] is not to be read: bad sector"):
        as_image(Torn(), name="scan")[slice(0, 1), slice(0, 1), slice(2, 5), slice(0, 9)]


def test_what_prepares_keeps_the_shape():
    image = as_image(np.zeros((1, 1, 8, 9)), prepare=lambda tile: tile[..., 1:])
    with pytest.raises(ArgumentError, match="keep the shape"):
        image[tuple(slice(0, n) for n in image.shape)]


def test_a_mean_for_each_channel_needs_as_many():
    with pytest.raises(ArgumentError, match="mean has 3 numbers and the image 2 channels"):
        Scaling(mean=(1, 2, 3))(np.zeros((1, 2, 4)))
