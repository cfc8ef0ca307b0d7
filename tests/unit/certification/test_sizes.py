"""At which sizes two models are run."""

from __future__ import annotations

from itertools import pairwise

import pytest

import atrous
from atrous.certification.sizes import first_size, larger_sizes, other_sizes, rounded_sizes
from atrous.network.ops import Conv, Pool


def read(text: str, *sizes: int) -> atrous.Network:
    """A stack as a network."""
    return atrous.read(f"stack:{text}", (1, 8, *sizes))


def rests(network: atrous.Network) -> list[int]:
    """What each strided window leaves over of its map, along the first axis."""
    found = []
    for node in network.nodes:
        if isinstance(node.op, Conv | Pool) and node.op.windows[0].stride > 1:
            window, length = node.op.windows[0], network.tensor(node.inputs[0]).shape[2]
            room = length + window.pad_lo + window.pad_hi - window.extent
            found.append(room % window.stride)
    return found


# ConvNeXt's stages, ResNet's, and strides that are no powers of two.
STRIDED = ["k4s4valid k2s2valid k2s2valid k2s2valid", "k7s2 maxk3s2 k3s2 k3s2 k3s2", "k3s3 k5s2"]


@pytest.mark.parametrize("text", STRIDED)
@pytest.mark.parametrize("size", [128, 129, 133, 224])
def test_the_second_size_leaves_over_what_the_first_does_not_at_every_strided_layer(text, size):
    network = read(text, size, size)
    (made,) = next(other_sizes(((1, 8, size, size),), (network, network)))
    second = read(text, *made[2:])
    assert all(a != b for a, b in zip(rests(network), rests(second), strict=True))
    assert abs(made[2] - size) <= 64


def test_sizes_that_are_refused_are_followed_by_ones_that_divide_more_alike():
    network = read(STRIDED[1], 64, 96)
    tried = [made[0][2:] for made in other_sizes(((1, 8, 64, 96),), (network, network))]
    assert tried[0] == (65, 97)
    for divisor in (2, 4, 8, 16, 32):
        assert any(h % divisor == 0 and w % divisor == 0 for h, w in tried)
    assert (64, 96) not in tried
    assert len(tried) == len(set(tried)) <= 8


def test_a_dimension_that_may_not_vary_does_not():
    network = read("k3s2 k3s2", 50, 155)
    shapes = ((1, 8, 50, 155),)
    fixed = [[True, False, False, False]]
    assert list(other_sizes(shapes, (network, network), fixed)) == []
    assert list(larger_sizes(shapes, (network, network), fixed)) == []
    half = [[True, False, False, True]]
    for made in other_sizes(shapes, (network, network), half):
        assert made[0][2] == 50
        assert made[0][3] != 155


def test_a_large_input_is_run_at_a_smaller_size_where_every_window_reads_inside():
    text = "k7s2x64 maxk3s2 k3x64 k3s2x128 k3x128 k3s2x256 k3x256 k3s2x512 k3x512"
    big = atrous.read(f"stack:{text}", (1, 3, 1024, 1024))
    (made,) = first_size(((1, 3, 1024, 1024),), (big, big))
    small = atrous.read(f"stack:{text}", made)
    assert made[2] <= 512
    assert small.macs < big.macs / 3
    assert made[2] % 32 == 0
    for node in small.nodes:
        assert small.tensor(node.inputs[0]).shape[2] > node.op.windows[0].extent
    assert rests(small) == rests(big)


def test_a_rate_beyond_the_quick_size_keeps_the_size_that_it_needs():
    text = "k3s2x64 k3s2x128 k3s2x256 k3d24x256 k3d36x256"
    shapes = ((1, 3, 1024, 1024),)
    big = atrous.read(f"stack:{text}", shapes[0])
    (made,) = first_size(shapes, (big, big))
    assert 8 * 73 < made[2] < 8 * 73 + 16


def test_a_small_input_is_run_as_it_is():
    network = read("k3s2 k3", 33, 33)
    assert first_size(((1, 8, 33, 33),), (network, network)) == ((1, 8, 33, 33),)


def test_larger_sizes_leave_over_the_same():
    for text in STRIDED:
        network = read(text, 64, 64)
        found = [made[0][2] for made in larger_sizes(((1, 8, 64, 64),), (network, network))]
        assert len(found) == 2
        assert all(b > a for a, b in pairwise((64, *found)))
        for size in found:
            assert rests(read(text, size, size)) == rests(network)


def test_inputs_of_proportional_lengths_vary_together():
    b = atrous.Builder()
    x, y = b.input("x", (1, 3, 64, 64)), b.input("y", (1, 3, 32, 32))
    made = b.conv(x, 8, 3, stride=2, padding=1)
    network = b.build(made, b.conv(y, 8, 3, padding=1))
    found = list(other_sizes(((1, 3, 64, 64), (1, 3, 32, 32)), (network, network)))
    assert found
    for one, two in found:
        assert (one[2], one[3]) == (2 * two[2], 2 * two[3])


def test_what_is_refused_unread_is_rounded_up():
    assert list(rounded_sizes(((1, 3, 100, 150),))) == [
        ((1, 3, 104, 152),),
        ((1, 3, 112, 160),),
        ((1, 3, 128, 160),),
        ((1, 3, 128, 192),),
    ]
