"""How much of every value is made, and what of it is kept, after so many input samples.

All of it is a function of these numbers alone, and repeats with the period of the strides once the
beginning is past. Counts of input samples are given for each input, the first one's first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Any

from atrous.errors import AtrousError, RunError
from atrous.runners.stream.recipe import Recipe

__all__ = ["Counts", "Schedule"]

_LATEST = 1 << 24


@dataclass(frozen=True, slots=True)
class Counts:
    """For each value how many positions are made, and the first one that is still needed."""

    made: tuple[int, ...]
    kept: tuple[int, ...]


class Schedule:
    """The counts of a recipe's values after any number of samples, and at the end.

    `period` is in samples of the first input; `periods` has as many of each.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.period = recipe.trials.period
        self.rates = recipe.trials.axis.rates
        self.periods = tuple(int(rate * self.period) for rate in self.rates)
        self._known: dict[tuple[int, ...], Counts] = {}

    def after(self, *counts: int) -> Counts:
        """The counts after so many samples of each input, when more may come."""
        if counts in self._known:
            return self._known[counts]
        made, _ = self._made(counts)
        rules = self.recipe.rules
        kept = list(made)
        for index, one in enumerate(rules):
            if not one.inputs:
                continue
            for source, first in zip(one.inputs, one.first(made[index]), strict=True):
                kept[source] = min(kept[source], first if one.virtual else max(first, 0))
        found = Counts(tuple(made), tuple(kept))
        if len(self._known) > 1 << 12:
            self._known.clear()
        self._known[counts] = found
        return found

    def _made(self, counts: Sequence[int]) -> tuple[list[int], list[int]]:
        made, sure = list(counts), list(counts)
        for one in self.recipe.rules[len(counts) :]:
            sure.append(one.sure(sure))
            made.append(one.ready(made, sure[-1]))
        return made, sure

    def _proportion(self, count: int) -> tuple[int, ...]:
        """As many of each input as go with so many of the first, rounded down."""
        return tuple(int(rate * count) for rate in self.rates)

    @cached_property
    def settled(self) -> int:
        """From how many samples on all is made alike, period after period."""

        def is_settled(count: int) -> bool:
            made, sure = self._made(self._proportion(count))
            first, rules = len(self.rates), self.recipe.rules
            return all(
                done > 0 and known > 0 and one.settled(done)
                for one, done, known in zip(rules[first:], made[first:], sure[first:], strict=True)
            )

        high = 1
        while not is_settled(high):
            high *= 2
            if high > _LATEST:
                return high
        low = 0
        while low < high:
            middle = (low + high) // 2
            if is_settled(middle):
                high = middle
            else:
                low = middle + 1
        return low

    def alike(self, count: int) -> int:
        """The first number of samples after which things stand as after this one."""
        return self.alike_each((count,))[0]

    def alike_each(self, counts: Sequence[int]) -> tuple[int, ...]:
        """The first numbers of samples after which things stand as after these."""
        turns = self.turns(*counts)
        return tuple(n - turns * each for n, each in zip(counts, self.periods, strict=True))

    def turns(self, *counts: int) -> int:
        """How many periods lie between numbers of samples and the ones that are alike."""
        start = self._proportion(self.settled)
        left = zip(counts, start, self.periods, strict=True)
        return max(0, min((n - low) // each for n, low, each in left))

    def ends(self, *counts: int) -> tuple[int, ...]:
        """The length of every value of inputs that end there.

        Raises `RunError` where the model takes no inputs of these lengths.
        """
        name = self.recipe.trials.axis.name
        long = " and ".join(f"{n:,}" for n in counts)
        try:
            shapes: Mapping[Any, Any] = self.recipe.trials.at(*counts)
        except AtrousError as error:
            several = ", one for each input," if len(counts) > 1 else ""
            raise RunError(
                f"{name}: it takes no input of {long} samples{several}, so the stream cannot end "
                f"there: {error}"
            ) from error
        found = tuple(shapes[one.node][0][one.dim] for one in self.recipe.values)
        made = self.after(*counts).made
        for value, whole, done in zip(self.recipe.values, found, made, strict=True):
            if whole < done:
                wrong = RunError(
                    f"an input of {long} samples makes {whole:,} positions, fewer than were "
                    f"certain ({done:,}); its lengths repeat in no way that was seen."
                )
                wrong.subject = value.layer
                raise wrong
        return found

    @cached_property
    def latencies(self) -> tuple[Fraction, ...]:
        """For each output the largest distance from an output's place to the last sample it needs.

        In samples of the first input: output `o` stands at `o` times the output's stride. Of
        several inputs it is that of the one that is waited for longest.
        """
        return tuple(
            max(self._latency(output.index, output.rate, i) / rate
                for i, rate in enumerate(self.rates))
            for output in self.recipe.outputs
        )  # fmt: skip

    @cached_property
    def latencies_of_inputs(self) -> tuple[Fraction, ...]:
        """For each input, in its own samples, how long an output waits for it, all others there."""
        return tuple(
            max(self._latency(output.index, output.rate, i) for output in self.recipe.outputs)
            for i in range(len(self.rates))
        )

    def _latency(self, output: int, rate: Fraction, place: int) -> Fraction:
        """How late an output is, in samples of one input, where all others are there."""
        stride = self.rates[place] / rate
        # Each period is like the one before once all is settled.
        stop = ceil(self.settled * self.rates[place]) + 2 * self.periods[place] + 1
        far = self._proportion(4 * (self.settled + self.period) + stop * self.period)

        def made(count: int) -> int:
            counts = [count if i == place else n for i, n in enumerate(far)]
            return self._made(counts)[0][output]

        return _latest(made, stride, stop)


def _latest(made: Callable[[int], int], stride: Fraction, stop: int) -> Fraction:
    """The largest distance from an output's place to the last sample that it needs."""
    worst: Fraction | None = None
    before = made(0)
    for count in range(1, stop + 1):
        now = made(count)
        if now > before:
            late = count - 1 - before * stride
            worst = late if worst is None else max(worst, late)
        before = now
    return Fraction(0) if worst is None else Fraction(worst)
