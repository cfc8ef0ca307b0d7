"""Layers that mix all positions: in which sweep each is gathered, and that no position is twice."""

import numpy as np
import pytest

from atrous.network import Builder
from atrous.network.ops import AdaptivePool, Mix, Reduce
from atrous.plan import cut_into_tiles
from atrous.plan.sweeps import sweeps_of
from atrous.refusal import Refusal

NORM = Mix((1, 2, 3), "group_norm")


def network(shapes, size=(50, 67)):
    """Two norms in a row and one beside them, a mean of both, and a layer that nothing reads."""
    b = Builder()
    x = b.input("x", (1, 2, *(shapes or size)))

    def norm(name, on):
        return b.add(NORM, on, name=name, origin=name)

    first = norm("first", b.conv(x, 4, 3, padding=1))
    second = norm("second", b.conv(first, 4, 3, stride=2, padding=1))
    beside = norm("beside", b.conv(x, 4, 3, stride=2, padding=1))
    both = b.concat(second, beside)
    norm("unread", both)
    pooled = b.add(AdaptivePool((1, 1)), both, name="pool", origin="pool")
    rows = b.add(Reduce((3,), True, "amax"), both, name="rows", origin="rows")
    return b.build(b.concat(b.join(both, pooled), b.join(both, rows)))


def test_what_depends_on_another_has_a_later_sweep_and_independent_ones_share_one():
    found = sweeps_of(network(None), {"h", "w"})
    assert found == {"first": 1, "beside": 1, "second": 2, "pool": 3, "rows": 3}
    assert sweeps_of(network(None), set()) == {}


def test_along_an_axis_that_is_not_cut_a_reduction_is_local():
    assert "rows" not in sweeps_of(network(None), {"h"})


@pytest.mark.parametrize("tile", [(8, 8), (13, 30), (50, 9), (7, 67)])
def test_each_position_of_what_is_gathered_belongs_to_one_tile(tile):
    whole = network(None)
    plan = cut_into_tiles(
        whole,
        dict(zip("hw", tile, strict=True)),
        lambda shapes: network(shapes[0][2:]),
        lambda _: 0,
        statistics="exact",
    )
    assert plan.sweeps == 4
    for one in plan.gathered:
        grid = whole.tensor(one.tensor).grid
        counted = np.zeros([grid[axis.axis] for axis in plan.axes], int)
        for tile_ in plan.tiles():
            places = zip(plan.axes, tile_.index, strict=True)
            parts = [axis.cell(place).keep[one.tensor] for axis, place in places]
            counted[tuple(slice(part.start, part.stop) for part in parts)] += 1
        assert (counted == 1).all()


def test_work_is_that_of_all_sweeps_each_to_what_it_gathers():
    asked = {"exact": None, "tile": None}
    for kind in asked:
        asked[kind] = cut_into_tiles(
            network(None),
            {"h": 16, "w": 16},
            lambda shapes: network(shapes[0][2:]),
            lambda _: 0,
            statistics=kind,
        )
    assert 2 < asked["exact"].work < 4
    assert asked["tile"].work == 1
    assert (asked["tile"].sweeps, asked["tile"].exact) == (1, False)
    assert asked["tile"].statistics == asked["exact"].statistics


def test_a_refusal_names_the_way_to_gather():
    found = cut_into_tiles(network(None), {"h": 16}, network, lambda _: 0)
    assert isinstance(found, Refusal)
    assert "give statistics='exact'" in found.reason
