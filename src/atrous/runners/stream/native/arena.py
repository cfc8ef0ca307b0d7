"""Memory of a program, and its pushes: which rows each step makes, from which on."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from atrous.operators.kernels.columns import columns_of
from atrous.operators.kernels.stream import (
    COMBINE,
    FUNCTIONS,
    OPS,
    SLACK,
    PortStruct,
    ProgramStruct,
    StepStruct,
    TurnStruct,
    ValueStruct,
    lanes_and_panel,
)
from atrous.operators.kernels.torch_carried import Carry
from atrous.runners.stream.native.written import NativeStep, Written, floats_of_row
from atrous.runners.stream.rules.base import Value
from atrous.runners.stream.schedule import Counts

__all__ = ["Arena", "Need", "Turns", "turns_of"]

_PAGE = 16
"""Floats that places in an arena are multiples of."""


@dataclass(frozen=True, slots=True)
class Need:
    """Rows of a value that lie in front of its new ones, and the most that are new."""

    before: int = 0
    new: int = 0

    def with_(self, other: Need) -> Need:
        """Enough for both."""
        return Need(max(self.before, other.before), max(self.new, other.new))


@dataclass(frozen=True, slots=True)
class Turns:
    """One kind of push: what the kernel takes for it, what memory it needs, what comes out."""

    turns: Any
    grown: Any
    needs: Mapping[int, Need]
    taken: int
    given: tuple[int, ...]


def turns_of(written: Written, roots: Sequence[int], before: Counts, after: Counts) -> Turns | None:
    """The rows of every step from some counts to others; None where rows are not there yet."""
    at = {root: before.made[root] for root in roots}
    needs = {root: Need(0, after.made[root] - before.made[root]) for root in roots}

    def seen(source: int, first: int, extent: int) -> int | None:
        place = written.places[source]
        if place.root not in at:
            return None
        rows = first + place.shift - at[place.root]
        if rows + extent > needs[place.root].new:
            return None
        needs[place.root] = needs[place.root].with_(Need(-rows))
        return rows

    made = []
    for step in written.steps:
        new = range(before.made[step.value], after.made[step.value])
        found = _rows_of(step, new)
        if found is None:
            return None
        rows, first, extent = found
        sides = [new.start if step.op == "count" else 0, 0]
        for i, source in enumerate(step.sources if rows else ()):
            begin = seen(source, first if i == 0 else new.start, extent if i == 0 else rows)
            if begin is None:
                return None
            sides[i] = begin
        made.append(TurnStruct(rows, *sides, 0))
    for value in written.values:
        kept = before.kept[value.index]
        if not value.several and kept < before.made[value.index] and (
            seen(value.index, kept, 0) is None
        ):  # fmt: skip
            return None
        # What is kept behind this push lies in front of the next one, kept so far or not.
        left = after.kept[value.index]
        if not value.several and left < after.made[value.index]:
            place = written.places[value.index]
            if place.root not in needs:
                return None
            here = left + place.shift - after.made[place.root]
            needs[place.root] = needs[place.root].with_(Need(-here))
    # What is carried does not grow.
    more = sum(step.carry is not None for step in written.steps)
    grown = (ctypes.c_int64 * (len(roots) + more))(*(needs[root].new for root in roots))
    ends = written.recipe.outputs
    given = tuple(after.made[end.index] - before.made[end.index] for end in ends)
    turns = (TurnStruct * len(made))(*made)
    return Turns(turns, grown, needs, after.made[0] - before.made[0], given)


def _rows_of(step: NativeStep, new: range) -> tuple[int, int, int] | None:
    """Rows that a step makes for new positions, the first that it reads, and how many it reads."""
    window, spread, rows = step.window, step.spread, len(new)
    if not rows:
        return 0, 0, 0
    if spread > 1:
        start = new.start + (0 if window is None else window.pad_lo)
        if start % spread or (window is not None and rows % spread):
            return None
        if window is None:
            return rows, start // spread, (rows - 1) // spread + 1
        taps = int(step.fields["taps"])
        return rows // spread, start // spread - step.behind, rows // spread + taps - 1
    if window is None:
        return rows, new.start, rows
    extent = (rows - 1) * window.stride + step.reach + 1
    if "behind" in step.fields or step.behind:
        return rows, window.taps(new.start).start - step.behind, extent
    return rows, window.taps(new.start).start, extent


class Arena:
    """Memory for a program of some needs: `head` and history are the kernel's, in `values`."""

    def __init__(self, written: Written, roots: Sequence[int], needs: Mapping[int, Need]) -> None:
        self.written, self.roots, self.needs = written, tuple(roots), dict(needs)
        self.number = {root: i for i, root in enumerate(self.roots)}
        # Behind the values is what steps carry.
        carrying = [i for i, step in enumerate(written.steps) if step.carry is not None]
        self.carries = {i: len(self.roots) + n for n, i in enumerate(carrying)}
        self.values = (ValueStruct * (len(self.roots) + len(carrying)))()
        self.floats = self._placed()
        self.memory = torch.zeros((written.batch, self.floats), dtype=torch.float32, device="cpu")
        steps = map(self._step, range(len(written.steps)))
        self.steps = (StepStruct * len(written.steps))(*steps)
        self.ports = (PortStruct * (1 + len(written.recipe.outputs)))()
        self.program = ProgramStruct(
            ctypes.addressof(self.steps),
            ctypes.addressof(self.values),
            self.memory.data_ptr(),
            written.packed.data_ptr(),
            len(self.steps),
            len(self.values),
            self.floats,
            written.packed.numel(),
            written.batch,
            lanes_and_panel()[1],
            0,
            1,
            len(self.ports),
        )

    @property
    def state_bytes(self) -> int:
        """Bytes of what is kept between pushes, mirrored parts twice."""
        rows = sum(one.rows * one.step * (2 if one.ring else 1) for one in self.values if one.kept)
        return int(4 * rows * self.written.batch)

    def _placed(self) -> int:
        """Places all values; those that keep nothing share what is free while they are needed."""
        at, spans = 0, self._lives()
        lent: list[tuple[int, int, int]] = []
        for i, root in enumerate(self.roots):
            need, one = self.needs[root], self.values[i]
            one.step = floats_of_row(self.written.channels(self.written.values[root]))
            one.rows, one.kept = max(need.before + need.new, 1), need.before
            one.ring = int(need.before > need.new)
            one.head = 0 if one.ring else need.before
            if need.before:
                one.offset = at
                at += _up(one.step * one.rows * (2 if one.ring else 1))
        for i, number in self.carries.items():
            one, count = self.values[number], self._carry(i).floats
            one.offset, one.step, one.rows = at, count, 1
            at += _up(count)
        base = top = at
        for i, root in sorted(enumerate(self.roots), key=lambda pair: spans[pair[1]][0]):
            one = self.values[i]
            if self.needs[root].before:
                continue
            size, (first, last) = _up(one.step * one.rows), spans[root]
            lent = [other for other in lent if other[2] >= first]
            place = base
            for start, stop, _ in sorted(lent):
                if start - place >= size:
                    break
                place = max(place, stop)
            one.offset = place
            lent.append((place, place + size, last))
            top = max(top, place + size)
        return top + SLACK

    def _lives(self) -> dict[int, tuple[int, int]]:
        """For each value the steps from its first to the last that needs it."""
        found: dict[int, list[int]] = {root: [] for root in self.roots}
        for i, step in enumerate(self.written.steps):
            for source in step.sources:
                found[self.written.places[source].root].append(i)
            if step.op != "give":
                found[step.value].append(i)
        return {root: (min(seen), max(seen)) for root, seen in found.items()}

    def _step(self, index: int) -> StepStruct:
        step = self.written.steps[index]
        fields = dict(step.fields)
        one = StepStruct(op=OPS[step.op], left=-1, right=-1, out=-1)
        one.weight = one.bias = one.carry_weight = one.carry_bias = -1
        one.filters = one.taps = one.dilation = one.stride = one.channels = 1
        one.left_places = one.out_places = one.side_taps = one.side_dilation = one.side_stride = 1
        one.spread, one.port, one.out_column = step.spread, max(step.port, 0), step.column
        moved = {side: fields.pop(f"{side}_column", 0) for side in ("left", "right")}
        for side, source in zip(("left", "right"), step.sources, strict=False):
            place = self.written.places[source]
            setattr(one, side, self.number[place.root])
            setattr(one, f"{side}_column", place.column + moved[side])
        if step.carry is not None:
            one.right = self.carries[index]
        if step.op != "give":
            one.out = self.number[step.value]
        for key, value in fields.items():
            names = FUNCTIONS if "function" in key else COMBINE if key == "combine" else None
            setattr(one, key, value if names is None else names[value])
        return one

    # What lies in it, as tensors.

    def _rows(self, value: Value, counts: Counts, element: int) -> tuple[Any, int, int]:
        """The rows that a value lies in, the first that is kept of it, and how many are."""
        place = self.written.places[value.index]
        one = self.values[self.number[place.root]]
        kept, made = counts.kept[value.index], counts.made[value.index]
        row = one.head + kept + place.shift - counts.made[place.root]
        if one.ring:
            row %= one.rows
        count = 2 * one.rows if one.ring else one.rows
        memory = self.memory[element, one.offset : one.offset + count * one.step]
        return memory.view(count, one.step), row, made - kept

    def _columns(self, value: Value) -> torch.Tensor | slice:
        """The columns of a value, in the order of its numbers."""
        first, count = self.written.places[value.index].column, self.written.channels(value)
        if self.written.is_plain(value):
            return slice(first, first + count)
        return torch.from_numpy(first + columns_of(self.written.wide(value)))

    def kept(self, value: Value, counts: Counts) -> torch.Tensor | None:
        """What is kept of a value, as PyTorch has it."""
        if value.several or counts.kept[value.index] >= counts.made[value.index]:
            return None
        found, columns = [], self._columns(value)
        for element in range(self.written.batch):
            rows, first, count = self._rows(value, counts, element)
            found.append(rows[first : first + count, columns])
        stacked = torch.stack(found)
        inner = self.written.inner(value)
        if self.written.batch > 1:
            made = stacked.reshape(self.written.batch, -1, *inner).movedim(1, value.dim)
        else:
            made = stacked.reshape(-1, *inner).movedim(0, value.dim)
        return made.clone(memory_format=torch.contiguous_format)

    def _carry(self, index: int) -> Carry:
        carry = self.written.steps[index].carry
        assert carry is not None
        return carry

    def cells(self) -> list[list[torch.Tensor]]:
        """What steps carry, value by value, as PyTorch has it."""
        found: list[list[torch.Tensor]] = [[] for _ in self.written.values]
        for i, number in self.carries.items():
            one = self.values[number]
            memory = self.memory[:, one.offset : one.offset + one.step]
            self._carry(i).given(memory, found[self.written.steps[i].value])
        return found

    def begin(
        self,
        counts: Counts,
        kept: Sequence[torch.Tensor | None],
        cells: Sequence[Sequence[torch.Tensor]],
    ) -> None:
        """Puts what was kept of every value to its place."""
        batch = self.written.batch
        for i, number in self.carries.items():
            one = self.values[number]
            taken = self._carry(i).taken(cells[self.written.steps[i].value], batch)
            self.memory[:, one.offset : one.offset + one.step] = taken
        for i, root in enumerate(self.roots):
            one = self.values[i]
            one.head = counts.made[root] % one.rows if one.ring else one.kept
        for value in self.written.values:
            given = kept[value.index]
            if given is None or value.several:
                continue
            columns = self._columns(value)
            if batch > 1:
                flat = given.movedim(value.dim, 1).reshape(batch, given.shape[value.dim], -1)
            else:
                flat = given.movedim(value.dim, 0).reshape(1, given.shape[value.dim], -1)
            for element in range(batch):
                rows, first, count = self._rows(value, counts, element)
                half = len(rows) // 2
                is_ring = self.values[self.number[self.written.places[value.index].root]].ring
                if not is_ring:
                    rows[first : first + count, columns] = flat[element]
                    continue
                index = torch.arange(first, first + count, device="cpu") % half
                for again in (index, index + half):
                    at = again if isinstance(columns, slice) else again[:, None]
                    rows[at, columns] = flat[element]


def _up(floats: int) -> int:
    return -(-floats // _PAGE) * _PAGE
