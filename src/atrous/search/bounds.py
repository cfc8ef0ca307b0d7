"""What is still to come of a chain whose layers are put on one by one, at the least.

Tables over the number of layers left, the layers that are there, and the positions that are read
beyond the first; of these the last entry stands for all fields that are large enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["NEVER", "Keys", "Put", "least_missing", "least_to_pay"]

Ints = np.ndarray[Any, np.dtype[np.int64]]

NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Put:
    """A layer that can be put on: what it adds."""

    group: int
    kernel: int
    rate: int
    step: int
    prices: tuple[int, ...]
    sign: int
    """By how much the key grows; 0 where there may be any number."""
    most: int
    ends: bool

    @property
    def reach(self) -> int:
        return self.step * (self.kernel - 1)


@dataclass(frozen=True, slots=True)
class Keys:
    """Which layers are there, as a number: a digit for each group of which there are so many.

    With `ends` the highest digit says whether one that can be the last is there.
    """

    count: int
    full: int
    ends: bool

    def before_and_after(self, before: Ints, after: Ints, put: Put) -> tuple[Ints, Ints]:
        """Views of two tables over keys: where a layer can be put on, and where that leads."""
        low, digit = (put.sign, put.most + 1) if put.sign else (1, 1)
        ends = 2 if self.ends else 1
        shape = (ends, self.count // (ends * digit * low), digit, low, -1)
        before, after = before.reshape(shape), after.reshape(shape)
        if put.sign:
            before, after = before[:, :, :-1], after[:, :, 1:]
        return before, after[1:] if put.ends and self.ends else after


def least_to_pay(
    puts: Iterable[Put],
    keys: Keys,
    column: int,
    depth: tuple[int, int],
    enough: int,
    *,
    holes: bool,
) -> Ints:
    """The least of a price that is still to be paid, exactly, without regard to evenness."""
    found = _tables(keys, depth, enough)
    reach = np.arange(enough)
    alike: dict[tuple[int, int, int, bool], list[Put]] = {}
    for put in puts:
        alike.setdefault((put.sign, put.kernel, put.prices[column], put.ends), []).append(put)
    # More that is read never makes what is left dearer: of rates at one price, the largest that
    # may be put on is the best.
    ways = []
    for same in alike.values():
        steps = np.array([put.step for put in same])
        place = np.full(enough, len(same))
        if not holes:
            # The last entry stands for all fields from there on.
            place[:-1] = np.searchsorted(steps, reach[:-1] + 1, "right")
        first = int(np.argmax(place > 0)) if place.any() else enough
        wide = steps[place[first:] - 1] * (same[0].kernel - 1)
        ways.append((same[0], first, np.minimum(reach[first:] + wide, enough - 1)))
    for left in range(1, depth[1] + 1):
        for put, first, reached in ways:
            before, after = keys.before_and_after(found[left], found[left - 1], put)
            held = before[..., first:]
            np.minimum(held, after[..., reached] + put.prices[column], out=held)
    return found


def least_missing(
    puts: Iterable[Put], keys: Keys, depth: tuple[int, int], enough: int, *, holes: bool
) -> Ints:
    """The least that will be missing yet of an even spread, exactly, without regard to prices."""
    found = _tables(keys, depth, enough)
    if holes:
        return np.where(found < NEVER, found, 0)
    ways = []
    seen: set[tuple[int, int, int, bool]] = set()
    for put in puts:
        key = (put.sign, put.kernel, put.step, put.ends)
        if key in seen:
            continue
        seen.add(key)
        first = min(put.step, enough) - 1
        # What leads to a field that is large enough, and what does not yet.
        large = max(enough - put.reach, first)
        adds = 2 * put.reach * np.maximum(np.arange(first, enough) + 1 - put.step, 0)
        ways.append((put, first, large, adds[: large - first], adds[large - first :]))
    for left in range(1, depth[1] + 1):
        for put, first, large, some, rest in ways:
            before, after = keys.before_and_after(found[left], found[left - 1], put)
            if large > first:
                held = before[..., first:large]
                np.minimum(held, after[..., first + put.reach : large + put.reach] + some, out=held)
            held = before[..., large:]
            np.minimum(held, after[..., -1:] + rest, out=held)
    return found


def _tables(keys: Keys, depth: tuple[int, int], enough: int) -> Ints:
    """Nothing is to come where all is there; what else there is nobody knows yet."""
    low, high = depth
    found = np.full((high + 1, keys.count, enough), NEVER, dtype=np.int64)
    found[: high - low + 1, keys.full, enough - 1] = 0
    return found
