"""How much of every value is made, and what of it is kept, after so many input samples.

All of it is a function of that number alone, and repeats with the period of the strides once the
beginning is past.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
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
    """The counts of a recipe's values after any number of samples, and at the end."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.period = recipe.trials.period
        self._known: dict[int, Counts] = {}

    def after(self, count: int) -> Counts:
        """The counts after so many samples, when more may come."""
        if count in self._known:
            return self._known[count]
        made, _ = self._made(count)
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
        self._known[count] = found
        return found

    def _made(self, count: int) -> tuple[list[int], list[int]]:
        made, sure = [count], [count]
        for one in self.recipe.rules[1:]:
            sure.append(one.sure(sure))
            made.append(one.ready(made, sure[-1]))
        return made, sure

    @cached_property
    def settled(self) -> int:
        """From how many samples on all is made alike, period after period."""

        def is_settled(count: int) -> bool:
            made, sure = self._made(count)
            rules = self.recipe.rules
            return all(
                done > 0 and known > 0 and one.settled(done)
                for one, done, known in zip(rules[1:], made[1:], sure[1:], strict=True)
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
        if count < self.settled:
            return count
        return self.settled + (count - self.settled) % self.period

    def turns(self, count: int) -> int:
        """How many periods lie between a number of samples and the one that is alike."""
        return max(0, count - self.settled) // self.period

    def ends(self, length: int) -> tuple[int, ...]:
        """The length of every value of an input that ends there.

        Raises `RunError` where the model takes no input of that length.
        """
        name = self.recipe.trials.axis.name
        try:
            shapes: Mapping[Any, Any] = self.recipe.trials.at(length)
        except AtrousError as error:
            raise RunError(
                f"{name}: it takes no input of {length:,} samples, so the stream cannot end "
                f"there: {error}"
            ) from error
        found = tuple(shapes[one.node][0][one.dim] for one in self.recipe.values)
        made = self.after(length).made
        for value, whole, done in zip(self.recipe.values, found, made, strict=True):
            if whole < done:
                wrong = RunError(
                    f"an input of {length:,} samples makes {whole:,} positions, fewer than were "
                    f"certain ({done:,}); its lengths repeat in no way that was seen."
                )
                wrong.subject = value.layer
                raise wrong
        return found

    @cached_property
    def latencies(self) -> tuple[Fraction, ...]:
        """For each output the largest distance from an output's place to the last sample it needs.

        In input samples: output `o` stands at `o` times the output's stride.
        """
        found = []
        for output in self.recipe.outputs:
            stride = 1 / output.rate
            worst: Fraction | None = None
            before, count = self._made(0)[0][output.index], 0
            # Each period is like the one before once all is settled.
            stop = self.settled + 2 * self.period + 1
            while count < stop:
                count += 1
                made = self._made(count)[0][output.index]
                if made > before:
                    late = count - 1 - before * stride
                    worst = late if worst is None else max(worst, late)
                before = made
            found.append(Fraction(0) if worst is None else Fraction(worst))
        return tuple(found)
