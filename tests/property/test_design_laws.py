"""Designs against every schedule of small spaces, one by one, by paths that are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import ceil, gcd, isqrt, prod

import numpy as np
import pytest

from atrous.errors import UnreachableError
from atrous.search import Space, search_space

Layer = tuple[int, int, int]  # kernel, stride, rate


@dataclass(frozen=True)
class Seen:
    price: int
    field: int
    percent: int


def every_chain(space: Space) -> Iterator[tuple[Layer, ...]]:
    low, high = space.depth
    strides = [1, *sorted(s for s in {*space.strides} if s > 1)]
    for depth in range(low, high + 1):
        for chain in product(product(space.kernels, strides, space.rates), repeat=depth):
            if prod(stride for _, stride, _ in chain) == space.output_stride:
                yield chain


def paths_of(chain: tuple[Layer, ...]) -> np.ndarray:
    """How many paths lead from one output to each position of its field."""
    counts, step = np.ones(1, dtype=object), 1
    for kernel, stride, rate in chain:
        comb = np.zeros((kernel - 1) * rate * step + 1, dtype=object)
        comb[:: rate * step] = 1
        counts = np.convolve(counts, comb)
        step *= stride
    return counts


def on_subgrids(chain: tuple[Layer, ...]) -> bool:
    """Whether neighbouring outputs read some layer's input on grids that never meet."""
    for first in range(len(chain)):
        tail = chain[first:]
        read = np.flatnonzero(paths_of(tail) > 0)
        common = reduce(gcd, np.diff(read).tolist(), 0)
        if common > 1 and prod(stride for _, stride, _ in tail) % common:
            return True
    return False


def priced(space: Space, chain: tuple[Layer, ...]) -> dict[str, int]:
    """The prices of a chain, layer by layer."""
    strides = [stride > 1 for _, stride, _ in chain]
    if space.by_layer:
        widths = list(space.widths)
    else:  # a strided layer makes the channels of the stage behind it
        stages = (sum(strides[: place + 1]) for place in range(len(chain)))
        widths = [space.widths[min(stage, len(space.widths) - 1)] for stage in stages]
    step, width = 1, space.channels_in
    found = {"macs": 0, "params": 0, "memory": 0, "state": 0}
    image = 4 * space.channels_in * prod(space.sizes)
    for place, (kernel, stride, rate) in enumerate(chain):
        made = widths[place]
        taps = kernel ** len(space.sizes)
        separable = space.layer == "separable"
        weights = taps * width + width * made if separable else taps * width * made
        before = prod(ceil(size / step) for size in space.sizes)
        step *= stride
        after = prod(ceil(size / step) for size in space.sizes)
        found["macs"] += after * weights
        found["params"] += weights
        found["state"] += 4 * width * rate * (kernel - 1)
        if separable:  # what the first of two makes, and then both
            first = before * width + after * width + (image // 4 if place else 0)
            held = 4 * max(first, after * width + after * made + image // 4)
        else:
            held = 4 * (before * width + after * made) + (image if place else 0)
        found["memory"] = max(found["memory"], held)
        width = made
    return found


def seen(space: Space, chain: tuple[Layer, ...]) -> Seen | None:
    """What counts of a chain; None for one that the space does not allow."""
    paths = paths_of(chain)
    if not space.least <= len(paths) <= space.most:
        return None
    if not space.holes and not all(paths > 0):
        return None
    if not space.subgrids and on_subgrids(chain):
        return None
    prices = priced(space, chain)
    if any(prices[kind] > bound for kind, bound in space.limits.items()):
        return None
    percent = 0
    if not space.holes:
        places = range(len(paths))
        whole = sum(paths)
        mean = sum(p * c for p, c in zip(places, paths, strict=True))
        spread = sum(c * (p * whole - mean) ** 2 for p, c in zip(places, paths, strict=True))
        even = max(len(paths) ** 2 - 1, 1) * whole**3
        percent = isqrt(10_000 * 12 * spread // even)
    return Seen(prices[space.minimise], min(len(paths), space.enough), percent)


def front_of(every: set[Seen]) -> set[Seen]:
    return {
        one
        for one in every
        if not any(
            other != one
            and other.price <= one.price
            and other.field >= one.field
            and other.percent >= one.percent
            for other in every
        )
    }


def assert_front_is_that_of_all(space: Space) -> int:
    every = {found for chain in every_chain(space) if (found := seen(space, chain)) is not None}
    wanted = front_of(every)
    if not wanted:
        with pytest.raises(UnreachableError):
            search_space(space)
        return 0
    designs = search_space(space)
    found = {
        Seen(d.price, min(d.field, space.enough), round(100 * (d.evenness or 0))) for d in designs
    }
    assert found == wanted, (space, found ^ wanted)
    for design in designs:
        chain = tuple((one.kernel, one.stride, one.rate) for one in design.layers)
        assert seen(space, chain) is not None, (space, design.stack)
        assert design.report.outputs[0].field[0].size == len(paths_of(chain))
        prices = priced(space, chain)
        assert (design.macs, design.params) == (prices["macs"], prices["params"])
        assert design.memory_bytes == prices["memory"]
    return len(wanted)


RANGES = {"macs": (50, 200_000), "params": (10, 400), "memory": (200, 60_000), "state": (8, 900)}


def limits_of(rng: np.random.Generator) -> dict[str, int]:
    """None in half of the cases; else up to three, of which some keep everything out."""
    if rng.integers(2):
        return {}
    names = rng.choice([*RANGES], int(rng.integers(1, 4)), replace=False).tolist()
    return {name: int(np.exp(rng.uniform(*np.log(RANGES[name])))) for name in names}


def drawn(rng: np.random.Generator) -> Space:
    """A space of at most some thousand schedules."""
    while True:
        depth = int(rng.integers(1, 5))
        kernels = tuple(
            sorted(rng.choice([2, 3, 5], int(rng.integers(1, 4)), replace=False).tolist())
        )
        rates = tuple(range(1, int(rng.integers(1, 13)) + 1))
        output_stride = int(rng.choice([1, 1, 2, 3, 4, 6]))
        strides = tuple(rng.choice([1, 2, 3, 4], 3, replace=False).tolist())
        by_layer, by_stage = (rng.integers(4) == np.array([0, 1])).tolist()
        low = depth if by_layer else int(rng.integers(1, depth + 1))
        least = int(rng.integers(2, 24))
        most = least + int(rng.integers(0, 30))
        enough = int(rng.choice([least, most, (least + most) // 2]))
        rank = int(rng.integers(1, 3))
        sizes = tuple(rng.integers(8, 30, rank).tolist())
        count = depth if by_layer else int(rng.integers(2, 4)) if by_stage else 1
        widths = tuple(rng.integers(1, 6, count).tolist())
        minimise = str(rng.choice(["macs", "params", "memory", "state"]))
        try:
            space = Space(
                *(least, most, enough, sizes, int(rng.integers(1, 4)), widths, output_stride),
                *(strides, kernels, rates, (low, depth), minimise),
                limits_of(rng),
                holes=bool(rng.integers(6) == 0),
                subgrids=bool(rng.integers(3) == 0),
                layer="separable" if rng.integers(3) == 0 else "conv",
            )
        except ValueError:
            continue
        if space.count <= 3_000:
            return space


@pytest.mark.parametrize("seed", range(40))
def test_no_schedule_of_a_small_space_beats_what_is_returned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        assert_front_is_that_of_all(drawn(rng))


def test_with_holes_a_step_larger_than_the_field_is_no_advantage() -> None:
    space = Space(
        *(5, 13, 13, (29,), 2, (4,), 3, (3, 1, 2), (2, 3, 5), tuple(range(1, 12)), (1, 2), "state"),
        holes=True,
    )
    assert assert_front_is_that_of_all(space) == 8
