"""The search: layers are put on what is read already, one after the other, by ascending step.

A layer of kernel `k` and rate `d` at step `P` of the input adds positions `j d P`, `0 <= j < k`,
to those that are read. A field of `R` positions without a hole stays without one exactly where
`d P <= R`: then it grows to `R + d P (k - 1)`, and else position `R` is in no sum of steps that are
larger. So the order of the layers does not matter, every chain without holes is met when its layers
are put on by ascending `d P`, and of two that read the same field only prices and evenness count.

How evenly paths fall is told by their variance, which is a sum over layers: that of a layer is
`(d P)^2 (k^2 - 1) / 12`, that of equally many paths to each of `R` positions `(R^2 - 1) / 12`. What
is missing only grows: a layer adds `2 d P (k - 1) (R - d P)` to it.

States are the layers that are there (those that must be, by count), their number and the field; of
two states alike in these and in the field, one that costs no less and misses no less is dropped.
Bounds on what is still to be paid, exact for one price at a time without regard to evenness, and
the chains found so far drop most others. A limit on the first price grows until nothing was dropped
for it; what a pass adds costs more than the limit before it, so that what is no more even than what
was known at that is dropped, whatever it costs. So what is found is what no chain of the space
beats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import numpy as np

from atrous.errors import ArgumentError
from atrous.search.bounds import NEVER, Keys, Put, least_missing, least_to_pay
from atrous.search.skeletons import Group, Skeleton

__all__ = ["Found", "Rung", "Unbeaten", "evenness_percent"]

Ints = np.ndarray[Any, np.dtype[np.int64]]

_MOST_STATES = 1_500_000
_COMPARED = 64
_GROWTH = 1.3

# The columns of a state: which layers are there, how many, positions beyond the first, what is
# missing of an even spread, and where it came from; prices follow.
_KEY, _DEPTH, _REACH, _MISSING, _ORIGIN, _PRICES = range(6)


@dataclass(frozen=True, slots=True)
class Rung:
    """One layer that was put on: of which group, with which kernel and rate."""

    group: int
    kernel: int
    rate: int


@dataclass(frozen=True, slots=True)
class Found:
    """A chain that was met: its prices, its field, its evenness, and how it came about."""

    prices: tuple[int, ...]
    field: int
    percent: int
    skeleton: int
    steps: tuple[Rung, ...]


def evenness_percent(fields: Ints, missing: Ints) -> Ints:
    """How wide paths spread beside equally many to each position, in whole percent, rounded down.

    >>> evenness_percent(np.array([9, 7]), np.array([0, 12])).tolist()
    [100, 86]
    """
    whole = np.maximum(fields * fields - 1, 1)
    left = np.maximum(whole - missing, 0)
    guess: Ints = np.floor(100 * np.sqrt(left / whole)).astype(np.int64)
    guess += (guess + 1) ** 2 * whole <= 10_000 * left
    guess -= guess**2 * whole > 10_000 * left
    return guess


class Unbeaten:
    """What no chain met so far beats, over skeletons; `beaten` drops what cannot be better."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.found: list[Found] = []

    def add(self, chains: Sequence[Found]) -> None:
        """Takes chains in; what one of them beats goes."""
        # By what counts first: a price that is only limited makes no chain better.
        every = sorted(
            (*self.found, *chains),
            key=lambda c: (
                *(c.prices[0], -min(c.field, self.enough), -c.percent),
                *(c.prices, -c.field),
            ),
        )
        kept: list[Found] = []
        for chain in every:
            if not any(self._at_least(one, chain) for one in kept):
                kept.append(chain)
        self.found = kept

    def _at_least(self, one: Found, other: Found) -> bool:
        """Whether one chain is as good as another in everything that counts."""
        return (
            one.prices[0] <= other.prices[0]
            and min(one.field, self.enough) >= min(other.field, self.enough)
            and one.percent >= other.percent
        )

    def beaten(self, price: Ints, fields: Ints, percent: Ints) -> np.ndarray[Any, Any]:
        """Which chains some chain that was met is as good as."""
        out = np.zeros(len(price), dtype=bool)
        for one in self.found:
            out |= (
                (one.prices[0] <= price)
                & (min(one.field, self.enough) >= np.minimum(fields, self.enough))
                & (one.percent >= percent)
            )
        return out

    def most_missing(self, price: Ints, most: int, *, holes: bool) -> Ints:
        """The most that may be missing of an even spread of at most `most` positions, by price.

        With more, some chain that was met is as good, whatever the field.
        """
        whole = max(most * most - 1, 1)
        prices, allowed = [], [NEVER]
        for one in sorted(self.found, key=lambda one: one.prices[0]):
            if one.field < min(self.enough, most):
                continue
            # In whole percent it must be better: more than `percent + 1` squared is left.
            bound = -1 if holes else (10_000 - (one.percent + 1) ** 2) * whole // 10_000
            prices.append(one.prices[0])
            allowed.append(min(bound, allowed[-1]))
        return np.array(allowed)[np.searchsorted(np.array(prices), price, "right")]


class Ladder:
    """The chains of one skeleton.

    `prices` are those of a layer of a group, the first being made least, each of the others at
    most its `limits`. `field` is the least and the most that is to be read.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        number: int,
        kernels: Sequence[int],
        field: tuple[int, int],
        depth: tuple[int, int],
        prices: Callable[[Group, int, int], tuple[int, ...] | None],
        limits: Sequence[int],
        *,
        holes: bool,
    ) -> None:
        self.skeleton, self.number, self.holes = skeleton, number, holes
        self.least, self.most = field
        self.depth = depth
        self.limits = limits
        self.puts: dict[int, list[Put]] = {}
        count, full = 1, 0
        for index, group in enumerate(skeleton.groups):
            sign = 0
            if group.count is not None:
                sign, full = count, full + group.count * count
                count *= group.count + 1
            for kernel in kernels:
                for rate in group.rates:
                    paid = prices(group, kernel, rate)
                    step = rate * group.layer.step
                    if paid is None or step * (kernel - 1) >= self.most:
                        continue
                    put = Put(
                        *(index, kernel, rate, step, paid, sign, group.count or 0),
                        ends=group.ends and rate == 1,
                    )
                    self.puts.setdefault(step, []).append(put)
        self.end = count if skeleton.needs_end else 0
        self.keys = Keys(count + self.end, full + self.end, skeleton.needs_end)
        self.columns = _PRICES + 1 + len(limits)
        self.unit = max(gcd(*(put.prices[0] for puts in self.puts.values() for put in puts)), 1)
        self.lacking: Ints = np.zeros((1, 1, 1), dtype=np.int64)
        self._parents: list[Ints] = []
        self._placed: list[Ints] = []
        self._every: list[Put] = []
        self._made = 0

    def cheapest(self) -> int:
        """The least of the first price with which the field is reached; very much for none."""
        return int(self._togo(0)[self.depth[1], 0, 0])

    def _togo(self, column: int) -> Ints:
        puts = (put for step in sorted(self.puts) for put in self.puts[step])
        return least_to_pay(puts, self.keys, column, self.depth, self.least, holes=self.holes)

    def reaches(self) -> bool:
        """Whether a chain reaches the field within each limit by itself."""
        columns = range(1 + len(self.limits))
        least = [int(self._togo(column)[self.depth[1], 0, 0]) for column in columns]
        return max(least) < NEVER and all(
            one <= bound for one, bound in zip(least[1:], self.limits, strict=True)
        )

    def largest(self) -> int:
        """The largest field of its range that is reached within the first limit; 0 for none."""
        column, bound = (1, self.limits[0]) if self.limits else (0, NEVER - 1)
        puts = [put for same in self.puts.values() for put in same]
        paid = np.full((self.keys.count, self.most), NEVER)
        paid[0, 0] = 0
        found = 0
        for layers in range(1, self.depth[1] + 1):
            grown = np.full_like(paid, NEVER)
            for put in puts:
                before, after = self.keys.before_and_after(paid, grown, put)
                first = 0 if self.holes else put.step - 1
                if first + put.reach < self.most:
                    held = after[..., first + put.reach :]
                    some = before[..., first : self.most - put.reach]
                    if len(some) > len(held):
                        some = some.min(axis=0, keepdims=True)
                    np.minimum(held, some + put.prices[column], out=held)
            paid = grown
            if layers >= self.depth[0]:
                reached = np.flatnonzero(paid[self.keys.full] <= bound)
                found = max(found, int(reached[-1]) + 1 if len(reached) else 0)
        return found if found >= self.least else 0

    def search(self, front: Unbeaten, listen: Callable[[int], None]) -> None:
        """Adds to `front` what no other chain beats; tells `listen` how far it is, in steps."""
        togo = [self._togo(column) for column in range(1 + len(self.limits))]
        least = int(togo[0][self.depth[1], 0, 0])
        if least >= NEVER:
            return
        puts = (put for step in sorted(self.puts) for put in self.puts[step])
        self.lacking = least_missing(puts, self.keys, self.depth, self.least, holes=self.holes)
        every = [put.prices[0] for puts in self.puts.values() for put in puts]
        highest = max(every, default=0) * self.depth[1]
        limit, known = least, 0
        while True:
            before = len(front.found)
            cut = self._run(front, togo, (known, limit), listen)
            if not cut or limit >= highest:
                return
            growth = _GROWTH if len(front.found) != before else _GROWTH**2
            known, limit = limit, min(int(limit * growth) + 1, highest)

    def _run(
        self,
        front: Unbeaten,
        togo: Sequence[Ints],
        limits: tuple[int, int],
        listen: Callable[[int], None],
    ) -> bool:
        """One pass with a limit on the first price; whether anything was dropped for it.

        Every chain of up to the first of `limits` is known, the second is that of the pass.
        """
        self._parents, self._placed, self._every, self._made = [], [], [], 1
        self._parents.append(np.full(1, -1))
        self._placed.append(np.full(1, -1))
        states = np.zeros((1, self.columns), dtype=np.int64)
        states, cut = self._promising(states, front, togo, limits)
        for step in sorted(self.puts):
            if not len(states) or step >= self.most:
                break
            listen(step)
            for put in self.puts[step]:
                number = len(self._every)
                self._every.append(put)
                new, grown = [states], states
                while True:
                    grown = self._put_on(grown, put)
                    if not len(grown):
                        break
                    grown, dropped = self._promising(grown, front, togo, limits)
                    cut |= dropped
                    grown = self._best(grown)
                    self._remember(grown, number)
                    new.append(grown)
                states = np.concatenate(new) if len(new) > 1 else states
            states = self._best(states)
            if len(states) > _MOST_STATES:
                raise ArgumentError(
                    f"more than {_MOST_STATES:,} partial schedules are left that none beats; give "
                    "receptive_field as one number, fewer kernels, or a lower depth."
                )
        self._finish(states, front)
        return cut

    def _put_on(self, states: Ints, put: Put) -> Ints:
        reach = states[:, _REACH]
        fits = (states[:, _DEPTH] < self.depth[1]) & (reach + put.reach < self.most)
        if not self.holes:
            fits &= reach >= put.step - 1
        if put.sign:
            fits &= states[:, _KEY] // put.sign % (put.most + 1) < put.most
        grown = states[fits]
        if not self.holes:
            grown[:, _MISSING] += 2 * put.reach * (grown[:, _REACH] + 1 - put.step)
        grown[:, _DEPTH] += 1
        grown[:, _REACH] += put.reach
        grown[:, _PRICES:] += put.prices
        grown[:, _KEY] += put.sign
        if put.ends and self.end:
            grown[:, _KEY] += np.where(grown[:, _KEY] >= self.end, 0, self.end)
        return grown

    def _promising(
        self, states: Ints, front: Unbeaten, togo: Sequence[Ints], limits: tuple[int, int]
    ) -> tuple[Ints, bool]:
        """The states that can still come to something, and whether the limit dropped any."""
        left = self.depth[1] - states[:, _DEPTH]
        reach = np.minimum(states[:, _REACH], self.least - 1)
        good = np.ones(len(states), dtype=bool)
        for column, bound in enumerate(self.limits, 1):
            ahead = togo[column][left, states[:, _KEY], reach]
            good &= states[:, _PRICES + column] + ahead <= bound
        ahead = togo[0][left, states[:, _KEY], reach]
        price = states[:, _PRICES] + ahead
        good &= ahead < NEVER
        lacks = states[:, _MISSING] + self.lacking[left, states[:, _KEY], reach]
        known, limit = limits
        # Of what costs no more than `known` nothing is new: what is, costs more.
        good &= lacks <= front.most_missing(np.maximum(price, known), self.most, holes=self.holes)
        late = good & (price > limit)
        return states[good & ~late], bool(late.any())

    def _percent(self, missing: Ints, fields: Ints) -> Ints:
        if self.holes:
            return np.zeros(len(missing), dtype=np.int64)
        return evenness_percent(fields, missing)

    def _best(self, states: Ints) -> Ints:
        """States without those that another, alike in layers and field, is as good as."""
        if self.columns == _PRICES + 1:
            states = self._best_of_depth(states)
            if self.depth[0] == self.depth[1]:
                return states
        if len(states) < 2:
            return states
        alike = states[:, _KEY] * self.most + states[:, _REACH]
        order = np.lexsort((states[:, _DEPTH], states[:, _MISSING], states[:, _PRICES], alike))
        states, alike = states[order], alike[order]
        dropped = np.zeros(len(states), dtype=bool)
        low = self.depth[0]
        compared = [_DEPTH, _MISSING, *range(_PRICES, self.columns)]
        columns = [states[:, one] for one in compared]
        for back in range(1, min(_COMPARED, len(states))):
            same = alike[back:] == alike[:-back]
            if not same.any():
                break
            for column in columns:
                same &= column[:-back] <= column[back:]
            # A chain that is too short is no better than one that is not.
            depths = columns[0]
            same &= (depths[:-back] >= low) | (depths[:-back] == depths[back:])
            dropped[back:] |= same
        return states[~dropped]

    def _best_of_depth(self, states: Ints) -> Ints:
        """Of states with one price those that no other of as many layers is as good as."""
        if len(states) < 2:
            return states
        alike = states[:, _KEY] * self.most + states[:, _REACH]
        alike = alike * (self.depth[1] + 1) + states[:, _DEPTH]
        prices, missing = states[:, _PRICES] // self.unit, states[:, _MISSING]
        sizes = (int(alike.max()) + 1, int(prices.max()) + 1, int(missing.max()) + 1)
        if prod(sizes) < 1 << 62:
            packed = (alike * sizes[1] + prices) * sizes[2] + missing
            # Stable, so that of chains alike the same one is found on every machine.
            order = np.argsort(packed, kind="stable")
        else:
            order = np.lexsort((missing, prices, alike))
        states, alike, missing = states[order], alike[order], missing[order]
        # By ascending price, each must miss less than all before it that are alike.
        starts = np.concatenate([[True], alike[1:] != alike[:-1]])
        missing = missing - np.cumsum(starts) * self.most**2
        least = np.minimum.accumulate(missing)
        kept: Ints = states[np.concatenate([[True], missing[1:] < least[:-1]])]
        return kept

    def _remember(self, states: Ints, number: int) -> None:
        self._parents.append(states[:, _ORIGIN].copy())
        self._placed.append(np.full(len(states), number))
        states[:, _ORIGIN] = np.arange(self._made, self._made + len(states))
        self._made += len(states)

    def _finish(self, states: Ints, front: Unbeaten) -> None:
        done = (states[:, _KEY] == self.keys.full) & (states[:, _REACH] >= self.least - 1)
        done &= states[:, _DEPTH] >= self.depth[0]
        ends = states[done]
        if not len(ends):
            return
        parents, placed = np.concatenate(self._parents), np.concatenate(self._placed)
        percent = self._percent(ends[:, _MISSING], ends[:, _REACH] + 1)
        # Of what was found alike, the traces are not wanted.
        order = np.lexsort((-ends[:, _REACH], -percent, ends[:, _PRICES]))
        for row in order:
            state = ends[row]
            chain = Found(
                tuple(map(int, state[_PRICES:])),
                int(state[_REACH]) + 1,
                int(percent[row]),
                self.number,
                (),
            )
            if front.beaten(
                np.array([chain.prices[0]]), np.array([chain.field]), np.array([chain.percent])
            )[0]:
                continue
            steps = []
            origin = int(state[_ORIGIN])
            while origin > 0:
                put = self._every[int(placed[origin])]
                steps.append(Rung(put.group, put.kernel, put.rate))
                origin = int(parents[origin])
            front.add(
                [Found(chain.prices, chain.field, chain.percent, self.number, tuple(steps[::-1]))]
            )
