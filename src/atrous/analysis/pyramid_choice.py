"""Rates for a pyramid on a map: none degenerates, together they leave no hole, and reach far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import comb
from typing import Literal

from atrous.analysis.rates import Pyramid, same_pyramid
from atrous.errors import GeometryError
from atrous.shown import ShownWhole, how_many

__all__ = ["Holes", "PyramidRates", "choose_rates"]

Holes = Literal["box", "axes"]
"""Where no hole may be: anywhere in the box that is reached, or along each axis by itself."""

_MOST_SETS = 200_000


@dataclass(frozen=True, slots=True)
class PyramidRates(ShownWhole):
    """Rates that were chosen for the branches of a pyramid, with all that `rates` says of them.

    `limit` is the largest rate at which some position has all taps inside and every position more
    than one. `whole` says that together the branches leave no hole behind the trunk, in the box or
    along the `axes` as `holes` says; where no rates do that, these leave the smallest share.

    >>> import atrous
    >>> found = atrous.pyramid_rates(513, trunk=26)
    >>> found.rates, found.whole, found.limit
    ((5, 11, 16), True, 16)
    """

    pyramid: Pyramid
    holes: Holes
    whole: bool
    limit: int

    @property
    def rates(self) -> tuple[int, ...]:
        """The rates, in ascending order."""
        return tuple(max(branch.rate) for branch in self.pyramid.branches)

    @property
    def trunk(self) -> int:
        """How many positions of the map in a row its positions see themselves."""
        return self.pyramid.trunk

    @property
    def needed(self) -> int:
        """The trunk at which no hole bounds the rates any more, and the limit is reached.

        Along axes alone each rate may lie a trunk beyond the one before it.
        """
        steps = len(self.rates) if self.holes == "axes" or len(self.pyramid.map) == 1 else 1
        return -(-self.limit // steps)

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Along each axis, the share of what is reached that is read."""
        return tuple(Fraction(taps.count, taps.size) for taps in self.pyramid.along)

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema: the rates, and what they read."""
        return {
            "schema": "atrous.pyramid/1",
            "rates": list(self.rates),
            "trunk": self.trunk,
            "holes": self.holes,
            "whole": self.whole,
            "limit": self.limit,
            "needed_trunk": self.needed,
            "pyramid": self.pyramid.to_dict(),
        }


def choose_rates(
    size: Sequence[int],
    output_stride: Sequence[int],
    branches: int,
    kernel: int,
    trunk: int,
    holes: Holes,
) -> PyramidRates:
    """The rates of largest reach at which no branch degenerates and the union has no hole.

    A branch behind a trunk of extent M has none exactly where its rate is at most M. In the box no
    other branch helps the one of the largest rate, since it alone reaches the corners' lines: it is
    at most M. Along one axis each rate may lie up to M beyond the one before it (kernel 3; for
    others all sets are tried). Of the rates between the evenest are taken: the least sum of the
    squares of the steps from 0 to the largest. Raises `GeometryError` where the map is too small
    for so many rates.
    """

    def made(rates: Sequence[int]) -> Pyramid:
        rank = len(size)
        each = [(rate,) * rank for rate in rates]
        return same_pyramid(size, each, output_stride, (kernel,) * rank, trunk)

    limits = made([1]).limits
    assert limits is not None
    limit = min(limits.all_somewhere, limits.more_everywhere)
    if limit < branches:
        map_text = "x".join(map(str, made([1]).map))
        few = f"{how_many(limit, 'rate')}, up to {limit}," if limit else "no rate"
        raise GeometryError(
            f"a map of {map_text} has room for {few} of kernel {kernel} at which some position has "
            f"all taps inside and every position more than one, got branches={branches}; give "
            f"{f'at most {limit}' if limit else 'a larger map, or a smaller kernel'}."
        )
    alone = holes == "axes" or len(size) == 1
    if alone and kernel > 3:
        rates = _by_trial(limit, branches, kernel, trunk)
    else:
        largest = min(limit, branches * trunk if alone else trunk)
        rates = _spread_out(largest, branches) if largest >= branches else None
    if rates is not None:
        return PyramidRates(made(rates), holes, True, limit)
    # Larger rates leave more out: a branch more has its own taps and no others.
    return PyramidRates(made(range(1, branches + 1)), holes, False, limit)


def _spread_out(largest: int, branches: int) -> list[int]:
    """As many rates up to the largest, each step from 0 on of one length or one more.

    >>> _spread_out(16, 3), _spread_out(18, 3)
    ([5, 11, 16], [6, 12, 18])
    """
    return [(2 * i * largest + branches) // (2 * branches) for i in range(1, branches + 1)]


def _by_trial(limit: int, branches: int, kernel: int, trunk: int) -> list[int] | None:
    """The same along one axis for kernels whose taps lie between those of other branches."""
    count = comb(limit, branches)
    if count > _MOST_SETS:
        raise GeometryError(
            f"{count:,} sets of {branches} rates up to {limit} are more than the {_MOST_SETS:,} "
            "that are tried for kernels above 3 along one axis; give fewer branches, or a smaller "
            "map."
        )
    best: tuple[tuple[int, int, tuple[int, ...]], list[int]] | None = None
    for rates in combinations(range(1, limit + 1), branches):
        if any(step > trunk for step in _strides_of(_tap_places(rates, kernel))):
            continue
        key = -rates[-1], sum(step * step for step in _strides_of(rates)), rates
        if best is None or key < best[0]:
            best = key, list(rates)
    return None if best is None else best[1]


def _tap_places(rates: Sequence[int], kernel: int) -> list[int]:
    """The taps of all branches on one side of the centre."""
    return sorted({rate * tap for rate in rates for tap in range(1, kernel // 2 + 1)})


def _strides_of(places: Sequence[int]) -> Iterator[int]:
    return (after - before for before, after in pairwise((0, *places)))
