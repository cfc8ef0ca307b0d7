"""The way back from dilation to stride: which of the paddings that serve is taken."""

from __future__ import annotations

import pytest

from atrous.geometry import Dense, Window, sparse_window


@pytest.mark.parametrize(
    ("window", "factor", "outward", "length", "sparse"),
    [
        # The pads divide, and serve.
        (Window(3, 1, 2, 2, 2), 2, 4, 28, Window(3, 2, 1, 1, 1)),
        (Window(3, 1, 4, 4, 4), 4, 4, 28, Window(3, 1, 1, 1, 1)),
        # None behind where that serves.
        (Window(2, 1, 2, 0, 2), 2, 4, 28, Window(2, 2)),
        (Window(3, 1, 2, 0, 0), 2, 2, 9, Window(3)),
        # As much behind as in front.
        (Window(3, 1, 2, 2, 3), 2, 2, 9, Window(3, 1, 1, 1, 1)),
        # A single tap has no rate.
        (Window(1, 1, 3), 2, 2, 8, Window(1)),
        # Else the least that leaves as many outputs.
        (Window(3, 1, 2, 0, 4), 2, 2, 9, Window(3, 1, 1, 0, 2)),
        (Window(3, 1, 1, 0, 1), 1, 1, 9, Window(3, 1, 1, 0, 1)),
        (Window(1, 1, 1, 0, -3), 1, 1, 9, Window(1, 1, 1, 0, -3)),
        # Of two that serve, each of these rules takes the one at the rim of what serves.
        (Window(1, 1, 1, -1, -1), 1, 2, 7, Window(1, 2, 1, -1, -1)),
        (Window(1, 1, 1, 1, 0), 1, 2, 8, Window(1, 2, 1, 1, 0)),
        (Window(1, 1, 1, -1, 0), 1, 2, 7, Window(1, 2, 1, -1, 0)),
        (Window(1, 1, 1, -2, -1), 1, 2, 7, Window(1, 2, 1, -2, -2)),
        (Window(1, 1, 1, 2, 1), 1, 2, 8, Window(1, 2, 1, 2, 2)),
        (Window(1, 1, 1, 0, 1), 1, 2, 8, Window(1, 2, 1, 0, 1)),
        (Window(1, 1, 1, 0, -1), 1, 2, 7, Window(1, 2, 1, 0, -1)),
    ],
)
def test_of_the_paddings_that_leave_as_many_outputs_the_plainest(
    window: Window, factor: int, outward: int, length: int, sparse: Window
) -> None:
    found = sparse_window(window, factor, outward, length)
    assert found == sparse
    kept = -(-window.output_length(length) // outward)
    assert found is not None
    assert found.output_length(-(-length // factor)) == kept


def test_the_rate_of_a_single_tap_stays() -> None:
    assert Dense(Window(1, 2), factor=4).at(9).dilation == 1
    assert Dense(Window(1, 2, 3), factor=4).at(9).dilation == 3
    assert Dense(Window(2, 2, 3), factor=4).at(40).dilation == 12
