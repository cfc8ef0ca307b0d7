"""Runs a recipe chunk by chunk: what each push makes is planned once for each kind of push."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from atrous.frameworks.torch import quiet
from atrous.runners.stream.recipe import Recipe
from atrous.runners.stream.rules.base import Ends
from atrous.runners.stream.schedule import Counts, Schedule

__all__ = ["Held", "Steps"]

Run = Callable[[list[Any]], None]
_MOST_PLANS = 256


@dataclass(slots=True)
class Held:
    """What is kept between pushes: of each value a stretch, of each stateful rule its state.

    `count` is in samples of the first input, `others` has those of the other ones.
    """

    count: int
    kept: list[torch.Tensor | None]
    cells: list[list[torch.Tensor]]
    others: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each input."""
        return (self.count, *self.others)

    def copy(self) -> Held:
        """The same in memory of its own."""
        return self.mapped(lambda x: x.clone(memory_format=torch.contiguous_format))

    def mapped(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Held:
        """The same with a function of every tensor."""
        kept = [None if one is None else function(one) for one in self.kept]
        cells = [[function(one) for one in cell] for cell in self.cells]
        return Held(self.count, kept, cells, self.others)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one push, in their order, and where its outputs are."""

    steps: tuple[Run, ...]
    outputs: tuple[Callable[[list[Any]], torch.Tensor], ...]


class Steps:
    """A recipe that runs: `push` new samples, `finish` at the end; `held` is all it keeps."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.schedule = Schedule(recipe)
        self._empty = [self._nothing(index) for index in range(len(recipe.values))]
        self._plans: dict[tuple[tuple[int, ...], tuple[int, ...]], Plan] = {}
        self._start = Held(
            0,
            [self._zeros(index) for index in range(len(recipe.values))],
            [one.initial() if one.stateful else [] for one in recipe.rules],
            (0,) * (len(recipe.inputs) - 1),
        )
        self.held = self._start.copy()
        self._turns = 0
        self._stateful = [i for i, one in enumerate(recipe.rules) if one.stateful]

    def _nothing(self, index: int) -> Any:
        """A value of length 0."""
        value = self.recipe.values[index]
        if value.several:
            return None
        meta = value.node.meta["val"]
        shape = [0 if d == value.dim else n for d, n in enumerate(value.shape)]
        return torch.zeros(shape, dtype=meta.dtype, device=self._device)

    @property
    def _device(self) -> torch.device:
        model = self.recipe.trials.axis.model
        first = next(iter(model.parameters()), None)
        first = next(iter(model.buffers()), None) if first is None else first
        return torch.device("cpu") if first is None else first.device

    def _zeros(self, index: int) -> torch.Tensor | None:
        """The zeros that stand in front of a value."""
        length = -min(self._first.kept[index], 0)
        if not length:
            return None
        return self._long(index, length)

    def _long(self, index: int, length: int) -> torch.Tensor | None:
        """Zeros of a value; None where it is several."""
        empty, dim = self._empty[index], self.recipe.values[index].dim
        if empty is None:
            return None
        zeros: torch.Tensor = empty.new_zeros(
            [length if d == dim else n for d, n in enumerate(empty.shape)]
        )
        return zeros

    @property
    def _first(self) -> Counts:
        """The counts before anything is made, not even what needs no sample."""
        rules = self.recipe.rules
        kept = [0] * len(rules)
        for one in rules:
            for source, first in zip(one.inputs, one.first(0) if one.inputs else (), strict=True):
                kept[source] = min(kept[source], first if one.virtual else 0)
        return Counts((0,) * len(rules), tuple(kept))

    def empty(self, index: int) -> torch.Tensor:
        """A value of length 0."""
        found: torch.Tensor = self._empty[index]
        return found

    @property
    def count(self) -> int:
        """Input samples that were pushed."""
        return self.held.count

    def reset(self) -> None:
        """As it was before the first sample."""
        self.held = self._start.copy()

    def alone(
        self, call: Callable[..., list[torch.Tensor]], *given: torch.Tensor
    ) -> list[torch.Tensor]:
        """What a call makes, without gradients, PyTorch's warnings, and memory that two hold.

        Types are those of the recording, in whatever types PyTorch would compute by itself.
        """
        kind = self._empty[0].device.type
        with torch.inference_mode(), quiet(), ExitStack() as held:
            if torch.is_autocast_enabled(kind):
                held.enter_context(torch.autocast(kind, enabled=False))
            return self._apart(call(*given), given)

    def _apart(
        self, made: Sequence[torch.Tensor], given: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Takes what is kept out of what was given, and what was made out of both.

        Callers write into their chunks and into what they get.
        """
        theirs = {_memory_at(one) for one in given} - {0}

        def mine(one: torch.Tensor) -> torch.Tensor:
            return one.clone() if _memory_at(one) in theirs else one

        held = self.held
        held.kept[:] = [None if one is None else mine(one) for one in held.kept]
        for cell in held.cells:
            cell[:] = map(mine, cell)
        theirs |= {_memory_at(one) for one in held.kept if one is not None}
        theirs |= {_memory_at(one) for cell in held.cells for one in cell}
        return [mine(one) for one in made]

    def fits(self, held: Held) -> bool:
        """Whether something is what this recipe keeps after so many samples."""
        start = self._start
        if min(held.counts) < 0 or len(held.counts) != len(start.counts):
            return False
        if len(held.cells) != len(start.cells):
            return False
        counts = self.schedule.after(*self.schedule.alike_each(held.counts))
        for i, one in enumerate(held.kept):
            wanted = start.kept[i]
            if any(held.counts):
                length = counts.made[i] - min(counts.kept[i], counts.made[i])
                wanted = self._long(i, length) if length else None
            if not _alike_tensors(one, wanted):
                return False
        cells = zip(held.cells, start.cells, strict=True)
        return all(len(a) == len(b) and all(map(_alike_tensors, a, b)) for a, b in cells)

    def push(self, *new: torch.Tensor) -> list[torch.Tensor]:
        """What is certain once these samples of each input are there and was not before."""
        counts = self.held.counts
        pairs = zip(new, self.recipe.inputs, strict=True)
        more = tuple(one.shape[value.dim] for one, value in pairs)
        alike = self.schedule.alike_each(counts) if any(counts) else ()
        key = (alike, more)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._planned(alike, more)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        made = self._run(plan, new, self.schedule.turns(*counts))
        self.held.count = counts[0] + more[0]
        self.held.others = tuple(a + b for a, b in zip(counts[1:], more[1:], strict=True))
        return made

    def finish(self) -> list[torch.Tensor]:
        """All that is left, once no more comes."""
        counts = self.held.counts
        if not any(counts):
            return [self._empty[one.index] for one in self.recipe.outputs]
        whole = self.schedule.ends(*counts)
        after = Counts(whole, whole)
        plan = self._plan(self.schedule.after(*counts), after, whole)
        return self._run(plan, self._empty[: len(counts)], 0)

    def _planned(self, alike: tuple[int, ...], more: tuple[int, ...]) -> Plan:
        if not alike:
            return self._plan(self._first, self.schedule.after(*more), None)
        then = tuple(a + b for a, b in zip(alike, more, strict=True))
        return self._plan(self.schedule.after(*alike), self.schedule.after(*then), None)

    def _run(self, plan: Plan, new: Sequence[torch.Tensor], turns: int) -> list[torch.Tensor]:
        self._turns = turns
        values: list[Any] = list(self._empty)
        values[: len(new)] = new
        held = self.held
        kept, cells = held.kept.copy(), [(i, held.cells[i].copy()) for i in self._stateful]
        try:
            for step in plan.steps:
                step(values)
        except BaseException:
            # A table that ends, memory that there is not, an interrupt: nothing was pushed.
            held.kept[:] = kept
            for i, cell in cells:
                held.cells[i][:] = cell
            raise
        return [output(values) for output in plan.outputs]

    def _plan(self, before: Counts, after: Counts, whole: Ends | None) -> Plan:
        """The steps from some counts to others; `whole` has all lengths, at the end."""
        recipe = self.recipe
        steps: list[Run] = []
        begin: list[int] = []
        for index, one in enumerate(recipe.rules):
            new = range(before.made[index], after.made[index])
            if index >= len(recipe.inputs) and len(new):
                steps.append(self._making(index, new, begin, after, whole))
            low = min(before.kept[index], before.made[index])
            begin.append(low)
            join = self._joining(index, low, before, after)
            if join is not None:
                steps.append(join)
            del one
        outputs = []
        for value in recipe.outputs:
            new = range(before.made[value.index], after.made[value.index])
            outputs.append(self._fetch(value.index, new, begin, after))
        return Plan(tuple(steps), tuple(outputs))

    def _fetch(
        self, index: int, stretch: range, begin: Sequence[int], after: Counts
    ) -> Callable[[list[Any]], Any]:
        """Takes a stretch of a value out of what there is of it."""
        there = range(begin[index], after.made[index])
        if stretch == there or (not len(stretch) and not len(there)):
            return lambda values: values[index]
        dim, start, count = self.recipe.values[index].dim, stretch.start - there.start, len(stretch)
        if not count:
            empty = self._empty[index]
            return lambda _: empty
        return lambda values: values[index].narrow(dim, start, count)

    def _making(
        self, index: int, new: range, begin: Sequence[int], after: Counts, whole: Ends | None
    ) -> Run:
        """Makes the new positions of a value."""
        one = self.recipe.rules[index]
        stretches = []
        for source, needed in zip(one.inputs, one.needs(new), strict=True):
            low = needed.start if one.virtual else max(needed.start, 0)
            stop = min(needed.stop, after.made[source])
            # Nothing of it may be there, in front of the input or behind it; what nothing reads is
            # kept no longer.
            low = max(low, begin[source])
            stretches.append(range(low, max(stop, low)))
        ends = None if whole is None else tuple(whole[source] for source in one.inputs)
        function = one.step(new, stretches, ends)
        if one.placed:
            moved = int(self.recipe.values[index].rate * self.schedule.period)

            def place(values: list[Any]) -> None:
                values[index] = function(self._turns * moved)

            return place
        taken = [
            self._fetch(source, stretch, begin, after)
            for source, stretch in zip(one.inputs, stretches, strict=True)
        ]
        if one.stateful:

            def carry(values: list[Any]) -> None:
                values[index] = function(self.held.cells[index], *[take(values) for take in taken])

            return carry
        if len(taken) == 1:
            (only,) = taken

            def single(values: list[Any]) -> None:
                values[index] = function(only(values))

            return single

        def several(values: list[Any]) -> None:
            values[index] = function(*[take(values) for take in taken])

        return several

    def _joining(self, index: int, low: int, before: Counts, after: Counts) -> Run | None:
        """Puts what was kept of a value in front of what is new, and keeps what will be needed."""
        old, new = before.made[index] - low, after.made[index] - before.made[index]
        start = min(after.kept[index], after.made[index])
        keep = after.made[index] - start
        if self.recipe.values[index].several:
            return None
        if not old and not keep:
            return None
        dim, skip = self.recipe.values[index].dim, start - low
        large = old + new > 2 * keep

        def join(values: list[Any]) -> None:
            kept = self.held.kept
            if old and new:
                values[index] = torch.cat([kept[index], values[index]], dim)
            elif old:
                values[index] = kept[index]
            if not keep:
                kept[index] = None
            elif skip or keep != old + new:
                part = values[index].narrow(dim, skip, keep)
                kept[index] = part.clone() if large else part
            else:
                kept[index] = values[index]

        return join


def _memory_at(x: torch.Tensor) -> int:
    """Where a tensor's memory begins; 0 where it has none."""
    return int(x.untyped_storage().data_ptr())


def _alike_tensors(one: torch.Tensor | None, wanted: torch.Tensor | None) -> bool:
    """Whether a tensor is there where one is wanted, of its shape and type."""
    if one is None or wanted is None:
        return one is wanted
    return bool(one.shape == wanted.shape and one.dtype == wanted.dtype)
