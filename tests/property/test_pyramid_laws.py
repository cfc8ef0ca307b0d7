"""`pyramid_rates` against all sets of rates that there are, by enumerated positions."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atrous
from atrous import GeometryError
from tests.oracles import drawing


def degenerates(rate: int, kernel: int, sizes: tuple[int, ...]) -> bool:
    """Whether no position has all taps inside the map, or some has one alone."""
    half = kernel // 2
    counts = []
    for place in product(*map(range, sizes)):
        along = [
            sum(0 <= at + rate * tap < n for tap in range(-half, half + 1))
            for at, n in zip(place, sizes, strict=True)
        ]
        count = 1
        for taps in along:
            count *= taps
        counts.append(count)
    return max(counts) < kernel ** len(sizes) or min(counts) == 1


def one_axis(rate: int, kernel: int, trunk: int) -> set[int]:
    half = kernel // 2
    return {rate * tap + more for tap in range(-half, half + 1) for more in range(trunk)}


def unread(rates: tuple[int, ...], kernel: int, trunk: int, rank: int, holes: str) -> float:
    """The share of the box, or of the axes through its centre, that no branch reads."""
    sets = [one_axis(rate, kernel, trunk) for rate in rates]
    if holes == "axes":
        rank = 1
    read = set().union(*(set(product(one, repeat=rank)) for one in sets))
    low, high = min(map(min, sets)), max(map(max, sets))
    return 1 - len(read) / (high - low + 1) ** rank


@drawing(150)
@given(
    st.integers(3, 15),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([3, 3, 5]),
    st.integers(1, 6),
    st.sampled_from(["box", "axes"]),
    st.integers(1, 2),
)
def test_no_other_rates_reach_farther_without_losing_taps_or_leaving_holes(
    side: int, more: int, branches: int, kernel: int, trunk: int, holes: str, rank: int
) -> None:
    sizes = (side, side + more)[:rank]
    able = [r for r in range(1, max(sizes) + 1) if not degenerates(r, kernel, sizes)]
    sets = list(combinations(able, branches))
    if not sets:
        with pytest.raises(GeometryError, match="has room for"):
            atrous.pyramid_rates(sizes, branches, output_stride=(1,) * rank, kernel=kernel)
        return
    found = atrous.pyramid_rates(
        sizes, branches, output_stride=(1,) * rank, kernel=kernel, trunk=trunk,
        holes=holes,  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.rates in sets
    left = {rates: unread(rates, kernel, trunk, rank, holes) for rates in sets}
    whole = [rates for rates, share in left.items() if share == 0]
    assert found.whole is bool(whole)
    if whole:
        farthest = max(rates[-1] for rates in whole)
        assert (found.rates[-1], left[found.rates]) == (farthest, 0)

        def unevenness(rates: tuple[int, ...]) -> int:
            return sum((b - a) ** 2 for a, b in pairwise((0, *rates)))

        alike = [rates for rates in whole if rates[-1] == farthest]
        assert unevenness(found.rates) == min(map(unevenness, alike))
    else:
        assert left[found.rates] == min(left.values())
    if holes == "box" or rank == 1:
        assert 1 - float(found.pyramid.coverage) == pytest.approx(left[found.rates])
    assert all((share == 1) is (unread(found.rates, kernel, trunk, 1, "axes") == 0)
               for share in found.shares)  # fmt: skip


@drawing(60)
@given(st.integers(5, 20), st.integers(1, 3), st.integers(1, 5), st.sampled_from(["box", "axes"]))
def test_the_needed_trunk_is_the_smallest_at_which_the_limit_is_reached(
    side: int, branches: int, trunk: int, holes: str
) -> None:
    given = {"output_stride": 1, "holes": holes}
    if (side - 1) // 2 < branches:
        return
    needed = atrous.pyramid_rates(side, branches, trunk=trunk, **given).needed  # type: ignore[arg-type]
    at = [
        atrous.pyramid_rates(side, branches, trunk=m, **given)  # type: ignore[arg-type]
        for m in range(1, needed + 1)
    ]
    assert at[-1].rates[-1] == at[-1].limit
    assert all(found.rates[-1] < found.limit or not found.whole for found in at[:-1])


def test_the_oracle_of_this_file_tells_lost_taps_and_holes() -> None:
    assert degenerates(3, 3, (6, 6))
    assert not degenerates(2, 3, (6, 6))
    assert unread((6, 12, 18), 3, 6, 2, "box") > 0
    assert unread((6, 12, 18), 3, 6, 2, "axes") == 0
    assert unread((6, 12, 18), 3, 18, 2, "box") == 0
    assert unread((6, 12, 18), 3, 5, 2, "axes") > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernel": 4}, "odd kernel"),
        ({"kernel": 1}, "odd kernel"),
        ({"branches": 0}, "branches=0"),
        ({"trunk": 0}, "trunk=0"),
        ({"trunk": 2.5}, "trunk=2.5"),
        ({"holes": "none"}, "use 'box' or 'axes'"),
        ({"size": 40}, "a map of 3x3 has room for 1 rate"),
        ({"size": (16000,), "output_stride": (1,), "kernel": 5, "trunk": 9}, "more than the"),
    ],
)
def test_what_makes_no_pyramid_is_refused_with_the_rule(
    given: dict[str, object], message: str
) -> None:
    arguments = {"size": 513, **given}
    with pytest.raises(GeometryError, match=message):
        atrous.pyramid_rates(**arguments)  # type: ignore[arg-type]
