"""Arrays laid out by position, wherever the layout of a tensor holds them."""

from __future__ import annotations

import numpy as np

from atrous.certification.places import laid
from atrous.network import Tensor
from atrous.network.layout import Atom, channels, spatial

H, W = 6, 4


def whole() -> np.ndarray:
    """A map of `h x w x channels` whose values say where they belong."""
    return np.arange(float(H * W * 5)).reshape(H, W, 5)


def test_a_map_with_channels_first_and_last_is_laid_out_alike() -> None:
    first = Tensor("x", (channels(1), channels(5), spatial("h", H), spatial("w", W)))
    last = Tensor("x", (channels(1), spatial("h", H), spatial("w", W), channels(5)))
    x = whole()
    for tensor, array in ((first, x.transpose(2, 0, 1)[None]), (last, x[None])):
        assert np.array_equal(laid(array, tensor, ("h", "w")), x)
        assert np.array_equal(laid(array, tensor, ("w", "h")), x.transpose(1, 0, 2))


def test_tokens_and_windows_are_put_together_again() -> None:
    x = whole()
    tokens = Tensor("x", (channels(1), (Atom("h", H), Atom("w", W)), channels(5)))
    assert np.array_equal(laid(x.reshape(1, H * W, 5), tokens, ("h", "w")), x)
    # Two rows and two columns of windows, each of 3 x 2 positions, as Swin lays them out.
    cut = x.reshape(2, 3, 2, 2, 5).transpose(0, 2, 1, 3, 4).reshape(4, 6, 5)
    windows = Tensor(
        "x",
        (
            (Atom("h", 2, 3), Atom("w", 2, 2)),
            (Atom("h", 3, 1), Atom("w", 2, 1)),
            channels(5),
        ),
    )
    assert np.array_equal(laid(cut, windows, ("h", "w")), x)


def test_an_array_of_another_shape_or_with_a_digit_missing_is_not_laid_out() -> None:
    x = whole()
    tensor = Tensor("x", (spatial("h", H), spatial("w", W), channels(5)))
    assert laid(x[:-1], tensor, ("h", "w")) is None
    assert laid(x, tensor, ("h",)) is None
    half = Tensor("x", ((Atom("h", 3, 2),), spatial("w", W)))
    assert laid(np.zeros((3, W)), half, ("h", "w")) is None


def test_an_output_without_positions_is_one_dimension() -> None:
    tensor = Tensor("x", (channels(1), channels(5)))
    assert laid(np.arange(5.0).reshape(1, 5), tensor, ()).shape == (5,)
