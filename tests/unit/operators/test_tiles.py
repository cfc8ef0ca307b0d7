"""How many products tiles take, counted one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import gcd

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.tiles import LEVELS, Rest, Tiling, living, tiled


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


def products_of(tile: int, taps: int, closed: bool) -> int:
    if closed:
        return tile + 1 if tile > 1 else 1
    return tile + taps - 1


def laid_out(outputs: int, apart: int, found: Tiling) -> int:
    """Products of the tiles along one axis, phase by phase: its ends first, then the others."""
    tile, taps, rest, closed = found.outputs[0], found.taps[0], found.rests[0], found.closed[0]
    phases = [len(range(phase, outputs, apart)) for phase in range(min(apart, outputs))]
    made = 0
    for length in phases:
        ends = rest.longest if length == max(phases) else rest.shorter
        left = max(length - ends * rest.outputs, 0)
        if ends:
            assert not rest.closed or (left == 0 and length <= rest.outputs)
            made += -(-(length - left) // rest.outputs) * products_of(
                rest.outputs, taps, rest.closed
            )
        assert not closed or left <= tile
        made += -(-left // tile) * products_of(tile, taps, closed)
    return made * found.parts


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
        assert found.products <= min(counted(*layer, m, r) for m, r in tries)
        assert found.plain == outputs * kernel
        if kernel > 1:
            apart = dilation // gcd(dilation, stride)
            assert found.products == laid_out(outputs, apart, found)
            if not found.rests[0].outputs and not found.closed[0]:
                assert found.products == counted(*layer, found.outputs[0], found.taps[0])


def test_phases_that_do_not_divide_end_with_other_tiles():
    # 11 and 10 outputs a phase: 4 + 4 + 3 and 4 + 3 + 3, each two products more than it has.
    found = tiled(conv((129, 129), (3, 3), (12, 12), ((12, 12), (12, 12))), 4)
    assert found is not None
    assert (found.outputs, found.rests) == ((4, 4), (Rest(3, 1, 2), Rest(3, 1, 2)))
    assert found.products == (129 + 2 * 36) ** 2
    # The weights of four pairs of kinds cost more than that saves of one small map, not of many.
    small = conv((65, 65), (3, 3), (1, 1), ((1, 1), (1, 1)))
    rests = [tiled(replace(small, batch=many), 4).rests[0].outputs for many in (1, 64)]
    assert rests == [0, 3]
    # Their gradients cost still more.
    large = conv((129, 129), (3, 3), (12, 12), ((12, 12), (12, 12)))
    kinds = [
        tiled(replace(large, batch=many), 4, by_weight=True).rests[0].outputs for many in (1, 8)
    ]
    assert kinds == [0, 3]


def test_phases_that_read_nothing_beyond_the_map_take_closed_tiles():
    found = tiled(conv((32, 32), (3, 3), (12, 12), ((12, 12), (12, 12))), 4)
    assert found is not None
    assert (found.outputs, found.closed) == ((3, 3), (True, True))
    assert found.rests == (Rest(2, 0, 1, closed=True),) * 2
    assert found.products == (8 * 4 + 4 * 3) ** 2
    longer = tiled(conv((65, 65), (3, 3), (18, 18), ((18, 18), (18, 18))), 4)
    assert longer is not None
    assert (longer.outputs, longer.closed) == ((4, 4), (False, False))
    assert longer.rests == (Rest(3, 0, 1, closed=True),) * 2
    assert longer.products == (11 * 6 + 7 * 4) ** 2
    for pads in ((12, 0), (0, 24)):
        causal = tiled(conv((32,), (3,), (12,), (pads,)), 4)
        assert causal is not None
        assert not causal.closed[0]
        assert not causal.rests[0].closed


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
