"""How many products tiles take, counted one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.tiles import LEVELS, living, tiled


def conv(sizes, kernel, dilation, pads, stride=1) -> Convolution:
    windows = tuple(
        Window(k, stride, d, *p) for k, d, p in zip(kernel, dilation, pads, strict=True)
    )
    return Convolution(1, 1, 1, tuple(sizes), windows)


def counted(outputs: int, kernel: int, stride: int, dilation: int, tile: int, taps: int) -> int:
    """Takes outputs away tile by tile, and taps part by part: all that reach a tile's inputs."""
    if kernel == 1:
        return outputs
    apart = next(n for n in range(1, dilation + 1) if n * stride % dilation == 0)
    step = apart * stride
    left, tiles = set(range(outputs)), 0
    while left:
        left -= {min(left) + apart * m for m in range(tile)}
        tiles += 1
    rest, parts = {dilation * j for j in range(kernel)}, 0
    while rest:
        rest -= {min(rest) + step * t for t in range(taps)}
        parts += 1
    return tiles * parts * (tile + taps - 1)


def test_the_cheapest_tiles_are_found_and_counted_right():
    for size, kernel, stride, dilation, level in product(
        (1, 5, 17, 33), (1, 2, 3, 4, 7, 11), (1, 2, 3), (1, 2, 6, 40), LEVELS
    ):
        pad = (kernel - 1) * dilation
        one = conv((size,), (kernel,), (dilation,), ((pad, 0),), stride)
        found = tiled(one, level)
        assert found is not None
        outputs = len(range(0, size, stride))
        layer = (outputs, kernel, stride, dilation)
        tries = [(m, r) for m in range(2, 8) for r in range(2, 6) if 4 <= m + r - 1 <= level + 2]
        assert found.products == min(counted(*layer, m, r) for m, r in tries)
        assert found.plain == outputs * kernel
        if kernel > 1:
            assert found.products == counted(*layer, found.outputs[0], found.taps[0])


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
    assert (both.taps, both.parts) == ((3, 3), 1)
    assert tiled(conv((99,), (65,), (1,), ((3, 3),)), 4) is None
    assert tiled(replace(conv((9,), (3,), (1,), ((1, 1),)), transposed=True), 4) is None


def test_kernels_of_many_taps_and_strides_are_sums_of_parts():
    large = tiled(conv((80, 80), (7, 7), (1, 1), ((3, 3), (3, 3))), 6)
    assert large is not None
    assert (large.outputs, large.taps, large.parts, large.saves) == ((5, 5), (4, 4), 4, 49 / 10.24)
    strided = tiled(conv((80, 80), (3, 3), (1, 1), ((1, 1), (1, 1)), stride=2), 4)
    assert strided is not None
    assert (strided.outputs, strided.taps, strided.parts) == ((5, 5), (2, 2), 4)
    # A rate that the stride divides leaves the taps on one phase of the input.
    both = tiled(conv((80,), (3,), (2,), ((2, 2),), stride=2), 4)
    assert both is not None
    assert (both.outputs, both.taps, both.parts) == ((4,), (3,), 1)


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
