"""Networks at other sizes, against the same networks read there."""

from __future__ import annotations

import pytest

import atrous
from atrous.certification.resized import resized
from atrous.network.ops import AdaptivePool, Pad, Reshape, Resize


@pytest.mark.parametrize(
    "text", ["k3s2x8 maxk3s2 k3d2x8", "k(1,7)s(1,3)x8 avgk2s2valid tconvk4s2x4"]
)
@pytest.mark.parametrize("size", [17, 40, 65])
def test_a_network_without_sizes_of_its_own_is_the_one_that_is_read_there(text, size):
    network = atrous.read(f"stack:{text}", (1, 8, 64, 64))
    made = resized(network, ((1, 8, size, size + 3),))
    again = atrous.read(f"stack:{text}", (1, 8, size, size + 3))
    assert [(n.name, n.op, n.output.shape, n.moves) for n in made.nodes] == [
        (n.name, n.op, n.output.shape, n.moves) for n in again.nodes
    ]


@pytest.mark.parametrize(
    "op", [Pad(((0, 1), (1, 0))), Reshape((1, 8, 1024)), Resize((64, 64), "linear", "half_pixel")]
)
def test_an_operation_that_holds_a_size_stands_for_no_other(op):
    b = atrous.Builder()
    x = b.input("x", (1, 8, 32, 32))
    network = b.build(b.add(op, x, name="op"))
    assert resized(network, ((1, 8, 32, 33),)) is None


def test_a_reshape_of_what_has_no_positions_holds_none():
    b = atrous.Builder()
    x = b.input("x", (1, 8, 32, 32), axes=(None, None, "h", "w"))
    pooled = b.add(AdaptivePool((1, 1)), x, name="pool")
    mean = b.add(atrous.network.ops.Reduce((2, 3)), pooled, name="mean")
    network = b.build(b.add(Reshape((1, 4, 2)), mean, name="flat"))
    assert resized(network, ((1, 8, 50, 51),)).tensor(network.outputs[0]).shape == (1, 4, 2)


def test_a_map_that_vanishes_stands_for_nothing():
    network = atrous.read("stack:k7valid", (1, 8, 32, 32))
    assert resized(network, ((1, 8, 6, 32),)) is None
