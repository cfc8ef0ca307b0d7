"""Pushes by a program of the native kernels, between a beginning and an end made in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from ctypes import byref
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import torch

from atrous.errors import UnsupportedError
from atrous.operators.kernels.stream import PortStruct, run_program, streams_natively
from atrous.operators.kernels.threads import share_threads
from atrous.refusal import Refusal
from atrous.runners.stream.engine import Held, Steps
from atrous.runners.stream.native import calls, recurrent, windows
from atrous.runners.stream.native.arena import Arena, Need, Turns, turns_of
from atrous.runners.stream.native.joined import join_steps
from atrous.runners.stream.native.ports import laid_out, room_for
from atrous.runners.stream.native.stages import Stage, stage_parts, stages_of
from atrous.runners.stream.native.written import Written
from atrous.runners.stream.recipe import Recipe
from atrous.runners.stream.rules.base import Value
from atrous.runners.stream.schedule import Counts

__all__ = ["NativeSteps", "native_steps"]

_ = (calls, recurrent, windows)
_RULE = "native"
_LATE = 1 << 20
_PHASES = 2048
_MOST_ROUTES = 256


def native_steps(recipe: Recipe) -> NativeSteps | Refusal:
    """The engine that runs a recipe by the native kernels, or why there is none."""
    name = recipe.trials.axis.name
    if len(recipe.inputs) > 1:
        return Refusal(_RULE, name, "it takes several inputs, and a program takes one")
    steps = Steps(recipe)
    if steps.empty(0).device.type != "cpu":
        return Refusal(_RULE, name, f"it is on {steps.empty(0).device}, and the kernels on the CPU")
    if not streams_natively():
        return Refusal(_RULE, name, "there are no native kernels here; see atrous check")
    try:
        return NativeSteps(steps)
    except UnsupportedError as error:
        return Refusal(_RULE, str(error.subject or name), str(error))


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Steps with the weights as they were at some version of these."""

    written: Written
    roots: tuple[int, ...]
    watched: tuple[torch.Tensor, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Route:
    """The calls of a push, in the passes that they belong to, and the memory that they need."""

    passes: tuple[tuple[Turns, ...], ...]
    needs: Mapping[int, Need]


class NativeSteps:
    """As `Steps`: a recipe that runs, `held` is all that it keeps.

    The first pushes, until all layers are alike from period to period, and the end are those of
    PyTorch; between them everything lies in one arena.
    """

    def __init__(self, steps: Steps) -> None:
        self.steps, self.recipe, self.schedule = steps, steps.recipe, steps.schedule
        if self.schedule.settled > _LATE:
            raise UnsupportedError("its layers are alike only after very many samples.")
        # The newest one, for twins too.
        self._programs = [self._written()]
        self._live = False
        self._count = 0
        self._routes: dict[tuple[int, int], Route] = {}
        self._passes: dict[tuple[int, int], tuple[Turns, ...]] = {}
        self._arena: Arena | None = None
        self._take_up(self._programs[0])
        self._look()
        share_threads()

    def _written(self) -> Program:
        written = Written(self.recipe)
        join_steps(written, self._held())
        roots = dict.fromkeys(step.value for step in written.steps if step.op != "give")
        watched = tuple(x for x in written.watched if not x.is_inference())
        return Program(written, tuple(roots), watched, _changes(watched))

    def _take_up(self, program: Program) -> None:
        self.written, self._roots = program.written, program.roots
        self._watched, self._version = program.watched, program.version
        self._needs = {root: Need() for root in self._roots}
        self._fits: object = None
        self._stages = stages_of(self.written, self.schedule.period)
        self._most = max(stage.most for stage in self._stages)
        self._together = (Stage(min(stage.most for stage in self._stages), frozenset(self._roots)),)
        self._stage_of = self._places_of()

    def _held(self) -> list[bool]:
        """Which values are kept between pushes at all."""
        start, period = self.schedule.settled, self.schedule.period
        found = [period > _PHASES] * len(self.recipe.values)
        for count in range(start, start + min(period, _PHASES)):
            counts = self.schedule.after(count)
            pairs = zip(counts.kept, counts.made, strict=True)
            for i, (kept, made) in enumerate(pairs):
                found[i] = found[i] or kept < made
        return found

    def _places_of(self) -> list[int]:
        """For each value the stage that makes it."""
        of = {root: i for i, stage in enumerate(self._stages) for root in stage.roots}
        places = self.written.places
        return [
            of.get(places[value.index].root, 0) if value.index in places else 0
            for value in self.recipe.values
        ]

    def _look(self) -> None:
        """Raises where a push is none of a program's."""
        start, period = self.schedule.settled, self.schedule.period
        together = self._together[0].most
        for more in {1, period, together}:
            for count in range(start, start + min(period, 64)):
                self._turns(count, more)
        if self._most > together:
            self._turns(start, self._most)

    # What streams ask for.

    @property
    def held(self) -> Held:
        """All that is kept between pushes, as PyTorch has it."""
        if self._live:
            assert self._arena is not None
            counts = self.schedule.after(self.schedule.alike(self._count))
            kept = [self._arena.kept(value, counts) for value in self.recipe.values]
            return Held(self._count, kept, self._arena.cells())
        return self.steps.held

    @held.setter
    def held(self, held: Held) -> None:
        self.steps.held, self._count, self._live = held, held.count, False

    def twin(self) -> NativeSteps:
        """Another stream by the same program: packed weights are shared, what is kept is not."""
        other = copy(self)
        other.steps = Steps(self.recipe)
        other._arena, other._live, other._count = None, False, 0
        return other

    @property
    def count(self) -> int:
        """Input samples that were pushed."""
        return self._count

    @property
    def state_bytes(self) -> int:
        """Bytes of memory that is kept between pushes, mirrored parts twice."""
        return 0 if self._arena is None else self._arena.state_bytes

    def empty(self, index: int) -> torch.Tensor:
        """A value of length 0."""
        return self.steps.empty(index)

    def reset(self) -> None:
        """As it was before the first sample."""
        self.steps.reset()
        self._count, self._live = 0, False

    @staticmethod
    def alone(call: Callable[..., list[torch.Tensor]], *given: Any) -> list[torch.Tensor]:
        """What a call makes; what is PyTorch's in it is without gradients and warnings anyway."""
        return call(*given)

    def push(self, new: torch.Tensor) -> list[torch.Tensor]:
        """What is certain once these samples are there and was not before."""
        dim = self.recipe.values[0].dim
        if self._live:
            return self._pushed(new, new.shape[dim])
        more, settled = new.shape[dim], max(self.schedule.settled, 1)
        first = min(more, max(settled - self._count, 0))
        made = []
        if first:
            made = self.steps.alone(self.steps.push, new.narrow(dim, 0, first))
            self._count += first
        if first == more:
            return made
        rest = self._pushed(new.narrow(dim, first, more - first), more - first)
        if not first:
            return rest
        pairs = zip(made, rest, self.recipe.outputs, strict=True)
        return [torch.cat([a, b], value.dim) for a, b, value in pairs]

    def finish(self) -> list[torch.Tensor]:
        """All that is left, once no more comes."""
        self.held = self.held
        return self.steps.alone(self.steps.finish)

    # Pushes by the program.

    def _turns(self, count: int, more: int) -> tuple[Turns, ...]:
        """The calls for some samples behind others, of which no more than all stages take come."""
        key = (self.schedule.alike(count), more)
        found = self._passes.get(key)
        if found is None:
            found = self._parts(*key, self._stages) or self._parts(*key, self._together)
            if found is None:
                raise UnsupportedError("its layers wait for one another in a way of its own.")
            if len(self._passes) >= _MOST_ROUTES:
                self._passes.clear()
            self._passes[key] = found
        return found

    def _parts(self, start: int, more: int, stages: Sequence[Stage]) -> tuple[Turns, ...] | None:
        done, of = [start] * len(stages), self._stage_of if len(stages) > 1 else None
        found: list[Turns] = []
        for stage, _, stop in stage_parts(stages, start, start + more):
            before = self._counts(done, of)
            done[stages.index(stage)] = stop
            turns = turns_of(self.written, self._roots, before, self._counts(done, of))
            if turns is None:
                return None
            found.append(turns)
        return tuple(found)

    def _counts(self, done: Sequence[int], of: Sequence[int] | None) -> Counts:
        """What is made and kept where each stage, by value, has had so many samples."""
        if of is None or len({*done}) == 1:
            return self.schedule.after(done[0])
        each = [self.schedule.after(count) for count in done]
        made = tuple(each[stage].made[i] for i, stage in enumerate(of))
        kept = tuple(each[stage].kept[i] for i, stage in enumerate(of))
        return Counts(made, kept)

    def _route(self, more: int) -> Route:
        """The pushes of so many samples from here on."""
        key = (self.schedule.alike(self._count), more)
        found = self._routes.get(key)
        if found is None:
            passes: list[tuple[Turns, ...]] = []
            count = self._count
            while more:
                part = min(more, self._most)
                passes.append(self._turns(count, part))
                count, more = count + part, more - part
            needs = {root: Need() for root in self._roots}
            for turns in {id(one): one for one in chain(*passes)}.values():
                needs = {root: need.with_(turns.needs[root]) for root, need in needs.items()}
            found = Route(tuple(passes), needs)
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[key] = found
        return found

    def _fitting(self, route: Route) -> Arena:
        """The arena, in which there is room for some pushes, and what is kept."""
        needs = self._needs
        if route.needs is not self._fits:
            needs = {root: need.with_(route.needs[root]) for root, need in needs.items()}
        if self._arena is None or needs != self._needs:
            held = self.held
            self._live = False
            self._needs = needs
            self._arena = Arena(self.written, self._roots, needs)
            self.steps.held = held
        self._fits = route.needs
        if not self._live:
            counts = self.schedule.after(self.schedule.alike(self._count))
            self._arena.begin(counts, self.steps.held.kept, self.steps.held.cells)
            self._live = True
        return self._arena

    def _pushed(self, new: torch.Tensor, more: int) -> list[torch.Tensor]:
        if _changes(self._watched) != self._version:
            self._repack()
        route = self._route(more)
        arena = self._fitting(route)
        outputs = range(len(self.recipe.outputs))
        given = [sum(turns.given[i] for turns in chain(*route.passes)) for i in outputs]
        pairs = zip(self.recipe.outputs, given, strict=True)
        made = [room_for(self.written, value, count) for value, count in pairs]
        places = [self.recipe.values[0], *self.recipe.outputs]
        tensors = [laid_out(self.written, places[0], new), *made]
        ports, at = arena.ports, [x.data_ptr() for x in tensors]
        for port, x, value in zip(ports, tensors, places, strict=True):
            _describe(port, x, value, self.written.batch)
        arena.program.threads = torch.get_num_threads()
        program = byref(arena.program)
        for stages in route.passes:
            # Positions of all stages are counted from where the pass begins.
            arena.program.periods = self.schedule.turns(self._count)
            for turns in stages:
                self._count += turns.taken
                for i, rows in enumerate((turns.taken, *turns.given)):
                    ports[i].data, ports[i].rows = at[i], rows
                    at[i] += 4 * rows * ports[i].row_step
                run_program(program, turns.turns, turns.grown, ports)
        return made

    def _repack(self) -> None:
        """The same program with the weights as they are now."""
        held = self.held
        if self._programs[0].version != _changes(self._watched):
            self._programs[0] = self._written()
            self._routes.clear()
            self._passes.clear()
        self._take_up(self._programs[0])
        self._arena = None
        self.held = held


def _changes(watched: Sequence[torch.Tensor]) -> int:
    """A number that grows with every change in place."""
    return sum(x._version for x in watched)


def _wide(x: torch.Tensor, value: Value, batch: int) -> list[int]:
    """The dimensions of channels that are more than one number."""
    return [d for d in range(int(batch > 1), len(x.shape)) if d != value.dim and x.shape[d] > 1]


def _describe(port: PortStruct, x: torch.Tensor, value: Value, batch: int) -> None:
    """Tells where a tensor's rows are."""
    stride, wide = x.stride(), _wide(x, value, batch)
    port.columns = prod(x.shape[d] for d in wide)
    port.batch_step = stride[0] if batch > 1 else 0
    port.row_step = stride[value.dim]
    port.column_step = min((stride[d] for d in wide), default=1)
