"""The fewest changes of rates after which a network reads without holes and sub-grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from atrous.conversion.rate_graph import GridLook, RateGraph, Rates
from atrous.progress import step
from atrous.shown import how_many

__all__ = ["Fewest", "fewest_changes"]

MOST_TRIED = 40_000
"""Sets of rates that are tried one by one, less where each takes many steps."""
_MOST_STEPS = 3_000_000
_LEAST_TRIED = 300
_BEAM = 6
_LONG = 48
"""Rates: of more, the heuristic takes small ones, those there are, and those near the layer's."""


@dataclass(frozen=True, slots=True)
class Fewest:
    """Rates that do it with few changes, and what is known of fewer.

    `kept` says that no field is smaller than before. `least` is a lower bound on the changes that
    are needed: all sets of rates with fewer were tried. `exact` says that nothing better is among
    the sets of rates up to `largest`: none with fewer changes where the field is kept, and none
    with a larger field where it is not. `tried` counts the sets that were looked at, those ruled
    out by their field alone included.
    """

    rates: Rates
    look: GridLook
    changes: int
    kept: bool
    exact: bool
    least: int
    tried: int
    largest: int


def fewest_changes(graph: RateGraph, largest: int, most: int = MOST_TRIED) -> Fewest:
    """The set of rates up to `largest` with the fewest changes that leaves no hole and no sub-grid.

    Fields are kept or grow. Of several sets with as few changes: the one that changes the fewest
    layers of rate 1, then whose fields grow least, with the fewest layers on sub-grids, and the
    smallest changes. Where no set keeps the fields, the one whose fields are nearest. Where none is
    whole at all, the one with the fewest unread positions, whose `look` says so. Up to `most` sets
    are tried one by one; beyond, steps of single changes are followed, the best few at a time.
    """
    return _Search(graph, largest, most).run()


class _Search:
    def __init__(self, graph: RateGraph, largest: int, most: int) -> None:
        self.graph, self.largest = graph, largest
        self.now, self.target = graph.now, graph.target
        self.most = max(min(most, _MOST_STEPS // max(graph.steps, 1)), min(most, _LEAST_TRIED))
        self.tried = 0
        self.options = [
            [r for r in range(1, largest + 1) if r != now and graph.allowed(i, r)]
            for i, now in enumerate(self.now)
        ]

    def run(self) -> Fewest:
        sizes = [len(options) for options in self.options]
        for changes in range(len(sizes) + 1):
            count = _sets_of(sizes, changes)
            if self.tried + count > self.most:
                return self._followed(changes)
            if changes:
                step(f"trying {how_many(count, 'set')} of {how_many(changes, 'changed rate')}")
            found = self._of(changes)
            if found is not None:
                return self._result(found, exact=True, least=changes)
        return self._nearest()

    def _of(self, changes: int) -> Rates | None:
        """The best set with so many changes that is whole and keeps the fields."""
        best: tuple[tuple[object, ...], Rates] | None = None
        for places in combinations(range(len(self.now)), changes):
            options = [self.options[place] for place in places]
            self.tried += prod(map(len, options))
            if not all(options) or not self._keeps(self._with(places, [o[-1] for o in options])):
                continue
            for values in self._reaching(places, options):
                rates = self._with(places, values)
                if self.graph.whole(rates):
                    key = self._key(rates, self.graph.look(rates))
                    if best is None or key < best[0]:
                        best = key, rates
        return None if best is None else best[1]

    def _reaching(
        self, places: Sequence[int], options: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, ...]]:
        """The values that keep the fields: these grow with every rate."""
        if not places:
            yield ()
            return
        *before, last = options
        for values in product(*before):
            for value in reversed(last):
                if not self._keeps(self._with(places, (*values, value))):
                    break
                yield (*values, value)

    def _with(self, places: Sequence[int], values: Sequence[int]) -> Rates:
        rates = list(self.now)
        for place, value in zip(places, values, strict=True):
            rates[place] = value
        return tuple(rates)

    def _keeps(self, rates: Rates) -> bool:
        return self._short(self.graph.reach(rates)) == 0

    def _short(self, sizes: Sequence[int]) -> int:
        """How many positions the fields are smaller than before."""
        return sum(max(t - n, 0) for n, t in zip(sizes, self.target, strict=True))

    def _key(self, rates: Rates, look: GridLook) -> tuple[object, ...]:
        pairs = [(a, b) for a, b in zip(self.now, rates, strict=True) if a != b]
        return (
            sum(a == 1 for a, _ in pairs),
            sum(look.sizes),
            look.layers,
            sum(abs(a - b) for a, b in pairs),
            rates,
        )

    def _nearest(self) -> Fewest:
        """Of all sets, one of the nearest field among those that are whole, or the wholest."""
        best: tuple[tuple[object, ...], Rates] | None = None
        self.tried = 0
        for rates in product(
            *([now, *options] for now, options in zip(self.now, self.options, strict=True))
        ):
            self.tried += 1
            key = self._rank(rates)
            if best is None or key < best[0]:
                best = key, rates
        assert best is not None
        return self._result(best[1], exact=True, least=_changed(self.now, best[1]))

    def _rank(self, rates: Rates) -> tuple[object, ...]:
        look = self.graph.look(rates)
        changes = _changed(self.now, rates)
        short = self._short(look.sizes)
        return look.unread, look.apart, short, changes, self._key(rates, look)

    def _followed(self, least: int) -> Fewest:
        """The best that a beam of single changes finds, with every needless change taken back."""
        step("following single changes of rates")
        best = self._rank(self.now), self.now
        for weight in (1.0, 0.0):
            # First with the field kept, then whatever becomes of it.
            best = min(best, self._beam(weight))
            if best[0][:3] == (0, 0, 0):
                break
        rank, rates = best
        for place in range(len(rates)):
            back = (*rates[:place], self.now[place], *rates[place + 1 :])
            if back != rates and self._rank(back)[:3] <= rank[:3]:
                rates = back
        changes = _changed(self.now, rates)
        kept = self._rank(rates)[:3] == (0, 0, 0)
        return self._result(rates, exact=kept and changes == least, least=min(least, changes))

    def _beam(self, weight: float) -> tuple[tuple[object, ...], Rates]:
        """The best on the way of changes one by one, of which the nearest to whole go on.

        `weight` says how much a position that a field loses counts beside one that it leaves out.
        """
        options = self.options
        if max(map(len, options)) > _LONG or 4 * sum(map(len, options)) > self.most:
            small = 12 if 48 * len(options) < self.most else 2
            each = zip(self.now, options, strict=True)
            options = [_near(now, found, self.now, small) for now, found in each]
        beam, met = [self.now], {self.now}
        best = self._rank(self.now), self.now
        left = most = self.most // 2
        for _ in self.now:
            found: list[tuple[float, tuple[object, ...], Rates]] = []
            for rates in beam:
                for place, values in enumerate(options):
                    if rates[place] != self.now[place]:
                        continue
                    for value in values:
                        tried = (*rates[:place], value, *rates[place + 1 :])
                        if tried in met or not left:
                            continue
                        met.add(tried)
                        left -= 1
                        rank = self._rank(tried)
                        found.append((self._distance(rank, weight), rank, tried))
            if not found:
                break
            found.sort(key=lambda one: one[:2])
            beam = [rates for _, _, rates in found[:_BEAM]]
            best = min([best, *((rank, rates) for _, rank, rates in found)])
            if best[0][:3] == (0, 0, 0):
                break
        self.tried += most - left
        return best

    def _distance(self, rank: tuple[object, ...], weight: float) -> float:
        """How far from whole, holes, grids and lost field in proportion."""
        unread, apart, short = (float(part) for part in rank[:3])  # type: ignore[arg-type]
        whole = sum(self.target)
        return (unread + weight * short) / whole + apart / max(len(self.now), 1)

    def _result(self, rates: Rates, *, exact: bool, least: int) -> Fewest:
        look = self.graph.look(rates)
        changes = _changed(self.now, rates)
        kept = self._short(look.sizes) == 0
        return Fewest(rates, look, changes, kept, exact, least, self.tried, self.largest)


def _changed(now: Rates, rates: Rates) -> int:
    return sum(a != b for a, b in zip(now, rates, strict=True))


def _sets_of(sizes: Sequence[int], chosen: int) -> int:
    """How many ways there are to take one each of `chosen` of these sets.

    >>> _sets_of([2, 3, 4], 2)
    26
    """
    ways = [1] + [0] * chosen
    for size in sizes:
        for taken in range(chosen, 0, -1):
            ways[taken] += ways[taken - 1] * size
    return ways[chosen]


def _near(now: int, options: Sequence[int], others: Rates, small: int) -> list[int]:
    """The rates that the heuristic tries in the place of one: of many, `small` ones and near ones.

    >>> _near(16, range(1, 100), (1, 4, 16), 2)
    [1, 2, 4, 8, 14, 15, 16, 17, 18, 31, 32]
    """
    near = {*others, *range(1, small + 1), *range(now - 2, now + 3), now // 2, 2 * now, 2 * now - 1}
    return [rate for rate in options if rate in near]
