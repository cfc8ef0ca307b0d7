"""How many products tiles take, counted one by one."""

from __future__ import annotations

from itertools import product

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.tiles import LEVELS, living, tiled


def conv(sizes, kernel, dilation, pads, stride=1) -> Convolution:
    windows = tuple(
        Window(k, stride, d, *p) for k, d, p in zip(kernel, dilation, pads, strict=True)
    )
    return Convolution(1, 1, 1, tuple(sizes), windows)


def counted(outputs: int, kernel: int, dilation: int, tile: int) -> int:
    """Takes outputs away tile by tile, phase by phase."""
    if kernel == 1:
        return outputs
    left, products = set(range(outputs)), 0
    while left:
        first = min(left)
        left -= {first + dilation * m for m in range(tile)}
        products += tile + kernel - 1
    return products


def test_the_cheapest_tiles_are_found_and_counted_right():
    for size, kernel, dilation, level in product(
        (1, 5, 17, 33), (1, 2, 3, 5), (1, 2, 4, 40), LEVELS
    ):
        pad = (kernel - 1) * dilation
        one = conv((size,), (kernel,), (dilation,), ((pad, 0),))
        found = tiled(one, level)
        assert found is not None
        sizes = [m for m in range(2, 8) if 4 <= m + kernel - 1 <= level + 2]
        assert found.products == min(counted(size, kernel, dilation, m) for m in sizes)
        assert found.plain == size * kernel
        if kernel > 1:
            assert found.products == counted(size, kernel, dilation, found.outputs[0])


def test_axes_multiply_and_other_layers_have_no_tiles():
    pads = ((2, 2), (6, 6))
    both = tiled(conv((65, 33), (3, 3), (2, 6), pads), 6)
    one = tiled(conv((65,), (3,), (2,), pads[:1]), 6)
    two = tiled(conv((33,), (3,), (6,), pads[1:]), 6)
    assert both is not None
    assert one is not None
    assert two is not None
    assert both.products == one.products * two.products
    assert both.saves > 3
    assert tiled(conv((9,), (3,), (1,), ((1, 1),), stride=2), 4) is None
    assert tiled(conv((9,), (7,), (1,), ((3, 3),)), 4) is None


def test_taps_that_lie_in_the_padding_are_left_out():
    far = conv((20, 20), (3, 5), (24, 9), ((24, 24), (18, 18)))
    taps, alive = living(far)
    assert taps == (range(1, 2), range(5))
    assert alive.outputs == far.outputs
    reads = [
        {p for p in window.taps(o) if 0 <= p < n}
        for w, n in zip((far.windows, alive.windows), (20, 20), strict=True)
        for window, o in product(w, range(20))
    ]
    assert reads[: len(reads) // 2] == reads[len(reads) // 2 :]
